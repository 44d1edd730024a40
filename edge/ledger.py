"""What has been answered: an SQLite file that outlives the process."""

import os
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.errors import LedgerError, printable
from edge.stamp import Stamp
from edge.verdict import Answer, Verdict

FILE = "ledger.sqlite3"
BUSY_SECONDS = 30.0
RECENT_NS = 2_000_000_000  # FAT's clock ticks every two seconds, no other more slowly

# What brings a ledger of each version, from 0 (an empty file), to the next. Only ever added to.
_MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """
    CREATE TABLE answers (
        id INTEGER PRIMARY KEY,
        path BLOB NOT NULL,          -- absolute, and bytes, for that is what a name is on Linux
        sha256 BLOB NOT NULL,        -- of the content that was answered
        label TEXT,                  -- NULL if there is no verdict but an error
        score REAL,                  -- P(REAL)
        error TEXT,
        model_sha256 TEXT NOT NULL,
        answered_at REAL NOT NULL,   -- seconds since the epoch
        UNIQUE (path, sha256)
    )
    """,
        """
    CREATE TABLE files (             -- how each file looked when it was last met
        path BLOB PRIMARY KEY,
        stamp TEXT NOT NULL,         -- edge.stamp.Stamp
        seen_ns INTEGER NOT NULL,    -- when that was, nanoseconds since the epoch
        sha256 BLOB NOT NULL
    ) WITHOUT ROWID
    """,
        "CREATE INDEX files_by_stamp ON files (stamp)",
    ),
    (
        # Why the image is none of those that the model was measured on; NULL if it may be one.
        "ALTER TABLE answers ADD COLUMN outside TEXT",
    ),
)
SCHEMA_VERSION = len(_MIGRATIONS)


@dataclass(frozen=True)
class AnsweredAs:
    """That a content was answered before, under this path: another one if the file was renamed since."""

    path: str


@dataclass(frozen=True)
class Entry:
    """A file that was met, as it was then.

    Attributes:
        path: absolute.
        seen_ns: when the stamp was taken, nanoseconds since the epoch.
        sha256: of its content.
    """

    path: str
    stamp: Stamp
    seen_ns: int
    sha256: bytes
    answer: Answer | AnsweredAs


class Ledger:
    """The record of one state folder; several processes may share it.

    Raises:
        LedgerError: from every method, if the file cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LedgerError(f"{printable(folder)}: cannot make the state folder: {error.strerror}") from error
        with self._named_errors():
            self._database = sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None)
            try:
                self._use_write_ahead_log()
                self._database.execute("PRAGMA synchronous = FULL")  # a verdict told is a verdict on the disk
                self._create()
            except BaseException:
                self._database.close()
                raise

    def close(self) -> None:
        self._database.close()

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def is_unchanged(self, path: str, stamp: Stamp) -> bool:
        """Whether the file was answered and has certainly not been written to since: it need not even be opened.

        A file that had been written to just before it was seen might have been
        written to again within the same tick of the file system's clock.
        """
        seen = self._rows("SELECT seen_ns FROM files WHERE path = ? AND stamp = ?", os.fsencode(path), str(stamp))
        return bool(seen) and seen[0][0] - stamp.mtime_ns > RECENT_NS

    def answered_as(self, path: str, stamp: Stamp, sha256: bytes, root: str) -> AnsweredAs | None:
        """Under which path this content was answered, or None if it was not.

        That is `path` itself, or the path below `root` that the file had before it was renamed.
        """
        name = os.fsencode(path)
        if self._rows("SELECT 1 FROM answers WHERE path = ? AND sha256 = ?", name, sha256):
            return AnsweredAs(path)
        # A renamed file: the same identity and content, and nothing at the old path any more.
        within = os.fsencode(root).rstrip(b"/") + b"/"
        for (before,) in self._rows("SELECT path FROM files WHERE stamp = ? AND sha256 = ?", str(stamp), sha256):
            if before.startswith(within) and not os.path.lexists(before):
                return AnsweredAs(os.fsdecode(before))
        return None

    def record(self, entries: Iterable[Entry], model_sha256: str) -> list[Entry]:
        """Commit entries, all or none, and return those whose answer nobody had recorded before."""
        new = []
        with self._named_errors():
            self._database.execute("BEGIN IMMEDIATE")
            try:
                for entry in entries:
                    if self._insert(entry, model_sha256):
                        new.append(entry)
                    self._remember(entry)
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise
        return new

    def _create(self) -> None:
        self._database.execute("BEGIN IMMEDIATE")
        (version,) = self._database.execute("PRAGMA user_version").fetchone()
        for statement in (statement for migration in _MIGRATIONS[version:] for statement in migration):
            self._database.execute(statement)
        if version < SCHEMA_VERSION:
            self._database.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        self._database.execute("COMMIT")
        if version > SCHEMA_VERSION:
            raise LedgerError(f"{printable(self.path)}: written by a later edge-detect (schema {version})")

    def _insert(self, entry: Entry, model_sha256: str) -> bool:
        name, answer = os.fsencode(entry.path), entry.answer
        if isinstance(answer, AnsweredAs):
            if answer.path != entry.path:
                before = os.fsencode(answer.path)
                self._database.execute(
                    "UPDATE OR IGNORE answers SET path = ? WHERE path = ? AND sha256 = ?", (name, before, entry.sha256)
                )
                self._database.execute("DELETE FROM files WHERE path = ?", (before,))
            return False
        columns: tuple[object, ...]
        if isinstance(answer, Verdict):
            columns = (answer.label, answer.score, answer.outside, None)
        else:
            columns = (None, None, None, answer.reason)
        inserted = self._database.execute(
            "INSERT OR IGNORE INTO answers (path, sha256, label, score, outside, error, model_sha256, answered_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (name, entry.sha256, *columns, model_sha256, time.time()),
        )
        return inserted.rowcount == 1

    def _remember(self, entry: Entry) -> None:
        self._database.execute(
            "INSERT OR REPLACE INTO files (path, stamp, seen_ns, sha256) VALUES (?, ?, ?, ?)",
            (os.fsencode(entry.path), str(entry.stamp), entry.seen_ns, entry.sha256),
        )

    def _rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with self._named_errors():
            return self._database.execute(query, values).fetchall()

    def _use_write_ahead_log(self) -> None:
        """Readers and the writer do not wait for each other then; the switch itself waits for nobody, so we do."""
        deadline = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                self._database.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                is_busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY  # the low byte, of an extended code
                if not is_busy or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        """Turns SQLite's errors into ours, with the file's name."""
        try:
            yield
        except sqlite3.Error as error:
            raise LedgerError(f"{printable(self.path)}: {error}") from error
