"""A camera's frames, and the protocol that all cameras follow."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from PIL import Image

from edge.capture.roi import Roi
from edge.errors import CameraError, ImageError
from edge.imaging import preprocess
from edge.imaging.inputs import Input
from edge.imaging.preprocess import Loaded, Pixels
from edge.imaging.views import LazyViews, Size, working_size
from edge.provenance.read import evidence
from edge.verdict import Evidence

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


class FrameViews(NamedTuple):
    """The views of the part of a frame that is classified.

    Attributes:
        pixels: the first views, or the only one: RGB, uint8, shape (views, height, width, 3).
        own_size: (width, height) of that part.
        further: cuts the further views, of another conversion of the frame, so that nothing large is kept for the few
            frames that need them; raises CameraError. None if the model has none.
    """

    pixels: Pixels
    own_size: Size
    further: Callable[[], Pixels] | None = None


class Frame:
    """One picture of a camera.

    Attributes:
        seconds: when it was taken: time.monotonic() for a live camera, the position in seconds for a recording.
        preparing_seconds: duration of the first call of `seen`; 0 before it.
    """

    def __init__(
        self,
        pixels: Pixels | Callable[[], Pixels],
        seconds: float,
        reducible: Reducible | None = None,
        encoded: bytes | None = None,
    ) -> None:
        """
        Args:
            pixels: RGB, uint8, shape (height, width, 3); or a function that returns them, because most frames of a
                camera are replaced by newer ones before they are classified.
            seconds: see the class.
            reducible: converts the picture at a reduced size; None if the camera's format does not allow it.
            encoded: content of the image file that the frame is, as some cameras send one; None if there is none.
        """
        self._pixels, self.seconds, self._reducible, self._encoded = pixels, seconds, reducible, encoded
        self._seen: tuple[Roi, Choose, Input, FrameViews] | None = None
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

    @property
    def provenance(self) -> tuple[Evidence, ...]:
        """What the image file that the frame is says of its origin; computed at every call."""
        return () if self._encoded is None else evidence(self._encoded)

    def seen(self, view: Roi, choose: Choose) -> tuple[Input, FrameViews]:
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

    def small(self, view: Roi, longest: int) -> Pixels:
        """The part of the picture that is classified, for display; in any thread.

        Args:
            view: the region, rotation and flip.
            longest: greatest width and height in pixels, about: a camera's format may be reduced to whole pixels only.

        Returns:
            RGB, uint8, shape (height, width, 3).

        Raises:
            CameraError: the frame cannot be converted.
            RoiError: the region does not lie within the picture.
        """
        if self._reducible and view.region is None:
            scale = longest / max(self._reducible.size)
            if scale < 1:
                width, height = (max(1, round(length * scale)) for length in self._reducible.size)
                return view.of(self._reducible.reduced((width, height)))
        pixels = view.of(self.pixels)
        scale = longest / max(pixels.shape[:2])
        if scale >= 1:
            return pixels
        size = max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale))
        # Faster than what a network gets: an integer factor first, then nearly nothing is left to scale.
        return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR, reducing_gap=1.0))

    def _computed(self, view: Roi, choose: Choose) -> tuple[Input, FrameViews]:
        if self._reducible and view.region is None:
            upright, reduced = view.turned(self._reducible.size), self._reducible.reduced
            chosen = choose(upright)
            if small := _reduced_size(upright, chosen):
                views = chosen.views and replace(chosen.views, reduce_above=None)  # already halved

                def converted() -> Pixels:
                    return view.of(reduced(view.turned(small)))

                return chosen, _views(converted(), converted, replace(chosen, views=views), upright)
        pixels = view.of(self.pixels)
        own_size = pixels.shape[1], pixels.shape[0]
        chosen = choose(own_size)
        return chosen, _views(pixels, lambda: view.of(self.pixels), chosen, own_size)


def _views(pixels: Pixels, again: Callable[[], Pixels], chosen: Input, own_size: Size) -> FrameViews:
    """The views of a part of a frame.

    Args:
        pixels: the part, perhaps reduced: RGB, uint8, shape (height, width, 3).
        again: converts it again.
        chosen: the model's input.
        own_size: (width, height) of the part before it was reduced.

    Raises:
        CameraError: there is not enough memory.
    """
    views = chosen.views
    if views is None:
        return FrameViews(preprocess.scaled(pixels, chosen.size)[None], own_size)

    def cut(pixels: Pixels, which: Callable[[LazyViews], Pixels]) -> Pixels:
        picture = Loaded(Image.fromarray(pixels), (pixels.shape[1], pixels.shape[0]), 1)
        try:
            return which(LazyViews("a frame", picture, views, chosen.size))
        except ImageError as error:
            raise CameraError(str(error)) from error

    further = (lambda: cut(again(), LazyViews.further)) if views.further else None
    return FrameViews(cut(pixels, LazyViews.first), own_size, further)


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
