"""What a camera is to us: something that gives one frame after the other."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from edge.capture.roi import Roi
from edge.imaging import preprocess
from edge.imaging.inputs import Input, take_of_frame
from edge.imaging.preprocess import Pixels
from edge.imaging.views import Size, Taken, of_frame, working_size

Choose = Callable[[Size], Input]  # which model a picture of an upright (width, height) goes to, and what that takes
# Least whole factor by which `preprocess.scaled` reduces width and height for which reducing the YUV planes first pays.
# A camera's chroma is subsampled by two: below three, reducing could leave colours finer than the source has.
LARGE = 3


@dataclass(frozen=True)
class Reducible:
    """A picture that can be had small without being made in full size first.

    Attributes:
        size: that it has in full.
        reduced: makes the whole of it, RGB, in the size given, by averaging.
    """

    size: Size
    reduced: Callable[[Size], Pixels]


class Frame:
    """One picture of a camera.

    Attributes:
        seconds: when it was taken, by the camera's own clock: time.monotonic() if it is live, else the time within the
            recording.
        preparing_seconds: that `seen` has taken at its first call, in whichever thread.
    """

    def __init__(
        self, pixels: Pixels | Callable[[], Pixels], seconds: float, reducible: Reducible | None = None
    ) -> None:
        """
        Args:
            pixels: themselves, or what makes them when they are first asked for: most frames of a camera are replaced
                by newer ones before anyone looks at them.
            reducible: a shorter way to what a model takes; None if there is none.
        """
        self._pixels, self.seconds, self._reducible = pixels, seconds, reducible
        self._seen: tuple[Roi, Choose, Input, Taken] | None = None
        self.preparing_seconds = 0.0

    @property
    def pixels(self) -> Pixels:
        """RGB, uint8, shape (height, width, 3), C-contiguous; not to be written to. Made anew each time, for few are
        kept as a picture, and what the camera gave is smaller.

        Raises:
            CameraError: what the camera gave cannot be converted.
        """
        return self._pixels() if callable(self._pixels) else self._pixels

    @property
    def area(self) -> int:
        """Pixels, as far as it is known without making them."""
        if self._reducible:
            return self._reducible.size[0] * self._reducible.size[1]
        return 0 if callable(self._pixels) else self._pixels.shape[0] * self._pixels.shape[1]

    def seen(self, view: Roi, choose: Choose) -> tuple[Input, Taken]:
        """The model that the part that is looked at goes to, and its views of that; the same at a second call.

        Nearly the same as `edge.imaging.inputs.take_of_frame` of the part. A large picture of which all is looked at
        is reduced on the way from the camera's own format to RGB, to no less than the model needs: there are few of
        its pixels then, and they are touched once.

        Args:
            choose: is given the size of the part; called in whichever thread prepares the frame.

        Raises:
            CameraError: what the camera gave cannot be converted.
            RoiError: the region does not lie within the picture.
        """
        if self._seen is None or self._seen[:2] != (view, choose):
            began = time.monotonic()
            self._seen = (view, choose, *self._made(view, choose))
            self.preparing_seconds = time.monotonic() - began
        return self._seen[2:]

    def _made(self, view: Roi, choose: Choose) -> tuple[Input, Taken]:
        if self._reducible and view.region is None:
            upright = view.turned(self._reducible.size)
            chosen = choose(upright)
            if small := _reduced_size(upright, chosen):
                pixels = view.of(self._reducible.reduced(view.turned(small)))
                views = chosen.views and replace(chosen.views, reduce_above=None)  # for that is done
                return chosen, of_frame(pixels, views, chosen.size)._replace(own_size=upright)
        return take_of_frame(view.of(self.pixels), choose)


def _reduced_size(upright: Size, chosen: Input) -> Size | None:
    """To what a picture is reduced before it is converted; None if it has to be converted as it is."""
    if chosen.views:  # crops show single pixels: the picture is halved exactly as of a file, or not here
        small = working_size(upright, chosen.views)
        factor = upright[0] // small[0]
        return small if factor > 1 and (small[0] * factor, small[1] * factor) == upright else None
    factors = [own // (wanted * preprocess.REDUCING_GAP) for own, wanted in zip(upright, chosen.size, strict=True)]
    if min(factors) < LARGE:
        return None
    return round(upright[0] / factors[0]), round(upright[1] / factors[1])


class Camera(Protocol):
    """An opened camera; used by one thread at a time.

    Attributes:
        name: what it is called in what we tell and record; no password is in it.
        is_live: whether it goes on whether we look or not; a recording waits for us.
    """

    name: str
    is_live: bool

    def frame(self) -> Frame | None:
        """The next frame, as new as can be had; None at the end of a recording.

        Raises:
            CameraError: the camera has gone, or gives nothing for too long.
        """

    def close(self) -> None:
        """Let go of the device; may be called twice, and never raises."""
