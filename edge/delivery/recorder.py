"""What stands between those who answer and the ledger: patience, and word to everyone who listens."""

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
    """The ledger of one source of answers, and its listeners.

    Its methods are generators, which yield the stats while they wait: so that
    whoever runs them can show that it is alive, and be stopped.

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
            once: raise what goes wrong, instead of saying it and trying again.
        """
        self.ledger, self.root, self.stats, self.once = ledger, root, stats, once
        self._outlets, self._say = outlets, say
        self._at_ledger = Backoff(say, "; trying again")

    @property
    def trouble(self) -> str:
        """What keeps the ledger from being written, or those from hearing who listen; empty if nothing does."""
        all_ = [self._at_ledger, *(outlet.trouble for outlet in self._outlets)]
        return "; ".join(trouble.reason for trouble in all_ if trouble.reason)

    @property
    def is_waiting(self) -> bool:
        """Whether the ledger cannot be written just now, and we wait until it can."""
        return bool(self._at_ledger.reason)

    def persistently(self, call: Callable[[], T], stop: threading.Event) -> Generator[Stats, None, T | None]:
        """Call the ledger until it works; returns None if we are stopped before.

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
        """Begin a new ledger in the place of one that has gone."""
        if not self.ledger.is_there:
            self._say(f"{printable(self.ledger.path)}: has gone or was exchanged; begun anew")
            yield from self.persistently(self._reopen, stop)

    def deliver(self, stop: threading.Event, *, has_new: bool) -> Iterator[Stats]:
        """Let everyone know what the ledger holds.

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
        for outlet in self._outlets:  # if it is another one, before it holds any answers
            self.ledger.subscribe(self.root, outlet.name)
        while self.ledger.remarks:
            self._say(self.ledger.remarks.pop(0))


def wait_for(trouble: Backoff, stop: threading.Event, stats: Stats) -> Iterator[Stats]:
    """Until it is time to try again, or we are stopped."""
    while not trouble.is_due and not stop.wait(min(0.5, trouble.seconds_left)):
        yield stats
