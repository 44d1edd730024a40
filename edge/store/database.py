"""The ledger's file while it is open: transactions, named errors, and beginning again."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from edge.errors import LedgerError
from edge.files import inode
from edge.store import schema


class Store:
    """A connection to the ledger of one state folder.

    Attributes:
        path: of the file.
        remarks: what was found to be wrong and has been mended, in words for a person; who tells them, clears them.
        identity: of the file that is written to; another one knows nothing of this one's answers.

    Raises:
        LedgerError: from every method, if the file cannot be used.
    """

    def __init__(self, folder: Path, *, check: str = schema.QUICK) -> None:
        """
        Args:
            check: see `schema.opened`; needless where someone else has just done so.
        """
        self.path = folder / schema.FILE
        self.remarks: list[str] = []
        self._folder = folder
        self._open(check=check)

    def _open(self, *, check: str) -> None:
        self._database = schema.opened(self._folder, say=self.remarks, check=check)
        self.identity = self._identity_on_disk()

    def close(self) -> None:
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def reopen(self, after: LedgerError | None = None) -> None:
        """Begin again on the file that has our name now, after an error or when that is another one."""
        self._database.close()
        was_damaged = after is not None and schema.is_damage(after.__cause__)
        self._open(check=schema.THOROUGH if was_damaged else schema.QUICK if after is None else "")

    @property
    def is_there(self) -> bool:
        """Whether the file that we write is still the one that others find."""
        return self.identity == self._identity_on_disk()

    def _rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with self._named_errors():
            return self._database.execute(query, values).fetchall()

    @contextmanager
    def _quickly(self) -> Iterator[None]:
        with self._named_errors():
            self._database.execute("PRAGMA synchronous = NORMAL")
            try:
                yield
            finally:
                self._database.execute("PRAGMA synchronous = FULL")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
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
        try:
            return inode(self.path)
        except OSError:
            return (0, 0)
