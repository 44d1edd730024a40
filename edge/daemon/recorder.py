"""Writes answers to the ledger with retries, and delivers them to the sinks."""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from edge.daemon.lifecycle import Lifecycle
from edge.delivery.outbox import CommandOutlet, Outlet
from edge.errors import LedgerError, printable
from edge.retry import Backoff
from edge.stats import Stats
from edge.store.ledger import Ledger

_log = logging.getLogger(__name__)

T = TypeVar("T")


class Recorder:
    """The ledger of one folder or camera, with its outlets.

    Attributes:
        life: by which it waits. With `once`, errors are raised instead of being retried.
        root: the key of the source in the ledger: the real path of a folder, or the name of a camera.
    """

    def __init__(
        self, life: Lifecycle, ledger: Ledger, root: str, outlets: Sequence[Outlet | CommandOutlet], stats: Stats
    ) -> None:
        self.life, self.ledger, self.root, self.stats = life, ledger, root, stats
        self._outlets = outlets
        self._backoff = Backoff("; trying again")

    @property
    def trouble(self) -> str:
        """Present errors of the ledger and the sinks, joined; empty if there are none."""
        backoffs = [self._backoff, *(outlet.backoff for outlet in self._outlets)]
        return "; ".join(backoff.reason for backoff in backoffs if backoff.reason)

    @property
    def is_waiting(self) -> bool:
        """Whether the last call of the ledger failed, and is being retried."""
        return bool(self._backoff.reason)

    def retry(self, call: Callable[[], T]) -> T:
        """Call the ledger, retrying with back-off; it is opened again before each further attempt.

        Raises:
            LedgerError: with `once`.
            Stopped: while waiting for the next attempt.
        """
        failure: LedgerError | None = None

        def attempt() -> T:
            nonlocal failure
            if failure is not None:
                self._reopen(failure)
            try:
                return call()
            except LedgerError as error:
                failure = error
                raise

        return self.life.retry(attempt, self._backoff, () if self.life.once else LedgerError)

    def replace_lost_ledger(self) -> None:
        """Create a new ledger if its file was deleted or replaced.

        Raises:
            LedgerError, Stopped: see `retry`.
        """
        if not self.ledger.is_there:
            _log.warning("%s: was deleted or replaced; a new one was begun", printable(self.ledger.path))
            self.retry(self._reopen)

    def deliver(self, *, has_new: bool) -> None:
        """Deliver to every outlet what the ledger holds for it.

        Raises:
            LedgerError, SinkError: with `once`.
            Stopped: see `retry`.
        """
        for outlet in self._outlets:
            if isinstance(outlet, Outlet):
                while self.retry(partial(outlet.deliver, at_once=self.life.once)):
                    self.life.heartbeat()
            elif has_new:
                outlet.deliver()

    def _reopen(self, after: LedgerError | None = None) -> None:
        self.ledger.reopen(after)
        for outlet in self._outlets:  # before a new ledger holds any answers
            self.ledger.subscribe(self.root, outlet.name)
