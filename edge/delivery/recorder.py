"""Writes answers to the ledger with retries, and delivers them to the sinks."""

import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from functools import partial
from typing import TypeVar

from edge.delivery.outbox import CommandOutlet, Outlet
from edge.errors import LedgerError, printable
from edge.retry import Backoff, Say
from edge.stats import Stats
from edge.store.ledger import Ledger

T = TypeVar("T")


class Recorder:
    """The ledger of one folder or camera, with its outlets.

    Its methods are generators that yield the stats while they wait, so that
    the caller can send heartbeats and stop.

    Attributes:
        root: under which the ledger knows the source: the real path of a folder, or the name of a camera.
    """

    def __init__(
        self,
        ledger: Ledger,
        root: str,
        outlets: Sequence[Outlet | CommandOutlet],
        stats: Stats,
        say: Say,
        *,
        once: bool,
    ) -> None:
        """
        Args:
            once: raise errors instead of retrying.
        """
        self.ledger, self.root, self.stats, self.once = ledger, root, stats, once
        self._outlets, self._say = outlets, say
        self._at_ledger = Backoff(say, "; trying again")

    @property
    def trouble(self) -> str:
        """Present errors of the ledger and the sinks, joined; empty if there are none."""
        backoffs = [self._at_ledger, *(outlet.backoff for outlet in self._outlets)]
        return "; ".join(backoff.reason for backoff in backoffs if backoff.reason)

    @property
    def is_waiting(self) -> bool:
        """Whether the last write to the ledger failed, and is being retried."""
        return bool(self._at_ledger.reason)

    def persistently(self, call: Callable[[], T], stop: threading.Event) -> Generator[Stats, None, T | None]:
        """Call the ledger, retrying with back-off; returns None if stopped first.

        Raises:
            LedgerError: with `once`.
        """
        while True:
            try:
                result = call()
                self._at_ledger.succeeded()
                return result
            except LedgerError as error:
                if self.once:
                    raise
                self._at_ledger.failed(error)
                failure = error
            yield from wait_for(self._at_ledger, stop, self.stats)
            if stop.is_set():
                return None
            try:
                self._reopen(failure)
            except LedgerError as error:
                self._at_ledger.failed(error)

    def look_after(self, stop: threading.Event) -> Iterator[Stats]:
        """Create a new ledger if its file was deleted or replaced."""
        if not self.ledger.is_there:
            self._say(f"{printable(self.ledger.path)}: was deleted or replaced; a new one was begun")
            yield from self.persistently(self._reopen, stop)

    def deliver(self, stop: threading.Event, *, has_new: bool) -> Iterator[Stats]:
        """Deliver to every outlet what the ledger holds for it.

        Raises:
            LedgerError, SinkError: with `once`.
        """
        for outlet in self._outlets:
            if isinstance(outlet, Outlet):
                while (yield from self.persistently(partial(outlet.deliver, at_once=self.once), stop)):
                    yield self.stats
            elif has_new:
                outlet.deliver()

    def _reopen(self, after: LedgerError | None = None) -> None:
        self.ledger.reopen(after)
        for outlet in self._outlets:  # before a new ledger holds any answers
            self.ledger.subscribe(self.root, outlet.name)
        while self.ledger.remarks:
            self._say(self.ledger.remarks.pop(0))


def wait_for(backoff: Backoff, stop: threading.Event, stats: Stats) -> Iterator[Stats]:
    """Wait until the next attempt is due or `stop` is set, yielding at least every 0.5 s."""
    while not backoff.is_due and not stop.wait(min(0.5, backoff.seconds_left)):
        yield stats
