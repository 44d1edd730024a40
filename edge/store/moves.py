"""Pending moves of answered files, and the files that were moved although they have no verdict."""

import os
import time
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


@dataclass(frozen=True)
class SetAside:
    """A file without a verdict, at the place that it was moved to.

    Attributes:
        path: absolute.
        stamp: its `FileId` when it was answered; after a move to another disk, only size and time are right.
        ctime_ns: see `FileId`; None before the file was seen at this place.
        sha256: of its content.
    """

    path: str
    stamp: str
    ctime_ns: int | None
    sha256: bytes

    def is_unchanged(self, stamp: FileId) -> bool:
        """Whether a file still looks as it did when it was answered, so that it need not be read."""
        is_alike = str(stamp).split(":")[2:] == self.stamp.split(":")[2:]
        return is_alike and self.ctime_ns in (None, stamp.ctime_ns)


class MoveTable(Database):
    """The table of pending moves; `Ledger.record` adds them with their answers. Files without a verdict stay known."""

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
                    self._database.execute(  # of a file without a verdict
                        "INSERT OR REPLACE INTO files (path, stamp, seen_ns, sha256) SELECT ?, stamp, ?, sha256"
                        " FROM moves JOIN answers ON answers.id = answer_id WHERE source = ? AND label IS NULL",
                        (os.fsencode(place), time.time_ns(), source),
                    )
                self._database.execute("DELETE FROM moves WHERE source = ?", (source,))

    def set_aside(self, folder: str, after: str = "", limit: int = MOVED_AT_ONCE) -> list[SetAside]:
        """Files without a verdict that were moved to a place below a folder, in the order of their paths.

        Args:
            folder: absolute.
            after: a path; only files behind it are returned.
        """
        below = os.fsencode(folder).rstrip(b"/")
        rows = self._rows(
            "SELECT path, stamp, ctime_ns, sha256 FROM files WHERE path > ? AND path < ? AND NOT EXISTS"
            " (SELECT 1 FROM answers WHERE answers.path = files.path AND answers.sha256 = files.sha256)"
            " ORDER BY path LIMIT ?",
            max(below + b"/", os.fsencode(after)),
            below + b"0",  # the character behind the slash
            limit,
        )
        return [SetAside(os.fsdecode(path), stamp, ctime_ns, sha256) for path, stamp, ctime_ns, sha256 in rows]

    def note_set_aside(self, path: str, stamp: FileId, sha256: bytes) -> None:
        """Record how such a file looks now, with unchanged content; see `moved` for power cuts."""
        with self._without_sync(), self._named_errors():
            self._database.execute(
                "UPDATE files SET stamp = ?, ctime_ns = ? WHERE path = ? AND sha256 = ?",
                (str(stamp), stamp.ctime_ns, os.fsencode(path), sha256),
            )

    def forget_set_aside(self, path: str) -> None:
        """Record that such a file is gone; see `moved` for power cuts."""
        with self._without_sync(), self._named_errors():
            self._database.execute("DELETE FROM files WHERE path = ?", (os.fsencode(path),))
