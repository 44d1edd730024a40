"""The open ledger file: connection, transactions, errors, reopening."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from edge.errors import LedgerError
from edge.files import inode
from edge.store import schema
from edge.verdict import Recorded


class Database:
    """A connection to the ledger file of one state folder. Every method raises LedgerError if the file cannot be used.

    Attributes:
        path: of the file.
        identity: (device, inode number) of the open file.
    """

    def __init__(self, folder: Path, *, check: str = schema.QUICK) -> None:
        """
        Args:
            folder: the state folder.
            check: see `schema.open_database`; "" if the file has just been checked.
        """
        self.path = folder / schema.FILE
        self._folder = folder
        self._open(check=check)

    def _open(self, *, check: str) -> None:
        # The answers of the last commit and their folder, if they are all of one and as they were given: they need not
        # be read back for their delivery.
        self._latest: tuple[str, list[Recorded]] | None = None
        self._database = schema.open_database(self._folder, check=check)
        self.identity = self._identity_on_disk()

    def close(self) -> None:
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def reopen(self, after: LedgerError | None = None) -> None:
        """Open the file at the path again, after an error or when it was replaced.

        Args:
            after: the error; it decides how thoroughly the file is checked.
        """
        self._database.close()
        was_damaged = after is not None and schema.is_damage(after.__cause__)
        self._open(check=schema.THOROUGH if was_damaged else schema.QUICK if after is None else "")

    @property
    def is_there(self) -> bool:
        """Whether the open file is still the one at the path."""
        return self.identity == self._identity_on_disk()

    def _rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with self._named_errors():
            return self._database.execute(query, values).fetchall()

    @contextmanager
    def _without_sync(self) -> Iterator[None]:
        """Commit without waiting for the disk: a power cut may undo the writes of the block."""
        with self._named_errors():
            self._database.execute("PRAGMA synchronous = NORMAL")
            try:
                yield
            finally:
                self._database.execute("PRAGMA synchronous = FULL")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Commit all writes of the block, or none if it raises."""
        with self._named_errors():
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        with schema.named_errors(self.path):
            yield

    def _identity_on_disk(self) -> tuple[int, int]:
        """(device, inode number) of the file at the path; (0, 0) if there is none."""
        try:
            return inode(self.path)
        except OSError:
            return (0, 0)
