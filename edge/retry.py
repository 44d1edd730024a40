"""What goes wrong for a while: said once, tried again less and less often, and said when it is over."""

import time
from collections.abc import Callable

FIRST_SECONDS = 1.0
LONGEST_SECONDS = 60.0

Say = Callable[[str], None]


class Backoff:
    """One thing that may be out of order.

    Attributes:
        reason: what is wrong just now; empty if nothing is.
    """

    def __init__(self, say: Say, what_it_means: str = "") -> None:
        """
        Args:
            what_it_means: added when it is said.
        """
        self._say, self._what_it_means = say, what_it_means
        self.reason = ""
        self._wait_seconds = FIRST_SECONDS
        self._due = 0.0

    @property
    def is_due(self) -> bool:
        """Whether it is time to try; always, if nothing is wrong."""
        return time.monotonic() >= self._due

    @property
    def seconds_left(self) -> float:
        return max(0.0, self._due - time.monotonic())

    def failed(self, error: Exception) -> None:
        """It did not work, again or for the first time."""
        if str(error) != self.reason:
            self._say(f"{error}{self._what_it_means}")
        self.reason = str(error)
        self._due = time.monotonic() + self._wait_seconds
        self._wait_seconds = min(2 * self._wait_seconds, LONGEST_SECONDS)

    def succeeded(self) -> None:
        """It worked."""
        if self.reason:
            self._say(f"recovered: {self.reason}")
        self.reason, self._wait_seconds, self._due = "", FIRST_SECONDS, 0.0
