"""A camera that is read on a thread of its own, and opened again when it is lost.

Without the thread, frames would wait in the camera's buffers during each inference, and every frame would be classified
later than the one before it.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TypeVar

from edge.capture.frame import Camera, Frame, Interruptible
from edge.capture.slot import FrameSlot
from edge.errors import CameraError
from edge.retry import Backoff

MEAN_FRAMES = 30  # number of latest frames whose mean read time is reported
CLOSE_SECONDS = 2.0  # how long `Capture.close` waits for the thread
# Duration of one call of the camera's driver after which it is reported; the timeouts of the cameras are shorter.
SILENCE_SECONDS = 30.0
STEADY_SECONDS = 5.0  # for which a reopened camera must give frames to count as recovered: a loose contact does not

# Threads of closed captures whose camera's driver had not returned.
_abandoned: set[threading.Thread] = set()

Result = TypeVar("Result")


def is_held() -> bool:
    """Whether any camera of this process was closed while a call to its driver still hangs.

    It cannot be opened again meanwhile; if it has frozen, only the end of the process frees it.
    """
    _abandoned.difference_update([thread for thread in _abandoned if not thread.is_alive()])
    return bool(_abandoned)


class Capture:
    """Gives the newest frame of a live camera, or the frames of a recording one after another.

    A live camera that is lost, or ends, is reopened with back-off; a recording that ends is over. All methods are for
    one thread.
    """

    def __init__(
        self,
        open_: Callable[[], Camera],
        *,
        prepare: Callable[[Frame], object] = lambda frame: frame.pixels,
        waits_at_start: bool = False,
        silence_seconds: float = SILENCE_SECONDS,
    ) -> None:
        """
        Args:
            open_: opens the camera; called again when it was lost.
            prepare: computes what will be needed of a frame, unless that is done already. Frames of a live camera are
                prepared in `latest`; those of a recording that have to wait, in the capture thread.
            waits_at_start: retry if the camera cannot be opened at the start, as a service does.
            silence_seconds: duration of one camera call after which it is reported.
        """
        self._prepare, self._silence_seconds = prepare, silence_seconds
        self._slot = FrameSlot()
        self._reader = _Reader(self._slot, open_, prepare, waits_at_start=waits_at_start)
        self._silence = Backoff()
        self._reader.start()

    def latest(self, timeout_seconds: float = 0.0) -> Frame | None:
        """Take the newest frame of a live camera, or the next one of a recording.

        Args:
            timeout_seconds: how long to wait for a frame.

        Returns:
            None if no frame came, or a live camera's frame could not be converted.

        Raises:
            CameraError: the camera could not be opened at the start (unless `waits_at_start`), or a recording
                is damaged.
            NotInstalledError: a library that the camera needs is missing.
        """
        frame = self._slot.take(timeout_seconds)
        if frame is None:
            if self.seconds_in_call > self._silence_seconds:
                name = self.name or "the camera"
                self._silence.failed(CameraError(f"{name}: no answer for {self._silence_seconds:g} s; waiting for one"))
            return None
        self._silence.succeeded()
        if self.is_live:
            try:
                self._prepare(frame)
            except CameraError as error:
                self._reader.reject(error)
                return None
        return frame

    @property
    def name(self) -> str:
        """The camera's name; empty until it is open."""
        return self._reader.name_of_camera

    @property
    def is_live(self) -> bool:
        """Whether frames that are not taken in time are lost, unlike a recording's; true until the camera is open."""
        return self._reader.is_live

    @property
    def is_over(self) -> bool:
        """Whether a recording has ended, and its last frame has been taken."""
        return self._slot.is_over

    @property
    def captured(self) -> int:
        """Number of frames that the camera has given."""
        return self._slot.received

    @property
    def skipped(self) -> int:
        """Number of captured frames that newer ones replaced before they were taken."""
        return self._slot.skipped

    @property
    def capture_milliseconds(self) -> float:
        """Mean time for reading one of the latest frames, for a live camera mostly waiting; 0 before the first."""
        return self._reader.mean_seconds * 1000

    @property
    def trouble(self) -> str:
        """The camera's present error; empty if there is none.

        A lost camera's error remains until the camera has given frames for STEADY_SECONDS.
        """
        return self._reader.backoff.reason or self._silence.reason

    @property
    def is_reopening(self) -> bool:
        """Whether the camera is lost, and is being opened again and again."""
        return self._reader.is_lost

    @property
    def seconds_in_call(self) -> float:
        """Seconds since the present call of the camera's driver began; 0 between calls.

        Many seconds mean that the driver hangs in opening, reading or closing the camera: its timeouts end every call
        that takes longer. A camera that is merely lost is called again and again.
        """
        return self._reader.seconds_in_call

    def close(self) -> None:
        """Stop and close the camera; a driver that hangs is left behind after CLOSE_SECONDS, see `is_held`."""
        self._reader.stop()
        self._reader.join(CLOSE_SECONDS)
        if self._reader.is_alive():
            _abandoned.add(self._reader)

    def __enter__(self) -> "Capture":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Reader(threading.Thread):
    """The capture thread: opens the camera, puts its frames into the slot, and reopens it when it is lost.

    Attributes:
        name_of_camera: empty until it is open.
        is_live: see `Camera.is_live`; true until it is open.
        is_lost: whether it is being reopened, and has given no frame since it was lost.
        backoff: of the attempts to reopen it.
    """

    def __init__(
        self,
        slot: FrameSlot,
        open_: Callable[[], Camera],
        prepare: Callable[[Frame], object],
        *,
        waits_at_start: bool,
    ) -> None:
        super().__init__(name="capture", daemon=True)  # daemon: a driver that hangs must not keep the process alive
        self._slot, self._open, self._prepare, self._waits_at_start = slot, open_, prepare, waits_at_start
        self.name_of_camera, self.is_live, self.is_lost = "", True, False
        self.backoff = Backoff("; trying again")
        self._stop_requested = threading.Event()
        self._camera: Camera | None = None  # while it is open
        self._rejection: CameraError | None = None
        self._call_began: float | None = None
        self._durations: deque[float] = deque(maxlen=MEAN_FRAMES)

    @property
    def seconds_in_call(self) -> float:
        began = self._call_began
        return 0.0 if began is None else time.monotonic() - began

    @property
    def mean_seconds(self) -> float:
        durations = list(self._durations)
        return sum(durations) / len(durations) if durations else 0.0

    def stop(self) -> None:
        """Ask the thread to close the camera and to end."""
        self._stop_requested.set()
        self._slot.close()
        camera = self._camera
        if isinstance(camera, Interruptible):
            camera.interrupt()

    def reject(self, error: CameraError) -> None:
        """Report from another thread that a frame could not be converted: the camera counts as lost."""
        self._rejection = error

    def run(self) -> None:
        error: BaseException | None = None
        try:
            self._read_and_reopen()
        except BaseException as caught:  # raised where a frame is asked for
            error = caught
        self.is_lost = False
        self._slot.end(error)

    def _read_and_reopen(self) -> None:
        while not self._stop_requested.is_set():
            try:
                return self._read()
            except CameraError as error:
                if self._stop_requested.is_set():  # it was interrupted
                    return
                # Not a recording: it would start from its beginning.
                if not self.is_live or not (self._waits_at_start or self._slot.received):
                    raise
                self.backoff.failed(error)
                self.is_lost = True
                self._stop_requested.wait(self.backoff.seconds_left)

    def _read(self) -> None:
        """Open the camera, and read it until a recording has ended or `stop` is called.

        Raises:
            CameraError: the camera cannot be opened, or is lost.
        """
        camera = self._camera = self._call(self._open)
        latest: Frame | None = None
        try:
            self.name_of_camera, self.is_live = camera.name, camera.is_live
            self._rejection, opened = None, time.monotonic()
            while not self._stop_requested.is_set():
                began = time.monotonic()
                frame = self._call(camera.frame)
                if frame is None:
                    if camera.is_live:
                        raise CameraError(f"{camera.name}: gives no more frames")
                    return
                if frame is latest:
                    continue
                latest = frame
                if self.is_lost:
                    _ = frame.pixels  # a camera whose frames cannot be converted is still lost
                    self.is_lost = False
                self._durations.append(time.monotonic() - began)
                self._put(frame)
                if time.monotonic() - opened > STEADY_SECONDS:
                    self.backoff.succeeded()
                if self._rejection is not None:
                    raise self._rejection
        finally:
            self._camera = None
            self._call(camera.close)

    def _put(self, frame: Frame) -> None:
        if self.is_live:
            self._slot.replace(frame)
            return
        if not self._slot.is_empty:  # otherwise the other thread may be waiting for it, and prepares it just as well
            self._prepare(frame)
        self._slot.append(frame)

    def _call(self, function: Callable[[], Result]) -> Result:
        """Call the camera's driver, see `seconds_in_call`."""
        self._call_began = time.monotonic()
        try:
            return function()
        finally:
            self._call_began = None
