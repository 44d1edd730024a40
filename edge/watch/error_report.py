"""Errors of files that could not be read, each reported once."""

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from edge.errors import SinkError
from edge.files import FileId
from edge.retry import Backoff
from edge.verdict import Failure

MAX_REMEMBERED = 100_000  # reported errors, two hashes each; and postponed files
POSTPONED_SECONDS = 600.0  # before a file whose decoding process was killed twice is tried again


class ErrorReport:
    """Reports an unreadable file once per reason, although every listing of the folder finds it again.

    Attributes:
        backoff: after a failure of the output, the time of the next attempt.
    """

    def __init__(self, emit: Callable[[Failure], None], *, once: bool) -> None:
        """
        Args:
            emit: writes one error to the output.
            once: raise when the output fails, instead of retrying later.
        """
        self._emit, self._once = emit, once
        self._reported: OrderedDict[int, int] = OrderedDict()  # hash of each path, and of its reason
        self._postponed: OrderedDict[tuple[str, FileId], float] = OrderedDict()  # files, and until when
        self.backoff = Backoff()

    def report(self, path: str, reason: str) -> Failure | None:
        """Report a file; returns None if it was reported before, or if the output failed.

        Raises:
            SinkError: with `once`.
        """
        if self._reported.get(hash(path)) == hash(reason):
            return None
        failure = Failure(path, reason)
        try:
            self._emit(failure)
            self.backoff.succeeded()
        except SinkError as error:
            if self._once:
                raise
            self.backoff.failed(error)
            return None  # the next listing finds the file again
        self._reported[hash(path)] = hash(reason)
        _limit(self._reported)
        return failure

    def forget(self, path: str) -> None:
        """Report the next error of a file again, because the file was read in between."""
        if self._reported:
            self._reported.pop(hash(path), None)

    def postpone(self, path: str, stamp: FileId) -> None:
        """Skip a file for POSTPONED_SECONDS while it stays unchanged."""
        self._postponed[path, stamp] = time.monotonic() + POSTPONED_SECONDS
        _limit(self._postponed)

    def is_postponed(self, path: str, stamp: FileId) -> bool:
        """Whether a file is to be skipped now."""
        return bool(self._postponed) and self._postponed.get((path, stamp), 0.0) > time.monotonic()


def _limit(remembered: OrderedDict[Any, Any]) -> None:
    """Forget the oldest item if there are too many."""
    if len(remembered) > MAX_REMEMBERED:
        remembered.popitem(last=False)
