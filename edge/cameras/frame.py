"""What a camera is to us: something that gives one frame after the other."""

from dataclasses import dataclass
from typing import Protocol

from edge.image import Pixels


@dataclass(frozen=True)
class Frame:
    """One picture of a camera.

    Attributes:
        pixels: RGB, uint8, shape (height, width, 3).
        seconds: when it was taken, by the camera's own clock: time.monotonic() if it is live, else the time within the
            recording.
    """

    pixels: Pixels
    seconds: float


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
