"""What a camera is to us: something that gives one frame after the other."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from edge import image
from edge.cameras.view import View
from edge.image import Pixels

Size = tuple[int, int]  # (width, height) in pixels
# From this whole number on, by which `image.scaled` reduces width and height, it is worth while to do it before it. A
# camera's colours are coarser than its light by two, and should become finer than that in neither way.
LARGE = 3


@dataclass(frozen=True)
class Reducible:
    """A picture that can be had small without being made in full size first.

    Attributes:
        size: that it has in full.
        reduced: makes the whole of it, RGB, in about the size given.
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
            reducible: a shorter way to what a network sees; None if there is none.
        """
        self._pixels, self.seconds, self._reducible = pixels, seconds, reducible
        self._seen: tuple[View, Size, Pixels, Size] | None = None
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

    def seen(self, view: View, size: Size) -> tuple[Pixels, Size]:
        """As a network sees the part that is looked at, and the size of that part itself; the same at a second call.

        Nearly the same as `image.scaled` of the part. A large picture of which all is looked at is reduced on the way
        from the camera's own format to RGB, to no less than `image.scaled` would reduce it: there are few of its
        pixels then, and they are touched once.

        Args:
            size: that the network takes.

        Raises:
            CameraError: what the camera gave cannot be converted.
            ViewError: the region does not lie within the picture.
        """
        if self._seen is None or self._seen[:2] != (view, size):
            began = time.monotonic()
            self._seen = (view, size, *self._made(view, size))
            self.preparing_seconds = time.monotonic() - began
        return self._seen[2:]

    def _made(self, view: View, size: Size) -> tuple[Pixels, Size]:
        if self._reducible and view.region is None:
            upright = view.turned(self._reducible.size)
            factors = [own // (wanted * image.REDUCING_GAP) for own, wanted in zip(upright, size, strict=True)]
            if min(factors) >= LARGE:
                small = round(upright[0] / factors[0]), round(upright[1] / factors[1])
                return image.scaled(view.of(self._reducible.reduced(view.turned(small))), size), upright
        part = view.of(self.pixels)
        return image.scaled(part, size), (part.shape[1], part.shape[0])


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
