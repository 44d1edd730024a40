"""Running totals of all ledgers' answers: they only grow, survive restarts, and cost nothing for what was counted."""

import json
import logging
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.errors import printable, reason_of
from edge.files import write_own
from edge.store.history import COUNTED, ERROR, ledger_name, reading

_log = logging.getLogger(__name__)

FILE = "totals.json"
FORMAT = 1
IDS_AT_ONCE = 20_000  # ids of one query, so that no reader keeps the write-ahead log from shrinking
SAVE_SECONDS = 300.0
MAX_BYTES = 1_000_000  # of the file
MAX_SOURCES = 200
OTHER = "other"  # in place of the sources beyond the first MAX_SOURCES
# Upper bounds of the histogram, seconds: from a thumbnail on a desktop to a large photo on a small board.
BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_BUCKETS = ", ".join(f"SUM({COUNTED} AND elapsed_ms <= {1000 * bound:g})" for bound in BOUNDS)
_QUERY = (
    f"SELECT folder, label, SUM({COUNTED}), MAX(answered_at), SUM({COUNTED} AND elapsed_ms NOT NULL),"
    f" SUM(CASE WHEN {COUNTED} THEN elapsed_ms END), {_BUCKETS}"
    " FROM answers WHERE id > ? AND id <= ? GROUP BY folder, label"
)
_LAST = "SELECT id, answered_at FROM answers ORDER BY id DESC LIMIT 1"
_AFTER = "SELECT id, answered_at FROM answers WHERE id > ? ORDER BY id LIMIT 1 OFFSET ?"


@dataclass(frozen=True)
class Counted:
    """Totals at one moment.

    Attributes:
        counts: number of answers by (source, label), ERROR for images without a verdict; an event counts once.
        latest: time of the last answer of each source, seconds since the epoch.
        buckets: number of answers that took at most each of BOUNDS.
        timed, seconds: number of answers whose time is known, and the sum of these times.
    """

    counts: dict[tuple[str, str], int]
    latest: dict[str, float]
    buckets: list[int]
    timed: int
    seconds: float


class Totals:
    """What was answered so far, by source and label, with the times that answers took.

    Deleted answers stay counted. Threads may share it.

    Attributes:
        counts, latest, buckets, timed, seconds: see `Counted`; `now` copies them.
    """

    def __init__(self, file: Path | None = None) -> None:
        """
        Args:
            file: where the totals are kept over restarts; None: in memory only.
        """
        self._file, self._lock = file, threading.Lock()
        self._cursors: dict[str, tuple[int, float]] = {}  # by ledger name: last counted id, and when it was answered
        self._saved_at, self._has_changed = time.monotonic(), False
        self.counts: dict[tuple[str, str], int] = {}
        self.latest: dict[str, float] = {}
        self.buckets, self.timed, self.seconds = [0] * len(BOUNDS), 0, 0.0
        if file is not None:
            self._load(file)

    def update(self, ledger: Path, *, at_most: int | None = None) -> bool:
        """Count the answers that a ledger has received since the last call.

        Args:
            at_most: number of queries, each of IDS_AT_ONCE answers; None: as many as it takes.

        Returns:
            Whether all are counted.

        Raises:
            LedgerError: the ledger cannot be read; what was counted of it before stays.
        """
        done = 0
        while self._count_some(ledger):
            done += 1
            if done == at_most:
                return False
        with self._lock:
            if time.monotonic() - self._saved_at >= SAVE_SECONDS:
                self._save()
        return True

    def _count_some(self, ledger: Path) -> bool:
        """Count the next answers; returns False if there are no more."""
        with self._lock:
            name = ledger_name(ledger)
            cursor, answered_at = self._cursors.get(name, (0, 0.0))
            with reading(ledger) as database:
                last, last_at = database.execute(_LAST).fetchone() or (0, 0.0)
                row = database.execute("SELECT answered_at FROM answers WHERE id = ?", (cursor,)).fetchone()
                if last < cursor or (row is not None and row[0] != answered_at):
                    cursor = 0  # another ledger lies at this path now
                if last <= cursor:
                    return False
                if last - cursor > IDS_AT_ONCE:
                    found = database.execute(_AFTER, (cursor, IDS_AT_ONCE - 1)).fetchone()
                    last, last_at = found or (last, last_at)
                rows = database.execute(_QUERY, (cursor, last)).fetchall()
            for row in rows:
                self._add(*row)
            self._cursors[name] = last, last_at
            self._has_changed = True
            return True

    def now(self) -> "Counted":
        """A copy of the totals."""
        with self._lock:
            return Counted(dict(self.counts), dict(self.latest), list(self.buckets), self.timed, self.seconds)

    def close(self) -> None:
        """Write the totals to their file."""
        with self._lock:
            self._save()

    def _add(
        self, folder: bytes | None, label: str | None, count: int, latest: float, timed: int, ms: float | None, *at: int
    ) -> None:
        source = self._source("" if folder is None else printable(folder))
        key = source, ERROR if label is None else label
        self.counts[key] = self.counts.get(key, 0) + count
        self.latest[source] = max(latest, self.latest.get(source, latest))
        self.timed += timed
        self.seconds += (ms or 0.0) / 1000
        self.buckets = [before + (more or 0) for before, more in zip(self.buckets, at, strict=True)]

    def _source(self, name: str) -> str:
        return name if name in self.latest or len(self.latest) < MAX_SOURCES else OTHER

    def _load(self, file: Path) -> None:
        try:
            with open(file, "rb") as opened:
                kept = json.loads(opened.read(MAX_BYTES))
            self._take(kept)
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError) as error:
            reason = reason_of(error) if isinstance(error, OSError) else "damaged"
            _log.warning("%s: %s; the totals are counted again from the ledgers", printable(file), reason)

    def _take(self, kept: Any) -> None:
        """Take over what a file holds, all or nothing.

        Raises:
            ValueError, KeyError, TypeError: it is not what `_save` writes.
        """
        if kept["format"] != FORMAT or kept["bounds"] != list(BOUNDS):
            raise ValueError("another format")
        cursors = {str(name): (int(id_), float(at)) for name, (id_, at) in kept["cursors"].items()}
        counts = {(str(source), str(label)): int(count) for source, label, count in kept["counts"]}
        latest = {str(source): float(at) for source, at in kept["latest"].items()}
        buckets = [int(count) for count in kept["buckets"]]
        timed, seconds = int(kept["timed"]), float(kept["seconds"])
        if len(buckets) != len(BOUNDS):
            raise ValueError("another format")
        self._cursors, self.counts, self.latest, self.buckets = cursors, counts, latest, buckets
        self.timed, self.seconds = timed, seconds

    def _save(self) -> None:
        self._saved_at = time.monotonic()
        if self._file is None or not self._has_changed:
            return
        content = json.dumps(
            {
                "format": FORMAT,
                "bounds": BOUNDS,
                "cursors": self._cursors,
                "counts": [[source, label, count] for (source, label), count in self.counts.items()],
                "latest": self.latest,
                "buckets": self.buckets,
                "timed": self.timed,
                "seconds": self.seconds,
            }
        )
        try:
            write_own(self._file, content.encode("ascii"))
            self._has_changed = False
        except OSError as error:
            _log.warning("%s: cannot keep the totals: %s", printable(self._file), reason_of(error))
