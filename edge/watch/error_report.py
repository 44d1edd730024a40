"""What a watcher says of files that it could not read."""

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from edge.errors import SinkError
from edge.files import FileId
from edge.retry import Backoff, Say
from edge.verdict import Failure

REMEMBERED = 100_000  # complaints, as two numbers each
PUT_OFF_SECONDS = 600.0  # what ended its process twice is not tried more often, however often the folder is listed


class ErrorReport:
    """Each file is told of once for each reason, for it is met again and again.

    Attributes:
        trouble: whether they can be told just now.
    """

    def __init__(self, tell: Callable[[Failure], None], say: Say, *, once: bool) -> None:
        """
        Args:
            once: raise if a complaint cannot be told, instead of saying so and trying again.
        """
        self._tell, self._once = tell, once
        self._told: OrderedDict[int, int] = OrderedDict()  # hashes of the path and of the reason
        self._put_off: OrderedDict[tuple[str, FileId], float] = OrderedDict()  # until when
        self.trouble = Backoff(say)

    def tell(self, path: str, reason: str) -> Failure | None:
        """Tell of a file; returns what was told now, and None if it was before, or could not be.

        Raises:
            SinkError: with `once`.
        """
        if self._told.get(hash(path)) == hash(reason):
            return None
        failure = Failure(path, reason)
        try:
            self._tell(failure)
            self.trouble.succeeded()
        except SinkError as error:
            if self._once:
                raise
            self.trouble.failed(error)
            return None  # it is told when it is met again
        self._told[hash(path)] = hash(reason)
        _limit(self._told)
        return failure

    def forget(self, path: str) -> None:
        """It could be read: the next failure is news."""
        self._told.pop(hash(path), None)

    def put_off(self, path: str, stamp: FileId) -> None:
        """Leave a file alone for a while, as long as it stays the same."""
        self._put_off[path, stamp] = time.monotonic() + PUT_OFF_SECONDS
        _limit(self._put_off)

    def is_put_off(self, path: str, stamp: FileId) -> bool:
        return self._put_off.get((path, stamp), 0.0) > time.monotonic()


def _limit(remembered: OrderedDict[Any, Any]) -> None:
    if len(remembered) > REMEMBERED:
        remembered.popitem(last=False)
