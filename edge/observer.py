"""The camera's loop: from the newest frame to events, and from events to the ledger and whoever listens."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from edge import image
from edge.cameras.capture import Capture
from edge.cameras.frame import Frame
from edge.cameras.view import View
from edge.errors import SinkError
from edge.events import Event, Events, Rules
from edge.image import Pixels
from edge.network import Network
from edge.recorder import Recorder, wait_for
from edge.schedule import Span, is_open
from edge.snapshots import Snapshots
from edge.tally import Tally
from edge.trouble import Say, Trouble
from edge.verdict import BEGAN, ENDED, FRAME, INTERRUPTED, Recorded, Sighting, Verdict

WAIT_SECONDS = 0.5  # so long at most nobody hears of us
PATIENCE_SECONDS = 30.0  # for a first or a next frame, before the camera counts as frozen
FROZEN_SECONDS = 45.0  # in one call of a camera's; their timeouts are shorter
DELIVERY_SECONDS = 1.0
EARLY = 0.1  # of an interval, that a frame may be before its time; the next one is no earlier for that
RECENT = 0.1  # the weight of the newest value in a running mean


@dataclass(frozen=True)
class Pace:
    """How many frames are looked at.

    Attributes:
        interval_seconds: from one to the next; 0 for as many as can be had.
        max_frames: after these it is done.
        record_seconds: the verdict of a frame is recorded so often; None for events alone.
    """

    interval_seconds: float = 0.0
    max_frames: int | None = None
    record_seconds: float | None = None


@dataclass
class Figures:
    """What a person wants to see of the work; running means.

    Attributes:
        network_seconds: scaling and classifying a frame takes.
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


