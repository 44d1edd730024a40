"""What a camera is to us: something that gives one frame after the other."""

from collections.abc import Callable
from typing import Protocol

from edge.image import Pixels


class Frame:
    """One picture of a camera.

    Attributes:
        seconds: when it was taken, by the camera's own clock: time.monotonic() if it is live, else the time within the
            recording.
    """

    def __init__(self, pixels: Pixels | Callable[[], Pixels], seconds: float) -> None:
        """
        Args:
            pixels: themselves, or what makes them when they are first asked for: most frames of a camera are replaced
                by newer ones before anyone looks at them.
        """
        self._pixels, self.seconds = pixels, seconds

    @property
    def pixels(self) -> Pixels:
        """RGB, uint8, shape (height, width, 3), C-contiguous; not to be written to.

        Raises:
            CameraError: what the camera gave cannot be converted.
        """
        if callable(self._pixels):
            self._pixels = self._pixels()
        return self._pixels


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
