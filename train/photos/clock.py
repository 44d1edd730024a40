"""The clock of a training by time: when it ends, and its learning rate until then."""

import math
import time
from collections.abc import Sequence

WARMUP = 0.03  # share of the run in which the learning rate rises
LAST_RATE = 0.01  # learning rate at the end, as a share of the highest


class Clock:
    """The time that a run has over all its calls, and the time that this call has.

    No epoch is cut short: a run or a call ends when another epoch as long as the last one would not fit.
    """

    def __init__(self, minutes: float, minutes_of_call: float | None) -> None:
        """
        Args:
            minutes: length of the whole run; 0 if the run has a number of epochs instead.
            minutes_of_call: length of this call, which begins now; None sets no limit.
        """
        self._minutes, self._of_call, self._began = minutes, minutes_of_call, time.monotonic()

    def ends_run(self, history: Sequence[dict[str, float]]) -> bool:
        """Whether the run has no time for another epoch."""
        if not self._minutes or not history:
            return False
        return _spent(history) + history[-1]["seconds"] > 60 * self._minutes

    def ends_call(self, history: Sequence[dict[str, float]]) -> bool:
        """Whether this call has no time for another epoch."""
        if self._of_call is None or not history:
            return False
        return time.monotonic() - self._began + history[-1]["seconds"] > 60 * self._of_call

    def rate(self, history: Sequence[dict[str, float]], seconds: float) -> float:
        """The learning rate as a share of the highest one.

        It rises linearly, then falls as a cosine until the last epoch that fits ends.

        Args:
            history: the finished epochs.
            seconds: time since the current epoch began.
        """
        spent, end = _spent(history), 60 * self._minutes
        if history:
            epoch = max(0.1, history[-1]["seconds"])
            end = spent + max(1, (end - spent) // epoch) * epoch
        share = min(1.0, (spent + seconds) / end)
        if share < WARMUP:
            return share / WARMUP
        return LAST_RATE + (1 - LAST_RATE) * (1 + math.cos(math.pi * (share - WARMUP) / (1 - WARMUP))) / 2


def _spent(history: Sequence[dict[str, float]]) -> float:
    return sum(entry["seconds"] for entry in history)