class Observer:
    """Classifies a camera's newest frames, and records what events they make.

    Attributes:
        name: of the camera, in all that is told and recorded.
        verdict: on the latest frame.
        events: how many have begun.
    """

    def __init__(
        self,
        name: str,
        capture: Callable[[], Capture],
        network: Network,
        recorder: Recorder,
        *,
        label: str,
        rules: Rules,
        view: View,
        pace: Pace,
        schedule: Sequence[Span],
        snapshots: Snapshots | None,
        say: Say,
    ) -> None:
        """
        Args:
            capture: opens the camera; called anew after each pause of the schedule.
            label: the one whose events are looked for.
        """
        self.name, self._make_capture, self._network, self._recorder = name, capture, network, recorder
        self._label, self._view, self._pace, self._schedule, self._snapshots = label, view, pace, schedule, snapshots
        self._gap_seconds = max(rules.gap_seconds, 3 * pace.interval_seconds)
        self._following = Events(replace(rules, gap_seconds=self._gap_seconds))
        self._capture: Capture | None = None
        self._at_snapshots = Trouble(say, "; events have no picture until then")
        self._looked_at = self._delivered_at = time.monotonic()
        self._begun: Sighting | None = None  # of the event that goes on
        self._peak: tuple[Pixels, Verdict] | None = None  # seen since then
        self._due = self._record_due = float("-inf")  # by the camera's clock
        self._is_resting = False
        self.frames = self.events = 0
        self.figures = Figures()
        self.verdict: Verdict | None = None

    @property
    def smoothed(self) -> float | None:
        """The smoothed probability of the label that is looked for."""
        return self._following.smoothed

    @property
    def skipped(self) -> int:
        """Frames that a newer one has replaced before anyone looked."""
        return self._capture.skipped if self._capture else 0

    @property
    def capture_milliseconds(self) -> float:
        """See `edge.cameras.capture.Capture`."""
        return self._capture.capture_milliseconds if self._capture else 0.0

    @property
    def trouble(self) -> str:
        """What keeps it from working just now; empty if nothing does."""
        own = (self._capture.trouble if self._capture else "", self._network.trouble.reason, self._at_snapshots.reason)
        return "; ".join(reason for reason in (*own, self._recorder.trouble) if reason)

    @property
    def is_healthy(self) -> bool:
        """Whether frames have really been classified of late, or it is known and in hand why they have not.

        A camera that gives nothing and says nothing is neither: then all is better begun anew.
        """
        capture = self._capture
        is_waiting = capture is not None and capture.is_reopening and capture.seconds_in_call < FROZEN_SECONDS
        if self._is_resting or is_waiting or self._network.trouble.reason:
            return True
        return time.monotonic() - self._looked_at < PATIENCE_SECONDS + 2 * self._pace.interval_seconds

    def run(self, stop: threading.Event) -> Iterator[Tally]:
        """Work until `stop` is set, a recording has ended, or so many frames are done as were asked for.

        Yields the tally first of all, then after each frame and, when there is none, twice a second.

        Raises:
            CameraError: the camera cannot be opened in the beginning, and nobody is patient.
            LedgerError, SinkError: if the recorder raises what goes wrong.
            ViewError: the region does not lie within the picture.
            ModelError: the network has failed.
        """
        yield self._recorder.tally
        yield from self._finish_former(stop)
        try:
            while not stop.is_set():
                if not is_open(self._schedule, datetime.now()):
                    yield from self._rest(stop)
                    continue
                if self._capture is None:
                    self._capture, self._looked_at = self._make_capture(), time.monotonic()
                frame = self._capture.latest(WAIT_SECONDS)
                if frame is not None and frame.seconds >= self._due - EARLY * self._pace.interval_seconds:
                    yield from self._look(frame, stop)
                elif frame is None and self._capture.is_over:
                    break
                elif time.monotonic() - self._looked_at > self._gap_seconds:
                    yield from self._end_event(stop)
                yield from self._deliver_now_and_then(stop)
                yield self._recorder.tally
                if self.frames == self._pace.max_frames:
                    break
                yield from self._pause(stop)
        finally:
            if self._capture:
                self._capture.close()
        yield from self._end_event(stop)
        yield from self._recorder.deliver(stop, has_new=True)

    def _rest(self, stop: threading.Event) -> Iterator[Tally]:
        """The schedule wants no frames now: the camera is free for others."""
        self._is_resting = True
        if self._capture:
            self._capture.close()
            self._capture = None
        yield from self._end_event(stop)
        while not stop.is_set() and not is_open(self._schedule, datetime.now()):
            yield from self._deliver_now_and_then(stop)
            yield self._recorder.tally
            stop.wait(WAIT_SECONDS)
        self._is_resting, self._due = False, float("-inf")

    def _pause(self, stop: threading.Event) -> Iterator[Tally]:
        """Until the next frame of a live camera is due."""
        if self._capture is None or not self._capture.is_live:
            return
        while not stop.is_set() and (left := self._due - time.monotonic()) > 0:
            stop.wait(min(left, WAIT_SECONDS))
            yield self._recorder.tally

    def _look(self, frame: Frame, stop: threading.Event) -> Iterator[Tally]:
        assert self._capture is not None
        began = time.monotonic()
        pixels = self._view.of(frame.pixels)
        seen = image.scaled(pixels, self._network.size)
        size = (pixels.shape[1], pixels.shape[0])
        while (verdict := self._network.verdict(self.name, seen, size, time.monotonic() - began)) is None:
            yield from wait_for(self._network.trouble, stop, self._recorder.tally)
            if stop.is_set():
                return
        now = time.monotonic()
        self.figures.note(now - began, now - frame.seconds if self._capture.is_live else None, now - self._looked_at)
        self._looked_at, self._due = now, max(self._due, frame.seconds) + self._pace.interval_seconds
        self.verdict = verdict
        self.frames += 1
        self._recorder.tally.count(verdict)
        yield from self._follow(verdict, pixels, frame, stop)

    def _follow(self, verdict: Verdict, pixels: Pixels, frame: Frame, stop: threading.Event) -> Iterator[Tally]:
        """What the frame means for events."""
        step = self._following.meet(self._probability(verdict), frame.seconds)
        if step.ended:
            yield from self._record_end(step.ended, stop)
        if step.began:
            self.events += 1
            peak = self._as_label(verdict, step.began.peak)
            self._begun = self._sighting(BEGAN, step.began, frame, self._picture(pixels, peak, BEGAN))
            self._peak = None
            yield from self._record(peak, self._begun, stop)
        elif step.is_peak and self._snapshots:
            assert self._following.current is not None
            self._peak = pixels.copy(), self._as_label(verdict, self._following.current.peak)
        if self._pace.record_seconds is not None and frame.seconds >= self._record_due:
            self._record_due = frame.seconds + self._pace.record_seconds
            yield from self._record(verdict, self._sighting(FRAME, None, frame, None), stop)

    def _end_event(self, stop: threading.Event) -> Iterator[Tally]:
        if ended := self._following.end():
            yield from self._record_end(ended, stop)

    def _record_end(self, event: Event, stop: threading.Event) -> Iterator[Tally]:
        begun = self._begun
        assert begun is not None
        snapshot = begun.snapshot
        if self._peak:
            snapshot = self._picture(*self._peak, "peak") or snapshot
        self._begun = self._peak = None
        assert self.verdict is not None
        ended = replace(begun, state=ENDED, seconds=event.seconds, peak=event.peak, snapshot=snapshot)
        yield from self._record(self._as_label(self.verdict, event.peak), ended, stop)

    def _finish_former(self, stop: threading.Event) -> Iterator[Tally]:
        """An event that was going on when a former run was killed has ended, nobody knows when."""
        ledger = self._recorder.ledger
        former: Recorded | None = yield from self._recorder.persistently(lambda: ledger.unfinished(self.name), stop)
        if former and former.sighting and isinstance(former.answer, Verdict):
            yield from self._record(former.answer, replace(former.sighting, state=INTERRUPTED, seconds=None), stop)
        yield from self._recorder.deliver(stop, has_new=True)

    def _record(self, answer: Verdict, sighting: Sighting, stop: threading.Event) -> Iterator[Tally]:
        yield from self._recorder.look_after(stop)
        ledger, model_sha256 = self._recorder.ledger, self._network.model_sha256
        yield from self._recorder.persistently(lambda: ledger.record_sighting(answer, sighting, model_sha256), stop)
        self._delivered_at = float("-inf")

    def _deliver_now_and_then(self, stop: threading.Event) -> Iterator[Tally]:
        """Not after each frame, for that asks the ledger; but at once when something was recorded."""
        now = time.monotonic()
        if now - self._delivered_at >= DELIVERY_SECONDS:
            has_new = self._delivered_at == float("-inf")
            self._delivered_at = now
            self._tidy()
            yield from self._recorder.deliver(stop, has_new=has_new)

    def _tidy(self) -> None:
        if self._snapshots and self._at_snapshots.is_due:
            try:
                self._snapshots.tidy_now_and_then()
            except SinkError as error:
                self._at_snapshots.met(error)

    def _picture(self, pixels: Pixels, verdict: Verdict, part: str) -> str | None:
        if self._snapshots is None:
            return None
        try:
            path = self._snapshots.write(pixels, verdict, part)
            self._at_snapshots.over()
            return path
        except SinkError as error:
            self._at_snapshots.met(error)
            return None

    def _sighting(self, state: str, event: Event | None, frame: Frame, snapshot: str | None) -> Sighting:
        assert self._capture is not None
        at = event.began if event else frame.seconds
        is_live = self._capture.is_live
        return Sighting(
            state,
            began_at=time.time() - (time.monotonic() - at if is_live else 0.0),
            position=None if is_live else at,
            seconds=event.seconds if event else None,
            peak=event.peak if event else None,
            snapshot=snapshot,
        )

    def _probability(self, verdict: Verdict) -> float:
        return verdict.confidence if verdict.label == self._label else 1 - verdict.confidence

    def _as_label(self, verdict: Verdict, probability: float) -> Verdict:
        """A verdict for the label that is looked for, with this confidence."""
        is_real = self._network.labels.index(self._label) == 1
        score = probability if is_real else 1 - probability
        return replace(verdict, label=self._label, is_real=is_real, score=score, confidence=probability)


def _mean(before: float, now: float) -> float:
    return now if not before else before + RECENT * (now - before)
