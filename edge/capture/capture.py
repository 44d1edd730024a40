"""Reads a camera on a thread of its own: keeps the newest frame, and reopens a lost camera.

Without it, frames would wait in the camera's buffers while the network works,
and we would look ever further into the past.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TypeVar

from edge.capture.frame import Camera, Frame
from edge.errors import CameraError
from edge.retry import Backoff

RECENT = 30  # frames that the figures are made of
AHEAD = 4  # frames of a recording that are made ready before they are asked for
AHEAD_PIXELS = 4_000_000  # and of these, for a large frame takes much memory; one may always wait
CLOSING_SECONDS = 2.0
SILENCE_SECONDS = 30.0  # in one call of a camera's that say something is wrong; their own timeouts are shorter
_ABANDONED = "abandoned capture"  # the name of a thread that was left in a call of its camera's
STEADY_SECONDS = 5.0  # of frames, after which a trouble is over; a loose contact is one long trouble

Result = TypeVar("Result")


class Capture:
    """Opens a camera and keeps its newest frame in a slot of one; of a recording some frames, until each is taken.

    A camera that is lost, or ends, is opened again, less and less often; a
    recording that ends is over. The methods are for one thread, beside ours.

    Attributes:
        name: the camera's; empty until it is open.
        captured: frames that have come.
        skipped: those of them that were replaced by newer ones before they were asked for.
    """

    def __init__(
        self,
        open_: Callable[[], Camera],
        *,
        prepare: Callable[[Frame], object] = lambda frame: frame.pixels,
        is_patient: bool = False,
        silence_seconds: float = SILENCE_SECONDS,
    ) -> None:
        """
        Args:
            open_: opens the camera; called again when it was lost.
            prepare: makes of a frame what is wanted of it, if that is not made yet. Called for each frame of a live
                camera that is asked for; of a recording by our own thread, for frames that have to wait anyway.
            is_patient: keep trying if the camera cannot be opened at the start, as a service does.
            silence_seconds: duration of one camera call after which it is reported.
        """
        self._open, self._trouble, self._silence = open_, Backoff("; trying again"), Backoff()
        self._prepare = prepare
        self._is_patient, self._silence_seconds = is_patient, silence_seconds
        self.name, self.captured, self.skipped = "", 0, 0
        self._changed = threading.Condition()
        self._waiting: deque[Frame] = deque()
        self._is_live = True
        self._is_stopped = self._is_finished = self._is_lost = False
        self._error: BaseException | None = None  # for the one who asks for a frame
        self._unusable: CameraError | None = None  # a frame could not be converted: for our thread
        self._call_began: float | None = None
        self._times: deque[float] = deque(maxlen=RECENT)
        self._durations: deque[float] = deque(maxlen=RECENT)
        # It must never keep the program from ending: a read of a device may not return.
        self._thread = threading.Thread(target=self._run, name="capture", daemon=True)
        self._thread.start()

    def latest(self, timeout_seconds: float = 0.0) -> Frame | None:
        """Take the newest frame, waiting up to `timeout_seconds` for one; None if none came.

        Of a recording it is the next one.

        Raises:
            CameraError: the camera could not be opened at the start (unless `is_patient`), or a recording
                is damaged.
            NotInstalledError: what it needs is missing.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_finished or self._is_stopped, timeout_seconds)
            frame = self._waiting.popleft() if self._waiting else None
            self._changed.notify_all()
            if frame is None and self._error is not None:
                raise self._error
        if frame is None:
            if self.seconds_in_call > self._silence_seconds:
                name = self.name or "the camera"
                self._silence.failed(CameraError(f"{name}: no answer for {self._silence_seconds:g} s; waiting for one"))
            return None
        if self._is_live:
            try:
                self._prepare(frame)
            except CameraError as error:
                self._unusable = error
                return None
        return frame

    @property
    def is_live(self) -> bool:
        """Whether the camera goes on whether we look or not; true until it is open."""
        return self._is_live

    @property
    def is_over(self) -> bool:
        """Whether it was a recording, and its last frame has been taken."""
        with self._changed:
            return self._is_finished and not self._waiting and self._error is None

    @property
    def trouble(self) -> str:
        """What is wrong with the camera; kept until it has given frames for STEADY_SECONDS; empty if nothing is."""
        return self._trouble.reason or self._silence.reason

    @property
    def is_reopening(self) -> bool:
        """Whether the camera is known to be lost, and is called again and again."""
        return self._is_lost

    @property
    def seconds_in_call(self) -> float:
        """For how long we have been in one call of the camera's, which should not be longer than its timeouts.

        0 between calls. A camera that freezes past all timeouts is seen by this: opening, reading or closing it does
        not come to an end; one that is only lost is called again and again.
        """
        began = self._call_began
        return 0.0 if began is None else time.monotonic() - began

    @property
    def capture_milliseconds(self) -> float:
        """For a frame, the mean of the recent ones: for a live camera, mostly the waiting for it; 0 without any."""
        durations = list(self._durations)
        return 1000 * sum(durations) / len(durations) if durations else 0.0

    @property
    def frames_per_second(self) -> float:
        """That have come of late; 0 if too few have."""
        times = list(self._times)
        return (len(times) - 1) / max(time.monotonic() - times[0], 1e-6) if len(times) > 1 else 0.0

    def close(self) -> None:
        """Stop and close the camera; a camera call that hangs is abandoned, see `is_held`."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()
        self._thread.join(CLOSING_SECONDS)
        if self._thread.is_alive():
            self._thread.name = _ABANDONED

    def __enter__(self) -> "Capture":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self) -> None:
        try:
            while not self._is_stopped and not self._is_finished:
                try:
                    self._session()
                except CameraError as error:
                    if not self._may_try_again():
                        raise
                    self._trouble.failed(error)
                    self._is_lost = True
                    with self._changed:
                        self._changed.wait_for(lambda: self._is_stopped, self._trouble.seconds_left)
        except BaseException as error:  # not swallowed: raised where a frame is asked for
            self._error = error
        finally:
            with self._changed:
                self._is_finished, self._is_lost = True, False
                self._changed.notify_all()

    def _may_try_again(self) -> bool:
        """Whether to reopen: never a recording, which would start from its beginning."""
        return self._is_live and (self._is_patient or self.captured > 0)

    def _session(self) -> None:
        """From an opening to the end, or to our own.

        Raises:
            CameraError: the camera is lost.
        """
        camera = self._called(self._open)
        try:
            self.name, self._is_live = camera.name, camera.is_live
            self._unusable, opened = None, time.monotonic()
            while not self._is_stopped:
                began = time.monotonic()
                frame = self._called(camera.frame)
                if frame is None:
                    if camera.is_live:
                        raise CameraError(f"{camera.name}: gives no more frames")
                    self._is_finished = True
                    return
                if self._is_lost:
                    _ = frame.pixels  # that it can be converted belongs to being back
                    self._is_lost = False
                self._keep(frame, time.monotonic() - began)
                self._silence.succeeded()
                if time.monotonic() - opened > STEADY_SECONDS:
                    self._trouble.succeeded()
                if self._unusable is not None:
                    raise self._unusable
        finally:
            self._called(camera.close)

    def _called(self, function: Callable[[], Result]) -> Result:
        self._call_began = time.monotonic()
        try:
            return function()
        finally:
            self._call_began = None

    def _keep(self, frame: Frame, seconds: float) -> None:
        if not self._is_live and self._waiting:  # else someone may be waiting for this one, and can prepare it as well
            self._prepare(frame)
        with self._changed:
            if not self._is_live:
                most = max(1, min(AHEAD, AHEAD_PIXELS // max(1, frame.area)))
                self._changed.wait_for(lambda: len(self._waiting) < most or self._is_stopped)
            elif self._waiting:
                self._waiting.clear()
                self.skipped += 1
            self._waiting.append(frame)
            self.captured += 1
            self._times.append(time.monotonic())
            self._durations.append(seconds)
            self._changed.notify_all()


def is_held() -> bool:
    """Whether any camera of this process was closed while a call to its driver still hangs.

    It cannot be opened again meanwhile; if it has frozen, only the end of the process frees it.
    """
    return any(thread.name == _ABANDONED for thread in threading.enumerate())
