"""Retry with exponential back-off; logs the first error and the recovery."""

import logging
import time

FIRST_SECONDS = 1.0
LONGEST_SECONDS = 60.0

_log = logging.getLogger(__name__)


class Backoff:
    """The state of one operation that may fail for a while.

    Attributes:
        reason: the present error; empty after a success.
    """

    def __init__(self, consequence: str = "") -> None:
        """
        Args:
            consequence: appended to the logged error, such as "; trying again".
        """
        self._consequence = consequence
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
        is_new = str(error) != self.reason
        self.reason = str(error)
        if is_new:
            _log.warning("%s%s", error, self._consequence)
        self._due = time.monotonic() + self._wait_seconds
        self._wait_seconds = min(2 * self._wait_seconds, LONGEST_SECONDS)

    def succeeded(self) -> None:
        """Note a successful attempt; logs the recovery after failures."""
        if self.reason:
            _log.info("recovered: %s", self.reason)
        self.reason, self._wait_seconds, self._due = "", FIRST_SECONDS, 0.0
