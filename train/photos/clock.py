"""When a training ends that has so many minutes, and what its learning rate is until then."""

import math
import time
from collections.abc import Sequence

WARMUP = 0.03  # of the time
LAST_RATE = 0.01  # of the highest


class Clock:
    """The time of a run, over all calls, and of this call.

    Epochs are never cut short: a run or call ends when another epoch as long as the last one would not fit.
    """

    def __init__(self, minutes: float, minutes_of_call: float | None) -> None:
        """
        Args:
            minutes: of the whole run; 0 if its epochs are counted instead.
            minutes_of_call: from now on; None for as long as the run takes.
        """
        self._minutes, self._of_call, self._began = minutes, minutes_of_call, time.monotonic()

    def ends_run(self, history: Sequence[dict[str, float]]) -> bool:
        if not self._minutes or not history:
            return False
        return _spent(history) + history[-1]["seconds"] > 60 * self._minutes

    def ends_call(self, history: Sequence[dict[str, float]]) -> bool:
        if self._of_call is None or not history:
            return False
        return time.monotonic() - self._began + history[-1]["seconds"] > 60 * self._of_call

    def rate(self, history: Sequence[dict[str, float]], seconds: float) -> float:
        """The learning rate as a share of the highest: up, then down as a cosine until the last epoch that fits ends.

        Args:
            seconds: since the present epoch began.
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
