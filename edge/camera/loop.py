"""The camera's loop: from the newest frame to its verdict, and on to events and sinks."""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from edge.camera.event_recorder import EventRecorder
from edge.camera.schedule import Span, is_open
from edge.capture.capture import Capture, is_held
from edge.capture.frame import Frame, FrameViews
from edge.capture.roi import Roi
from edge.daemon.lifecycle import WAIT_SECONDS, Stopped
from edge.daemon.recorder import Recorder
from edge.errors import CameraError, EdgeDetectError, LedgerError, RoiError, SinkError, printable
from edge.imaging.inputs import Input, choose
from edge.inference.retrying import RetryingClassifier
from edge.retry import Backoff
from edge.verdict import Verdict

PATIENCE_SECONDS = 30.0  # for a first or a next frame, before the camera counts as frozen
FROZEN_SECONDS = 45.0  # in one call of a camera's; their timeouts are shorter
DELIVERY_SECONDS = 1.0
EARLY = 0.1  # of an interval, that a frame may be before its time; the next one is no earlier for that
RECENT = 0.1  # the weight of the newest value in a running mean


@dataclass(frozen=True)
class Pace:
    """How many frames are looked at.

    Attributes:
        interval_seconds: from one frame to the next; 0 for as many as possible.
        max_frames: stop after this number of frames.
        record_seconds: record the verdict of one frame every so many seconds; None records events only.
    """

    interval_seconds: float = 0.0
    max_frames: int | None = None
    record_seconds: float | None = None


@dataclass(frozen=True)
class Latest:
    """The frame that was classified last.

    Attributes:
        taken_at: when it was taken, by time.monotonic(); of a recording, when it was classified.
    """

    frame: Frame
    verdict: Verdict
    taken_at: float


@dataclass
class Figures:
    """What a person wants to see of the work; running means.

    Attributes:
        network_seconds: taking a frame's views and classifying them takes.
        age_seconds: of a live frame when its verdict was there.
        frames_per_second: that are classified.
    """

    network_seconds: float = 0.0
    age_seconds: float | None = None
    frames_per_second: float = 0.0

    def note(self, network_seconds: float, age_seconds: float | None, passed_seconds: float) -> None:
        self.network_seconds = _mean(self.network_seconds, network_seconds)
        self.age_seconds = None if age_seconds is None else _mean(self.age_seconds or 0.0, age_seconds)
        if passed_seconds > 0:
            self.frames_per_second = _mean(self.frames_per_second, 1 / passed_seconds)


