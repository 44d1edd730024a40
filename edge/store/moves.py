"""Pending moves of answered files."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from edge.files import FileId
from edge.store.database import Database

MOVED_AT_ONCE = 64  # moves of one batch


@dataclass(frozen=True)
class Move:
    """A pending move of a file.

    Attributes:
        source, target: absolute paths.
        stamp: the file's `FileId` when it was answered; if it has changed since, it is not moved.
        sha256: of its content.
    """

    source: str
    target: str
    stamp: str
    sha256: bytes


class MoveTable(Database):
    """The table of pending moves; `Ledger.record` adds them with their answers."""

    def moves(self, root: str, after: str = "", limit: int = MOVED_AT_ONCE) -> list[Move]:
        """Pending moves out of a folder, in the order of their sources.

        Args:
            root: the folder, absolute.
            after: a source; only moves behind it are returned.
        """
        below = os.fsencode(root).rstrip(b"/") + b"/"
        rows = self._rows(
            "SELECT source, target, stamp, sha256 FROM moves JOIN answers ON answers.id = answer_id"
            " WHERE source > ? AND substr(source, 1, ?) = ? ORDER BY source LIMIT ?",
            os.fsencode(after),
            len(below),
            below,
            limit,
        )
        return [Move(os.fsdecode(source), os.fsdecode(target), stamp, sha256) for source, target, stamp, sha256 in rows]

    def is_to_be_moved(self, path: str, stamp: FileId) -> bool:
        """Whether a move of exactly this file is pending."""
        return bool(self._rows("SELECT 1 FROM moves WHERE source = ? AND stamp = ?", os.fsencode(path), str(stamp)))

    def moved(self, done: Sequence[tuple[Move, str | None]]) -> None:
        """Remove pending moves.

        It does not wait for the disk: after a power cut, the next attempt finds that the file has been moved.

        Args:
            done: each move with the file's new path; None if the move was cancelled.
        """
        with self._without_sync(), self._transaction():
            for move, place in done:
                source = os.fsencode(move.source)
                if place is not None:
                    self._database.execute(
                        "UPDATE answers SET moved_to = ? WHERE id = (SELECT answer_id FROM moves WHERE source = ?)",
                        (os.fsencode(place), source),
                    )
                    self._database.execute("DELETE FROM files WHERE path = ?", (source,))
                self._database.execute("DELETE FROM moves WHERE source = ?", (source,))
