"""Retry with exponential back-off; logs the first error and the recovery."""

import time
from collections.abc import Callable

FIRST_SECONDS = 1.0
LONGEST_SECONDS = 60.0

Say = Callable[[str], None]


class Backoff:
    """The state of one operation that may fail for a while.

    Attributes:
        reason: the present error; empty after a success.
    """

    def __init__(self, say: Say, what_it_means: str = "") -> None:
        """
        Args:
            what_it_means: appended to the logged error.
        """
        self._say, self._what_it_means = say, what_it_means
        self.reason = ""
        self._wait_seconds = FIRST_SECONDS
        self._due = 0.0

    @property
    def is_due(self) -> bool:
        """Whether the next attempt may be made now; always true after a success."""
        return time.monotonic() >= self._due

    @property
    def seconds_left(self) -> float:
        return max(0.0, self._due - time.monotonic())

    def failed(self, error: Exception) -> None:
        """Note a failed attempt; logs the error unless it is the same as the last."""
        if str(error) != self.reason:
            self._say(f"{error}{self._what_it_means}")
        self.reason = str(error)
        self._due = time.monotonic() + self._wait_seconds
        self._wait_seconds = min(2 * self._wait_seconds, LONGEST_SECONDS)

    def succeeded(self) -> None:
        """Note a successful attempt; logs the recovery after failures."""
        if self.reason:
            self._say(f"recovered: {self.reason}")
        self.reason, self._wait_seconds, self._due = "", FIRST_SECONDS, 0.0