class CameraLoop:
    """Classifies a camera's newest frames, and passes the verdicts to the event recorder.

    Attributes:
        name: the camera's, in every report and record.
        verdict: on the latest frame.
        latest: the latest frame with its verdict; replaced as a whole, so that other threads may read it.
        frames: number of frames classified.
        figures: running means; they start again after a pause without frames.
        is_resting: whether the schedule keeps the camera closed.
    """

    def __init__(
        self,
        recorder: Recorder,
        network: RetryingClassifier,
        events: EventRecorder,
        open_capture: Callable[["CameraLoop"], Capture],
        *,
        view: Roi,
        pace: Pace,
        schedule: Sequence[Span] = (),
    ) -> None:
        """
        Args:
            recorder: its root is the camera's name.
            open_capture: opens the camera for this loop; called again after each pause of the schedule.

        Raises:
            ModelError, RuntimeMissingError, CoralError: a model cannot be had, so that its input is not known.
        """
        self._recorder, self._life, self._network, self._events = recorder, recorder.life, network, events
        self._open_capture, self._view, self._pace, self._schedule = open_capture, view, pace, schedule
        self.name = recorder.root
        # Only of the models' inputs: the capture thread prepares frames, and must not share the models with this one.
        self._choose = partial(choose, inputs=network.inputs)
        self._capture: Capture | None = None
        self._at_closing, self._at_view = Backoff(), Backoff("; frames are skipped until then")
        # When a frame was classified; the same, or was skipped for a known reason; when answers were delivered.
        self._classified_at = self._handled_at = self._delivered_at = time.monotonic()
        self._due = float("-inf")  # by the camera's clock
        self.is_resting = False
        self.frames = 0
        self.figures = Figures()
        self.verdict: Verdict | None = None
        self.latest: Latest | None = None

    @property
    def skipped(self) -> int:
        """Frames that a newer one has replaced before anyone looked."""
        return self._capture.skipped if self._capture else 0

    @property
    def capture_milliseconds(self) -> float:
        """See `edge.capture.capture.Capture`."""
        return self._capture.capture_milliseconds if self._capture else 0.0

    @property
    def is_seeing(self) -> bool:
        """Whether a frame was classified recently, so that the latest verdict describes the present."""
        return self.verdict is not None and time.monotonic() - self._classified_at < self._events.gap_seconds

    @property
    def trouble(self) -> str:
        """Present errors of camera, region, network, snapshots and sinks, joined; empty if there are none."""
        of_camera = self._capture.trouble if self._capture else ""
        own = (of_camera, self._at_closing.reason, self._at_view.reason, self._network.backoff.reason)
        return "; ".join(reason for reason in (*own, self._events.trouble, self._recorder.trouble) if reason)

    @property
    def is_waiting(self) -> bool:
        """Whether a known, handled condition explains that no frames are classified at present."""
        capture = self._capture
        is_lost = capture is not None and capture.is_reopening and capture.seconds_in_call < FROZEN_SECONDS
        return self.is_resting or is_lost or bool(self._network.backoff.reason) or self._recorder.is_waiting

    @property
    def has_begun(self) -> bool:
        """Whether the settings have proved to work: by a frame; in a service also if no frame is not their fault.

        A camera that is lost right after a reload may be the fault of the new settings: only a service that was
        started waits for it.
        """
        return self.frames > 0 or (self._life.is_service and (self.is_waiting or not self._life.is_reload))

    @property
    def is_healthy(self) -> bool:
        """Whether frames were classified recently, or a known condition is being waited out.

        False for a camera that is silent or cannot be closed: then the watchdog restarts the service.
        """
        if is_held():
            return False
        patience_seconds = PATIENCE_SECONDS + 2 * self._pace.interval_seconds
        return self.is_waiting or time.monotonic() - self._handled_at < patience_seconds

    def prepare(self, frame: Frame) -> None:
        """Compute what `run` needs of a frame, on the thread of `Capture`; some of it may not be used.

        Raises:
            CameraError: what the camera gave cannot be converted.
        """
        if self._is_due(frame):
            with suppress(RoiError):  # which comes again when the frame is looked at
                frame.seen(self._view, self._choose)

    def run(self) -> None:
        """Work until stopped, until a recording has ended, or until `pace.max_frames` frames are classified.

        Raises:
            CameraError: the camera cannot be opened at the start, and this is no service.
            LedgerError, SinkError: with `once`.
            RoiError: the region does not lie within a recording's picture, or a camera's first one.
            ModelError, RuntimeMissingError: a model cannot be had, or has failed.
        """
        try:
            with suppress(Stopped):
                self._events.finish_former()
                self._recorder.deliver(has_new=True)
                self._work()
        except (LedgerError, SinkError):
            raise  # nothing more can be recorded or delivered
        except EdgeDetectError:
            self._finish()
            raise
        else:
            self._finish()
        finally:
            if self._capture:
                self._capture.close()

    def _work(self) -> None:
        """The loop: take the newest frame, classify it, record events, deliver, and wait for the next one."""
        while not self._life.stopping:
            if not is_open(self._schedule, datetime.now()):
                self._rest()
                continue
            if self._capture is None:
                self._capture = self._open_capture(self)
                self._classified_at = self._handled_at = time.monotonic()
            frame = self._capture.latest(WAIT_SECONDS)
            if frame is not None and self._is_due(frame):
                self._classify(frame, self._capture)
            elif frame is None and self._capture.is_over:
                return
            if time.monotonic() - self._classified_at > self._events.gap_seconds:
                self._events.end()
                self.figures = Figures()
            self._deliver_now_and_then()
            self._life.heartbeat()
            if self.frames == self._pace.max_frames:
                return
            self._wait_for_next(self._capture)

    def _finish(self) -> None:
        """End and deliver what has begun."""
        with suppress(Stopped):
            self._events.end()
            self._recorder.deliver(has_new=True)

    def _rest(self) -> None:
        """Outside the schedule: close the camera, so that other programs can use it."""
        self.is_resting = True
        if self._capture:
            self._capture.close()
            self._capture = self.latest = None
        self._events.end()
        while not is_open(self._schedule, datetime.now()):
            self._deliver_now_and_then()
            self._life.sleep(WAIT_SECONDS)
        self.is_resting, self._due = False, float("-inf")

    def _wait_for_next(self, capture: Capture) -> None:
        """Sleep until the next frame of a live camera is due, or the schedule ends."""
        while capture.is_live and (left := self._due - time.monotonic()) > 0:
            if not is_open(self._schedule, datetime.now()):
                return
            self._life.sleep(min(left, WAIT_SECONDS))
            self._deliver_now_and_then()

    def _classify(self, frame: Frame, capture: Capture) -> None:
        backoff = self._network.backoff
        if not backoff.is_due:  # the next attempt takes a newer frame
            self._life.sleep(min(backoff.seconds_left, WAIT_SECONDS))
            return
        seen = self._seen(frame, capture)
        if seen is None:
            return
        chosen, views = seen
        verdict = self._network.verdict(
            self.name, views.pixels, views.own_size, frame.preparing_seconds, chosen.model, further=views.further
        )
        if verdict is None:
            return
        now = time.monotonic()
        age = now - frame.seconds if capture.is_live else None
        self.figures.note(verdict.elapsed_seconds, age, now - self._classified_at)
        self._classified_at = now
        self._handled(frame)
        self.verdict = verdict
        self.latest = Latest(frame, verdict, frame.seconds if capture.is_live else now)
        self.frames += 1
        self._recorder.stats.count(verdict)
        self._events.follow(verdict, lambda: self._view.of(frame.pixels), frame, is_live=capture.is_live)

    def _seen(self, frame: Frame, capture: Capture) -> tuple[Input, FrameViews] | None:
        """See `Frame.seen`; None if a live camera has come to give a picture that the region is not in."""
        try:
            seen = frame.seen(self._view, self._choose)
        except RoiError as error:
            waits = self.frames > 0 or (self._life.is_service and not self._life.is_reload)
            if not (capture.is_live and waits):
                raise
            self._at_view.failed(error)
            self._handled(frame)
            return None
        self._at_view.succeeded()
        return seen

    def _is_due(self, frame: Frame) -> bool:
        return frame.seconds >= self._due - EARLY * self._pace.interval_seconds

    def _handled(self, frame: Frame) -> None:
        self._handled_at, self._due = time.monotonic(), max(self._due, frame.seconds) + self._pace.interval_seconds

    def _note_closing(self) -> None:
        """Report a camera that does not close; `Capture` reports one that gives no frames."""
        if is_held():
            self._at_closing.failed(CameraError(f"{printable(self.name)}: was closed, but its driver does not return"))
        else:
            self._at_closing.succeeded()

    def _deliver_now_and_then(self) -> None:
        """Deliver at once what was recorded; otherwise every DELIVERY_SECONDS, as it queries the ledger."""
        now, has_new = time.monotonic(), self._events.has_new
        if has_new or now - self._delivered_at >= DELIVERY_SECONDS:
            self._delivered_at, self._events.has_new = now, False
            self._note_closing()
            self._events.tidy()
            self._recorder.deliver(has_new=has_new)


def _mean(before: float, now: float) -> float:
    return now if not before else before + RECENT * (now - before)
