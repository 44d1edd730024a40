"""Errors of files that could not be read, each reported once."""

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from edge.errors import SinkError
from edge.files import FileId
from edge.retry import Backoff
from edge.verdict import Failure

REMEMBERED = 100_000  # reported errors, two hashes each
PUT_OFF_SECONDS = 600.0  # before a file that killed its decoding process twice is tried again


class ErrorReport:
    """Reports each file once per reason, although every listing of the folder finds it again.

    Attributes:
        backoff: when the output that reports errors has failed, the time of the next attempt.
    """

    def __init__(self, emit: Callable[[Failure], None], *, once: bool) -> None:
        """
        Args:
            emit: writes one error to the output.
            once: raise when the output fails, instead of retrying later.
        """
        self._emit, self._once = emit, once
        self._reported: OrderedDict[int, int] = OrderedDict()  # hashes of the path and of the reason
        self._put_off: OrderedDict[tuple[str, FileId], float] = OrderedDict()  # until when
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
        """The file was read: its next error is reported again."""
        self._reported.pop(hash(path), None)

    def put_off(self, path: str, stamp: FileId) -> None:
        """Skip a file for PUT_OFF_SECONDS while it stays unchanged."""
        self._put_off[path, stamp] = time.monotonic() + PUT_OFF_SECONDS
        _limit(self._put_off)

    def is_put_off(self, path: str, stamp: FileId) -> bool:
        return self._put_off.get((path, stamp), 0.0) > time.monotonic()


def _limit(remembered: OrderedDict[Any, Any]) -> None:
    if len(remembered) > REMEMBERED:
        remembered.popitem(last=False)
