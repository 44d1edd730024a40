"""From verdicts that flicker to events: something begins, has a peak, and ends.

The probability of the label that is looked for is smoothed exponentially over
time, not over frames, so that the rate of the camera does not matter (first-order
low-pass filter: weight of the new value 1 - exp(-dt / smooth_seconds)). An
event begins when the smoothed value has come up to one threshold and stayed
above a lower one for a while, and it ends when it has fallen to that lower
one: two thresholds (hysteresis, as in a Schmitt trigger) keep a value that
wavers about one of them from making many events. A frame of which the model is
not sure is smoothed like the others, but no event begins with it.
"""

import math
from dataclasses import dataclass

GAP_SECONDS = 10.0  # without a frame, an event has ended: nobody knows what went on meanwhile


@dataclass(frozen=True)
class Rules:
    """When an event begins and ends.

    Attributes:
        enter, leave: smoothed probabilities of the label, 0-1; `leave` is the lower one.
        smooth_seconds: time constant of the smoothing; 0 for none.
        least_seconds: it must have lasted that long before it is one.
        cool_down_seconds: after the end of one, none begins for so long.
        gap_seconds: so long without a frame ends it.
    """

    enter: float = 0.8
    leave: float = 0.5
    smooth_seconds: float = 1.0
    least_seconds: float = 1.0
    cool_down_seconds: float = 10.0
    gap_seconds: float = GAP_SECONDS


@dataclass
class Event:
    """Something that was seen.

    Attributes:
        began, last: in seconds of the camera's clock: when it came up to the threshold, and its latest frame.
        peak: the highest smoothed probability so far.
    """

    began: float
    last: float
    peak: float

    @property
    def seconds(self) -> float:
        return self.last - self.began


@dataclass(frozen=True)
class Step:
    """What one frame has brought.

    Attributes:
        began: an event that has just become one.
        ended: an event that is over.
        is_peak: whether this frame is the peak of the present event so far.
    """

    began: Event | None = None
    ended: Event | None = None
    is_peak: bool = False


class EventDetector:
    """Follows one probability over time.

    Attributes:
        smoothed: the probability just now; None before the first frame.
        current: the event that goes on.
    """

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._seconds = -math.inf
        self._candidate: Event | None = None
        self._not_before = -math.inf
        self.smoothed: float | None = None
        self.current: Event | None = None

    def update(self, probability: float, seconds: float, *, is_unsure: bool = False) -> Step:
        """Take note of a frame.

        Args:
            probability: of the label that is looked for, 0-1.
            seconds: when the frame was taken; never less than before.
            is_unsure: an event that has begun before may go on with it, but none begins.
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
        """There are no more frames, or none for too long: what went on has ended with the last one."""
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
