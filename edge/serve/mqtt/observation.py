"""What there is to publish at one moment: the sources of this board, their states, and figures of the board."""

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge import __version__
from edge.board import Board
from edge.daemon.status import source_id
from edge.errors import LedgerError, printable
from edge.files import free_bytes
from edge.serve.cameras import Running
from edge.serve.health import Health, HealthReader
from edge.serve.history import History
from edge.serve.mqtt import messages
from edge.serve.mqtt.topics import CAMERA, FOLDER, Source
from edge.store import history

LIST_SECONDS = 10.0  # interval at which the sources in the ledgers are listed again
STALE_SECONDS = 30 * 86_400.0  # without an answer and without running, after which a source counts as removed


@dataclass(frozen=True)
class Sources:
    """
    Attributes:
        all: the sources that run, or have answers in a ledger.
        running: the status of those that run; empty for one that does not answer.
        latest: time of the last answer of each that has one.
        is_complete: whether every ledger could be read, so that a source that is missing here is really gone.
    """

    all: frozenset[Source]
    running: dict[Source, dict[str, Any]]
    latest: dict[Source, float]
    is_complete: bool


class Observation:
    """Reads ledgers, status sockets and the board's files; all of that blocks. For one thread."""

    def __init__(
        self,
        ledgers: History,
        running: Callable[[], Iterable[Running]],
        disk: Path,
        board: Board | None = None,
    ) -> None:
        """
        Args:
            running: returns the running watchers and cameras.
            disk: a file or folder on the disk whose free space is reported.
            board: whose temperature is reported; None: this one.
        """
        self._ledgers, self._running, self._disk = ledgers, running, disk
        self._health = HealthReader(board)
        self._listed_at = float("-inf")
        self._latest: dict[Source, float] = {}
        self._is_complete = False

    @property
    def health(self) -> Health:
        """See `edge.serve.health.HealthReader`."""
        return self._health.read()

    def refresh(self) -> None:
        """List the sources in the ledgers again at the next call of `sources`."""
        self._listed_at = float("-inf")

    def sources(self) -> Sources:
        """The sources at this moment."""
        if time.monotonic() - self._listed_at >= LIST_SECONDS:
            self._list()
        running: dict[Source, dict[str, Any]] = {}
        for one in self._running():
            if not one.error:
                running[Source(CAMERA if one.is_camera else FOLDER, one.name)] = one.status
                continue
            for source in self._latest:  # it hangs, and does not give its name
                if source_id(source.name) == one.id:
                    running[source] = {}
        return Sources(frozenset({*running, *self._latest}), running, self._latest, self._is_complete)

    def state(self, source: Source, status: dict[str, Any], label: str | None) -> dict[str, Any]:
        """The state of a source.

        Args:
            status: of its process; empty if there is none.
            label: of its last answer.
        """
        if source.kind == CAMERA:
            return messages.camera_state(status)
        name = printable(source.name)
        totals = self._ledgers.totals.now().counts
        counts = {label: count for (origin, label), count in totals.items() if origin == name}
        return messages.folder_state(status, counts, label)

    def board(self, running: Iterable[dict[str, Any]]) -> dict[str, Any]:
        """The state of the board.

        Args:
            running: the status of everything that runs.
        """
        free, health = None, self.health
        with suppress(OSError):
            free = free_bytes(self._disk)
        waiting = sum(messages.number(status.get("waiting")) or 0 for status in running)
        return messages.board_state(
            celsius=health.celsius,
            throttled=health.is_throttled,
            waiting=int(waiting),
            free_bytes=free,
            version=__version__,
        )

    def newest(self, source: Source, limit: int) -> list[history.Item]:
        """The last answers of a source in all ledgers, the newest first.

        Raises:
            LedgerError: no ledger can be read.
        """
        return self._ledgers.page(history.Filter(source=source.name), limit=limit).items

    def _list(self) -> None:
        found: dict[Source, float] = {}
        self._is_complete = True
        for ledger in self._ledgers.ledgers:
            try:
                for one in history.sources(ledger):
                    source = Source(CAMERA if one.is_camera else FOLDER, one.name)
                    found[source] = max(one.latest, found.get(source, 0.0))
                self._ledgers.totals.update(ledger)
            except LedgerError:  # the publisher, which reads it for events, reports it
                self._is_complete = False
        self._latest, self._listed_at = found, time.monotonic()
