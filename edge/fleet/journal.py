"""Which files were put into a queue, so that an interrupted submission goes on where it stopped.

It is a shortcut: without it every file is read again, and the queue refuses what it holds or has answered.
"""

import contextlib
import os
import sqlite3
from pathlib import Path

from edge.errors import FleetError, printable, reason_of
from edge.files import FileId

FILE = "fleet.sqlite3"
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS submitted (queue TEXT NOT NULL, path BLOB NOT NULL, stamp TEXT NOT NULL,"
    " PRIMARY KEY (queue, path)) WITHOUT ROWID"
)


class Journal:
    """The files that were submitted, in a small database; several processes may use it."""

    def __init__(self, folder: Path, queue: str) -> None:
        """
        Args:
            folder: the state folder.
            queue: identity of the queue and of the models that must answer.

        Raises:
            FleetError: it cannot be opened.
        """
        self._queue, self._path = queue, folder / FILE
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(self._path, timeout=30.0, isolation_level=None)
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=NORMAL")
            self._database.execute(_SCHEMA)
        except OSError as error:
            raise FleetError(f"{printable(folder)}: {reason_of(error)}") from error
        except sqlite3.Error as error:
            raise FleetError(f"{printable(self._path)}: {error}; without the file, submission begins again") from error

    def has(self, path: str, stamp: FileId) -> bool:
        """Whether a file was submitted, and has not changed since.

        Raises:
            FleetError: the journal cannot be read.
        """
        query = "SELECT stamp FROM submitted WHERE queue = ? AND path = ?"
        try:
            row = self._database.execute(query, (self._queue, os.fsencode(path))).fetchone()
        except sqlite3.Error as error:
            raise FleetError(f"{printable(self._path)}: {error}") from error
        return row is not None and row[0] == str(stamp)

    def add(self, path: str, stamp: FileId) -> None:
        """Note that a file is in the queue, or was answered.

        Raises:
            FleetError: the journal cannot be written.
        """
        try:
            row = (self._queue, os.fsencode(path), str(stamp))
            self._database.execute("INSERT OR REPLACE INTO submitted VALUES (?, ?, ?)", row)
        except sqlite3.Error as error:
            raise FleetError(f"{printable(self._path)}: {error}") from error

    def close(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            self._database.close()

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
