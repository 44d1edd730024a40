"""A camera's frames, and the protocol that all cameras follow."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

from edge.capture.roi import Roi
from edge.imaging import preprocess
from edge.imaging.inputs import Input, take_of_frame
from edge.imaging.preprocess import Pixels
from edge.imaging.views import Size, Taken, of_frame, working_size

Choose = Callable[[Size], Input]  # returns the model's input for an upright picture of this (width, height)
# A picture is reduced before the conversion to RGB, which is faster, from this factor on: the integer by which
# `preprocess.scaled` reduces width and height. Chroma is subsampled by two: below three, it would be enlarged.
MIN_REDUCTION = 3


@dataclass(frozen=True)
class Reducible:
    """A picture that can be converted to RGB at a smaller size directly.

    Attributes:
        size: full (width, height) in pixels.
        reduced: returns the whole picture at a smaller (width, height), averaged: RGB, uint8, shape
            (height, width, 3).
    """

    size: Size
    reduced: Callable[[Size], Pixels]


class Frame:
    """One picture of a camera.

    Attributes:
        seconds: when it was taken: time.monotonic() for a live camera, the position in seconds for a recording.
        preparing_seconds: duration of the first call of `seen`; 0 before it.
    """

    def __init__(
        self, pixels: Pixels | Callable[[], Pixels], seconds: float, reducible: Reducible | None = None
    ) -> None:
        """
        Args:
            pixels: RGB, uint8, shape (height, width, 3); or a function that returns them, because most frames of a
                camera are replaced by newer ones before they are classified.
            seconds: see the class.
            reducible: converts the picture at a reduced size; None if the camera's format does not allow it.
        """
        self._pixels, self.seconds, self._reducible = pixels, seconds, reducible
        self._seen: tuple[Roi, Choose, Input, Taken] | None = None
        self.preparing_seconds = 0.0

    @property
    def pixels(self) -> Pixels:
        """RGB, uint8, shape (height, width, 3), C-contiguous; not to be written to.

        Converted at every call and not kept: few frames become snapshots, and the camera's own format is smaller.

        Raises:
            CameraError: the frame cannot be converted.
        """
        return self._pixels() if callable(self._pixels) else self._pixels

    @property
    def area(self) -> int:
        """Number of pixels; 0 if it is unknown before the conversion."""
        if self._reducible:
            return self._reducible.size[0] * self._reducible.size[1]
        return 0 if callable(self._pixels) else self._pixels.shape[0] * self._pixels.shape[1]

    def seen(self, view: Roi, choose: Choose) -> tuple[Input, Taken]:
        """The input of the model for a region of the picture, and the region's views; computed at the first call.

        The result is nearly that of `edge.imaging.inputs.take_of_frame`. For speed, a large picture without region is
        reduced on the way from the camera's format to RGB, to no less than the model needs.

        Args:
            view: the region, rotation and flip.
            choose: returns the model's input for the (width, height) of the region; called in the thread that prepares
                the frame.

        Raises:
            CameraError: the frame cannot be converted.
            RoiError: the region does not lie within the picture.
        """
        if self._seen is None or self._seen[:2] != (view, choose):
            began = time.monotonic()
            self._seen = (view, choose, *self._computed(view, choose))
            self.preparing_seconds = time.monotonic() - began
        return self._seen[2:]

    def _computed(self, view: Roi, choose: Choose) -> tuple[Input, Taken]:
        if self._reducible and view.region is None:
            upright = view.turned(self._reducible.size)
            chosen = choose(upright)
            if small := _reduced_size(upright, chosen):
                pixels = view.of(self._reducible.reduced(view.turned(small)))
                views = chosen.views and replace(chosen.views, reduce_above=None)  # already halved
                return chosen, of_frame(pixels, views, chosen.size)._replace(own_size=upright)
        return take_of_frame(view.of(self.pixels), choose)


def _reduced_size(upright: Size, chosen: Input) -> Size | None:
    """The (width, height) to which a picture is reduced before the conversion; None: it is not reduced."""
    if chosen.views:  # crops show single pixels: halving must be exactly that of a file, or happen later
        small = working_size(upright, chosen.views)
        factor = upright[0] // small[0]
        return small if factor > 1 and (small[0] * factor, small[1] * factor) == upright else None
    factors = [own // (wanted * preprocess.REDUCING_GAP) for own, wanted in zip(upright, chosen.size, strict=True)]
    if min(factors) < MIN_REDUCTION:
        return None
    return round(upright[0] / factors[0]), round(upright[1] / factors[1])


class Camera(Protocol):
    """An opened camera; used by one thread at a time.

    Attributes:
        name: in messages and in the ledger, without a password.
        is_live: whether frames that are not read in time are lost; a recording waits for its reader.
    """

    name: str
    is_live: bool

    def frame(self) -> Frame | None:
        """The next frame, as new as possible; None at the end of a recording.

        A live camera that waits for long returns the same frame again from time to time.

        Raises:
            CameraError: the camera is lost, or gives no frame within its time limit.
        """

    def close(self) -> None:
        """Release the device. Never raises, and may be called again."""


@runtime_checkable
class Interruptible(Protocol):
    """A camera whose waiting can be ended."""

    def interrupt(self) -> None:
        """End a call of `Camera.frame` from another thread: it returns or raises CameraError soon."""
