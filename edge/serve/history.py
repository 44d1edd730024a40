"""The answers of several ledgers as one list, and as JSON or CSV."""

import csv
import io
import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from edge.delivery import table
from edge.errors import LedgerError, printable
from edge.serve.totals import Totals
from edge.store import history
from edge.store.history import Filter, Item, Position, ledger_name, parse_key

LIST_SECONDS = 10.0  # interval at which ledgers and sources are looked up again
EXPORT_ROWS = 500  # answers of one query of an export
# Those of `edge-detect results --csv`; before the last one, those that only this one has.
COLUMNS = (*table.COLUMNS[:-1], "source", "sha256", "elapsed_ms", table.COLUMNS[-1])

T = TypeVar("T")


@dataclass(frozen=True)
class Page:
    """Some answers, the newest first.

    Attributes:
        newer, older: positions to ask for the neighbouring pages (`after` and `before` of `History.page`); None if
            there is no such page.
        errors: one line for each ledger that cannot be read, while others can.
    """

    items: list[Item]
    newer: Position | None
    older: Position | None
    errors: list[str]


@dataclass(frozen=True)
class SourceCounts:
    """A watched folder or camera.

    Attributes:
        latest: time of its last answer, seconds since the epoch.
        counts: number of its answers by label so far, also of those that were deleted; "ERROR" for images without a
            verdict.
    """

    name: str
    is_camera: bool
    latest: float
    counts: dict[str, int]


class History:
    """The answers of all ledgers of this board. Threads may share it."""

    def __init__(self, find: Callable[[], list[Path]], totals: Totals | None = None) -> None:
        """
        Args:
            find: returns the paths of the ledgers (`edge.store.queries.ledgers`); called from time to time.
            totals: counts the answers; None: one in memory.
        """
        self._find, self._lock = find, threading.Lock()
        self._ledgers: list[Path] = []
        self._sources: list[SourceCounts] = []
        self._found_at = self._listed_at = float("-inf")
        self.totals = totals or Totals()

    @property
    def ledgers(self) -> list[Path]:
        """The ledgers that exist."""
        with self._lock:
            if time.monotonic() - self._found_at >= LIST_SECONDS:
                self._ledgers = [path for path in dict.fromkeys(self._find()) if os.path.lexists(path)]
                # Looked up again at once while there is none: a watcher makes it when it starts.
                self._found_at = time.monotonic() if self._ledgers else float("-inf")
            return list(self._ledgers)

    def page(
        self,
        wanted: Filter,
        *,
        before: Position | None = None,
        after: Position | None = None,
        limit: int = 24,
    ) -> Page:
        """A page of answers.

        Args:
            before: only answers older than this position.
            after: only answers newer than this position, the nearest ones; at most one of both is given.
            limit: greatest number of answers.

        Raises:
            LedgerError: no ledger can be read, though there are some.
            ValueError: the filter is invalid.
        """
        limit = max(1, min(limit, history.MAX_ROWS - 1))
        found, errors = self._each(
            lambda ledger: history.page(ledger, wanted, before=before, after=after, limit=limit + 1)
        )
        items = sorted((item for some in found for item in some), key=lambda item: item.position, reverse=True)
        has_more = len(items) > limit
        items = items[-limit:] if after is not None else items[:limit]
        if not items:
            return Page([], None, None, errors)
        has_newer, has_older = (has_more, True) if after is not None else (before is not None, has_more)
        return Page(
            items,
            items[0].position if has_newer else None,
            items[-1].position if has_older else None,
            errors,
        )

    def one(self, key: str) -> Item | None:
        """The answer with an `Item.key`; None if there is none.

        Raises:
            LedgerError: its ledger cannot be read.
            ValueError: the text is no key.
        """
        name, id_ = parse_key(key)
        ledger = next((ledger for ledger in self.ledgers if ledger_name(ledger) == name), None)
        return None if ledger is None else history.one(ledger, id_)

    def sources(self) -> list[SourceCounts]:
        """The watched folders and cameras, sorted by name; at most LIST_SECONDS old.

        Raises:
            LedgerError: no ledger can be read, though there are some.
        """
        if time.monotonic() - self._listed_at >= LIST_SECONDS:
            found, _ = self._each(history.sources)
            latest: dict[str, history.Source] = {}
            for source in (source for some in found for source in some):
                if source.name not in latest or latest[source.name].latest < source.latest:
                    latest[source.name] = source
            self._each(lambda ledger: self.totals.update(ledger, at_most=1))  # a page does not wait for the rest
            counts = self.totals.now().counts
            self._sources = [
                SourceCounts(
                    name,
                    one.is_camera,
                    one.latest,
                    {label: count for (source, label), count in counts.items() if source == printable(name)},
                )
                for name, one in sorted(latest.items())
            ]
            self._listed_at = time.monotonic()
        return self._sources

    def counts_since(self, since: float) -> dict[str, int]:
        """Number of answers by label since a moment, seconds since the epoch; see `edge.store.history.counts_since`.

        Raises:
            LedgerError: no ledger can be read, though there are some.
        """
        counts: dict[str, int] = {}
        for some in self._each(lambda ledger: history.counts_since(ledger, since))[0]:
            for label, count in some.items():
                counts[label] = counts.get(label, 0) + count
        return counts

    def export(self, wanted: Filter) -> Iterator[Item]:
        """All selected answers, the newest first, a page in memory at a time.

        Raises:
            LedgerError: no ledger can be read, though there are some; perhaps after some answers.
            ValueError: the filter is invalid.
        """
        before: Position | None = None
        while True:
            page = self.page(wanted, before=before, limit=EXPORT_ROWS)
            yield from page.items
            before = page.older
            if before is None:
                return

    def _each(self, ask: Callable[[Path], T]) -> tuple[list[T], list[str]]:
        """The results for all ledgers, and one line for each that cannot be read.

        Raises:
            LedgerError: none can be read.
        """
        results, errors = list[T](), list[LedgerError]()
        for ledger in self.ledgers:
            try:
                results.append(ask(ledger))
            except LedgerError as error:
                errors.append(error)
        if errors and not results:
            raise errors[0]
        return results, [str(error) for error in errors]


def as_json(item: Item) -> dict[str, Any]:
    """An answer as the API shows it: the fields of `edge-detect results --json`, with `Item.key` as id."""
    fields = item.recorded.as_json() | {"id": item.key, "source": item.source}
    if item.recorded.event is None:
        fields["sha256"] = item.sha256.hex()
    return fields


def json_text(items: Iterable[Item]) -> Iterator[bytes]:
    """A JSON array of answers, piece by piece."""
    start = b"["
    for item in items:
        yield start + b"\n" + json.dumps(as_json(item)).encode("ascii")
        start = b","
    yield b"\n]\n" if start == b"," else b"[]\n"


def csv_text(items: Iterable[Item]) -> Iterator[bytes]:
    """Comma-separated values with a header row (RFC 4180), piece by piece, UTF-8.

    A text that a spreadsheet would take as a formula begins with an apostrophe.
    """
    buffer = io.StringIO()
    rows = csv.writer(buffer)
    rows.writerow(COLUMNS)
    for item in items:
        rows.writerow(table.cells(item.recorded, as_json(item), COLUMNS))
        if buffer.tell() > 8192:
            yield _taken(buffer)
    yield _taken(buffer)


def _taken(buffer: io.StringIO) -> bytes:
    text = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    return text.encode("utf-8", "backslashreplace")
