"""Detects events in the verdicts of single frames: when a label's probability rises, and when it has fallen again.

The probability of the event's label is smoothed exponentially over time, not
over frames, so that the frame rate does not matter (first-order low-pass
filter: weight of the new value 1 - exp(-dt / smooth_seconds)). An event begins
when the smoothed probability has reached the threshold `enter` and then stayed
above the lower threshold `leave` for `least_seconds`. It ends when the
probability has fallen to `leave`. Two thresholds (hysteresis, as in a Schmitt
trigger) prevent a value that varies around one of them from starting many
events. UNSURE frames are smoothed like the others, but start no event.
"""

import math
from dataclasses import dataclass

GAP_SECONDS = 10.0  # without a frame, after which an event has ended


@dataclass(frozen=True)
class Rules:
    """When an event begins and ends.

    Attributes:
        enter: smoothed probability of the label, 0-1, at which an event begins.
        leave: smoothed probability, 0-1, at which an event ends; at most `enter`.
        smooth_seconds: time constant of the smoothing; 0: none.
        least_seconds: shortest duration of an event.
        cool_down_seconds: time after the end of an event in which no other begins.
        gap_seconds: time without a frame after which an event has ended.
    """

    enter: float = 0.8
    leave: float = 0.5
    smooth_seconds: float = 1.0
    least_seconds: float = 1.0
    cool_down_seconds: float = 10.0
    gap_seconds: float = GAP_SECONDS


@dataclass
class Event:
    """A period in which the event's label was seen.

    Attributes:
        began: time at which the probability reached the threshold `enter`, in seconds as in `Frame.seconds`.
        last: time of the event's latest frame, in the same seconds.
        peak: the highest smoothed probability so far, 0-1.
    """

    began: float
    last: float
    peak: float

    @property
    def seconds(self) -> float:
        """Duration so far."""
        return self.last - self.began


@dataclass(frozen=True)
class Step:
    """What one frame has changed.

    Attributes:
        began: the event that has begun with this frame: it has now lasted `Rules.least_seconds`.
        ended: the event that has ended.
        is_peak: whether the probability is the highest of the current event so far.
    """

    began: Event | None = None
    ended: Event | None = None
    is_peak: bool = False


class EventDetector:
    """Detects the events of one label from its probability over time.

    Attributes:
        smoothed: the smoothed probability, 0-1; None before the first frame and after a gap.
        current: the event that has begun and not ended; None if there is none.
    """

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._seconds = -math.inf
        self._candidate: Event | None = None
        self._not_before = -math.inf
        self.smoothed: float | None = None
        self.current: Event | None = None

    def update(self, probability: float, seconds: float, *, is_unsure: bool = False) -> Step:
        """Update the events with the verdict on a frame.

        Args:
            probability: probability of the event's label, 0-1.
            seconds: when the frame was taken, see `Frame.seconds`; never less than for the frame before.
            is_unsure: whether the verdict is UNSURE: no event begins with this frame, but one may continue.
        """
        ended = self.end() if seconds - self._seconds > self._rules.gap_seconds else None
        self._smooth(probability, seconds)
        assert self.smoothed is not None
        if self.current is None:
            return Step(ended=ended, began=self._begun(seconds, is_unsure=is_unsure))
        if self.smoothed <= self._rules.leave:
            return Step(ended=self.end())
        return Step(ended=ended, is_peak=self._advance(self.current, seconds))

    def end(self) -> Event | None:
        """End the current event at its last frame, because no more frames come; returns it, or None."""
        ended = self.current
        if ended is not None:
            self._not_before = self._seconds + self._rules.cool_down_seconds
        self.current = self._candidate = self.smoothed = None
        return ended

    def _smooth(self, probability: float, seconds: float) -> None:
        passed, constant = seconds - self._seconds, self._rules.smooth_seconds
        weight = 1.0 if self.smoothed is None or not constant else -math.expm1(-max(0.0, passed) / constant)
        self.smoothed = probability if self.smoothed is None else self.smoothed + weight * (probability - self.smoothed)
        self._seconds = seconds

    def _begun(self, seconds: float, *, is_unsure: bool) -> Event | None:
        assert self.smoothed is not None
        if seconds < self._not_before or self.smoothed <= self._rules.leave:
            self._candidate = None
        elif self._candidate is not None:
            self._advance(self._candidate, seconds)
        elif self.smoothed >= self._rules.enter and not is_unsure:
            self._candidate = Event(seconds, seconds, self.smoothed)
        if self._candidate is None or self._candidate.seconds < self._rules.least_seconds:
            return None
        self.current, self._candidate = self._candidate, None
        return self.current

    def _advance(self, event: Event, seconds: float) -> bool:
        assert self.smoothed is not None
        event.last = seconds
        is_peak = self.smoothed > event.peak
        event.peak = max(event.peak, self.smoothed)
        return is_peak
