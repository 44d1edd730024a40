"""Records the events in a camera's verdicts in the ledger, with snapshots."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from edge.camera.event_detector import Event, EventDetector, Rules
from edge.camera.snapshots import Snapshots
from edge.capture.frame import Frame
from edge.daemon.recorder import Recorder
from edge.errors import CameraError, SinkError
from edge.imaging.preprocess import Pixels
from edge.inference.retrying import RetryingClassifier
from edge.retry import Backoff
from edge.store.ledger import FORGOTTEN_AT_ONCE
from edge.verdict import BEGAN, ENDED, FRAME, INTERRUPTED, CameraEvent, Recorded, Verdict

FORGET_SECONDS = 60.0  # interval at which old recorded frames are deleted


@dataclass(frozen=True)
class Seen:
    """A frame and its verdict.

    Attributes:
        picture: returns the part of the frame that was classified, in full size; a function, as few frames are kept.
        taken_at: when the frame was taken, seconds since the epoch.
    """

    picture: Callable[[], Pixels]
    verdict: Verdict
    taken_at: float


class EventRecorder:
    """Turns verdicts into events, and records them in the ledger.

    Attributes:
        label: the label whose events are recorded.
        gap_seconds: time without a frame after which an event has ended.
        begun: number of events that have begun.
        has_new: whether anything was recorded since the last delivery; cleared by the camera loop when it delivers.
    """

    def __init__(
        self,
        recorder: Recorder,
        network: RetryingClassifier,
        *,
        label: str,
        rules: Rules,
        snapshots: Snapshots | None = None,
        record_seconds: float | None = None,
        keep_seconds: float,
    ) -> None:
        """
        Args:
            recorder: writes to the ledger; its root is the camera's name.
            network: the classifier whose verdicts are passed to `follow`; gives labels and the model's checksum.
            label: the label whose events are recorded.
            rules: when an event begins and ends.
            snapshots: writes the pictures of events; None: no pictures.
            record_seconds: interval at which the verdict of a single frame is recorded; None: events only.
            keep_seconds: age at which a recorded frame is deleted.
        """
        self._recorder, self._network, self.label = recorder, network, label
        self._labels = network.labels
        self._is_real = self._labels.index(label) == 1
        self._record_seconds, self._keep_seconds, self._snapshots = record_seconds, keep_seconds, snapshots
        self._detector = EventDetector(rules)
        self._at_snapshots = Backoff("; events are recorded without a picture")
        self._latest: Verdict | None = None
        self._begun: CameraEvent | None = None  # the beginning of the current event, as recorded
        self._peak: Seen | None = None  # the current event's peak; None if the beginning is the peak
        self._record_due = float("-inf")  # as Frame.seconds
        self._forgotten_at = float("-inf")  # as time.monotonic()
        self.gap_seconds = rules.gap_seconds
        self.begun, self.has_new = 0, False

    @property
    def smoothed(self) -> float | None:
        """The smoothed probability of the event's label, 0-1; None before the first frame and after a gap."""
        return self._detector.smoothed

    @property
    def is_in_event(self) -> bool:
        """Whether an event has begun and not ended."""
        return self._detector.current is not None

    @property
    def trouble(self) -> str:
        """Why snapshots cannot be written; empty if they can."""
        return self._at_snapshots.reason

    def follow(self, verdict: Verdict, picture: Callable[[], Pixels], frame: Frame, *, is_live: bool) -> None:
        """Update the events with a frame's verdict, and record what has begun or ended.

        Args:
            picture: returns the part of the frame that was classified; called if a snapshot is written, perhaps later.
            is_live: whether the frame is of a live camera; otherwise of a recording.
        """
        self._latest = verdict
        seen = Seen(picture, verdict, _since_epoch(frame.seconds, is_live=is_live))
        probability = verdict.score if self._is_real else 1 - verdict.score
        step = self._detector.update(probability, frame.seconds, is_unsure=verdict.label not in self._labels)
        if step.ended:
            self._record_end(step.ended)
        if step.began:
            self.begun += 1
            seen = replace(seen, verdict=self._as_label(_with_provenance(verdict, frame), step.began.peak))
            self._begun = _camera_event(BEGAN, step.began, frame, self._picture(seen, BEGAN), is_live=is_live)
            self._peak = None
            self._record(seen.verdict, self._begun)
        elif step.is_peak and self._snapshots:
            assert self._detector.current is not None
            verdict = _with_provenance(verdict, frame)
            self._peak = replace(seen, verdict=self._as_label(verdict, self._detector.current.peak))
        if self._record_seconds is not None and frame.seconds >= self._record_due:
            self._record_due = frame.seconds + self._record_seconds
            self._record(_with_provenance(verdict, frame), _camera_event(FRAME, None, frame, None, is_live=is_live))

    def end(self) -> None:
        """Record the end of the current event, because no more frames come; does nothing without one."""
        if ended := self._detector.end():
            self._record_end(ended)

    def finish_former(self) -> None:
        """Record as interrupted the event that was open when an earlier run was killed, if there was one."""
        ledger = self._recorder.ledger
        former: Recorded | None = self._recorder.retry(lambda: ledger.unfinished(self._recorder.root))
        if former and former.event and isinstance(former.answer, Verdict):
            self._record(former.answer, replace(former.event, state=INTERRUPTED, seconds=None))

    def tidy(self) -> None:
        """Delete old snapshots and old recorded frames; cheap enough to be called after each frame."""
        if self._snapshots and self._at_snapshots.is_due:
            try:
                if self._snapshots.tidy_if_due():
                    self._at_snapshots.succeeded()
            except SinkError as error:
                self._at_snapshots.failed(error)
        now, ledger = time.monotonic(), self._recorder.ledger
        if now - self._forgotten_at >= FORGET_SECONDS:
            forgotten = self._recorder.retry(lambda: ledger.forget_frames(self._recorder.root, self._keep_seconds))
            if forgotten != FORGOTTEN_AT_ONCE:  # otherwise more are left, for the next call
                self._forgotten_at = now

    def _record_end(self, event: Event) -> None:
        begun = self._begun
        assert begun is not None
        assert self._latest is not None
        snapshot = begun.snapshot
        if self._peak:
            snapshot = self._picture(self._peak, "peak") or snapshot
        self._begun = self._peak = None
        ended = replace(begun, state=ENDED, seconds=event.seconds, peak=event.peak, snapshot=snapshot)
        self._record(self._as_label(self._latest, event.peak), ended)

    def _record(self, answer: Verdict, event: CameraEvent) -> None:
        self._recorder.replace_lost_ledger()
        ledger, model_sha256 = self._recorder.ledger, self._network.model_sha256
        token = os.urandom(32)  # the same in each attempt, because one that seemed to fail may have been written
        self._recorder.retry(lambda: ledger.record_event(answer, event, model_sha256, token))
        self.has_new = True

    def _picture(self, seen: Seen, part: str) -> str | None:
        if self._snapshots is None:
            return None
        try:
            path = self._snapshots.write(seen.picture(), seen.verdict, part, seen.taken_at)
            self._at_snapshots.succeeded()
            return path
        except (CameraError, SinkError) as error:
            self._at_snapshots.failed(error)
            return None

    def _as_label(self, verdict: Verdict, probability: float) -> Verdict:
        """The verdict with the event's label and this probability of it."""
        score = probability if self._is_real else 1 - probability
        return verdict._replace(label=self.label, is_real=self._is_real, score=score, confidence=probability)


def _with_provenance(verdict: Verdict, frame: Frame) -> Verdict:
    return verdict._replace(provenance=frame.provenance)


def _camera_event(state: str, event: Event | None, frame: Frame, snapshot: str | None, *, is_live: bool) -> CameraEvent:
    at = event.began if event else frame.seconds
    return CameraEvent(
        state,
        began_at=_since_epoch(at, is_live=is_live),
        position=None if is_live else at,
        seconds=event.seconds if event else None,
        peak=event.peak if event else None,
        snapshot=snapshot,
    )


def _since_epoch(seconds: float, *, is_live: bool) -> float:
    """`Frame.seconds` as seconds since the epoch; for a recording, the present time."""
    return time.time() - (time.monotonic() - seconds if is_live else 0.0)
