"""Frames on their way from the thread that reads a camera to the thread that classifies them."""

import threading
from collections import deque

from edge.capture.frame import Frame

QUEUE_FRAMES = 4  # greatest number of a recording's frames that wait to be taken
QUEUE_PIXELS = 4_000_000  # of these frames together, because large frames take much memory; one frame may always wait


class FrameSlot:
    """Holds frames between one thread that reads them and one that takes them.

    A live camera's frame replaces the one before it, so that only the newest waits. Frames of a recording wait in a
    short queue, and the reading thread waits for room in it.

    Attributes:
        received: number of frames that were put into the slot.
        skipped: number of frames that were replaced before they were taken.
    """

    def __init__(self) -> None:
        self.received = self.skipped = 0
        self._changed = threading.Condition()
        self._frames: deque[Frame] = deque()
        self._has_ended = self._is_closed = False
        self._error: BaseException | None = None

    def replace(self, frame: Frame) -> None:
        """Put a frame in the place of the one that waits, if one does."""
        with self._changed:
            self.skipped += len(self._frames)
            self._frames.clear()
            self._put(frame)

    def append(self, frame: Frame) -> None:
        """Put a frame behind those that wait; blocks until there is room for it, or the slot is closed."""
        room = max(1, min(QUEUE_FRAMES, QUEUE_PIXELS // max(1, frame.area)))
        with self._changed:
            self._changed.wait_for(lambda: len(self._frames) < room or self._is_closed)
            self._put(frame)

    def _put(self, frame: Frame) -> None:
        self._frames.append(frame)
        self.received += 1
        self._changed.notify_all()

    def end(self, error: BaseException | None = None) -> None:
        """Declare that no more frames will come.

        Args:
            error: the reason, raised by `take` once all frames have been taken; None: a recording ended, or the slot
                was closed.
        """
        with self._changed:
            self._has_ended, self._error = True, error
            self._changed.notify_all()

    def close(self) -> None:
        """Declare that no more frames will be taken: wakes a thread that waits in `append`."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def take(self, timeout_seconds: float = 0.0) -> Frame | None:
        """Remove and return the first frame that waits.

        Args:
            timeout_seconds: how long to wait for a frame; less if none can come any more.

        Returns:
            None if no frame came.

        Raises:
            BaseException: the error that `end` was called with, if no frame is left.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._frames or self._has_ended or self._is_closed, timeout_seconds)
            if self._frames:
                self._changed.notify_all()
                return self._frames.popleft()
            if self._error is not None:
                raise self._error
            return None

    @property
    def is_empty(self) -> bool:
        """Whether no frame waits to be taken."""
        return not self._frames

    @property
    def is_over(self) -> bool:
        """Whether all frames were taken and no more will come, without an error."""
        with self._changed:
            return self._has_ended and not self._frames and self._error is None
