"""The record of all answers, with pending moves and deliveries."""

import os
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from edge.files import FileId
from edge.store.database import Store
from edge.store.rows import ANSWER_COLUMNS, columns_of, recorded
from edge.verdict import BEGAN, FRAME, Answer, CameraEvent, Failure, Recorded

RECENT_NS = 2_000_000_000  # resolution of FAT's file times; no other file system's is coarser
DELIVERED_AT_ONCE = 256
MOVED_AT_ONCE = 64
FORGOTTEN_AT_ONCE = 1000
NOTED_AT_ONCE = 128  # rows of four values; see below
ASKED_AT_ONCE = 256  # older SQLite allows 999 variables in a statement


@dataclass(frozen=True)
class AnsweredAs:
    """An earlier answer to the same content.

    Attributes:
        path: of the file at that time; another one than now if it was renamed.
        sha256: of the content.
        label: of the verdict; None for an error.
    """

    path: str
    sha256: bytes
    label: str | None


@dataclass(frozen=True)
class Entry:
    """A file and its answer.

    Attributes:
        path: absolute.
        stamp: the file's identity and state when it was read.
        seen_ns: when the stamp was taken, nanoseconds since the epoch.
        sha256: of the content.
        answer: a new answer, or an earlier one to the same content.
        model_sha256: of the model that answered.
        target: absolute path to move the file to; None: it stays.
    """

    path: str
    stamp: FileId
    seen_ns: int
    sha256: bytes
    answer: Answer | AnsweredAs
    model_sha256: str
    target: str | None = None


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


class Ledger(Store):
    """The record of one state folder; several processes may share it."""

    def known(
        self, files: Sequence[tuple[str, FileId]], models: Collection[str] | None = None
    ) -> list[AnsweredAs | None]:
        """For each file the earlier answer, if the file is certainly unchanged, so that it need not be read; else None.

        A file that was written to just before it was seen may have been written to again within the resolution of the
        file system's times: it does not count as unchanged.

        Args:
            files: (absolute path, identity) of each, at most ASKED_AT_ONCE.
            models: SHA-256 digests of the models in use. Verdicts of other models are ignored then, and so are verdicts
                on images outside of a model's domain, which may go to another model now. None: every answer counts.
        """
        rows = self._rows(
            "SELECT path, stamp, seen_ns, sha256, label, model_sha256, outside"
            f" FROM files JOIN answers USING (path, sha256) WHERE path IN ({_marks(files)})",
            *(os.fsencode(path) for path, _ in files),
        )
        found = {
            (path, stamp): (seen_ns, sha256, label)
            for path, stamp, seen_ns, sha256, label, model, outside in rows
            if models is None or label is None or (model in models and outside is None)
        }
        return [self._known(path, stamp, found.get((os.fsencode(path), str(stamp)))) for path, stamp in files]

    @staticmethod
    def _known(path: str, stamp: FileId, row: tuple[Any, ...] | None) -> AnsweredAs | None:
        if row is None or abs(row[0] - stamp.mtime_ns) <= RECENT_NS:  # also times in the future, by a wrong clock
            return None
        return AnsweredAs(path, *row[1:])

    def answered_as(
        self,
        files: Sequence[tuple[str, FileId, bytes]],
        root: str,
        models: Sequence[str | None] | None = None,
    ) -> list[AnsweredAs | None]:
        """For each content the earlier answer; None if there is none.

        It is the answer at the path itself, or at another path below `root`: the file's path before it was renamed, or
        its new path, if nothing is at its own any more.

        Args:
            files: (absolute path, identity, SHA-256 of the content) of each, at most ASKED_AT_ONCE.
            root: the watched folder.
            models: for each file the SHA-256 digest of its model; verdicts of other models are ignored then. None, for
                one file or for all: every answer counts.
        """
        answers = {
            (path, sha256): (label, model)
            for path, sha256, label, model in self._rows(
                f"SELECT path, sha256, label, model_sha256 FROM answers WHERE path IN ({_marks(files)})",
                *(os.fsencode(path) for path, _, _ in files),
            )
        }
        names: dict[tuple[str, bytes], list[bytes]] = {}
        stamps = [str(stamp) for _, stamp, _ in files]
        for stamp, sha256, path in self._rows(
            f"SELECT stamp, sha256, path FROM files WHERE stamp IN ({_marks(stamps)})", *stamps
        ):
            names.setdefault((stamp, sha256), []).append(path)
        found: list[AnsweredAs | None] = []
        for (path, stamp, sha256), model in zip(files, models or [None] * len(files), strict=True):
            name = os.fsencode(path)
            if (name, sha256) in answers:
                label, answered_by = answers[name, sha256]
                answer: AnsweredAs | None = AnsweredAs(path, sha256, label)
            else:
                answer, answered_by = self._renamed(path, names.get((str(stamp), sha256), []), sha256, root)
            counts = answer and (model is None or answer.label is None or answered_by == model)
            found.append(answer if counts else None)
        return found

    def _renamed(
        self, path: str, names: Sequence[bytes], sha256: bytes, root: str
    ) -> tuple[AnsweredAs, str] | tuple[None, None]:
        """The answer at one of several paths of the same file below the root, if that path or `path` is free now.

        Returns:
            The answer, and the SHA-256 digest of its model; or (None, None).
        """
        within = os.fsencode(root).rstrip(b"/") + b"/"
        for name in names:
            if name.startswith(within) and not (os.path.lexists(name) and os.path.lexists(path)):
                rows = self._rows("SELECT label, model_sha256 FROM answers WHERE path = ? AND sha256 = ?", name, sha256)
                if rows:
                    return AnsweredAs(os.fsdecode(name), sha256, rows[0][0]), rows[0][1]
        return None, None

    def record(self, entries: Sequence[Entry], folder: str, *, reclassify: bool = False) -> list[Entry]:
        """Commit entries and their moves, all or none.

        Args:
            folder: the watched folder, absolute.
            reclassify: replace answers of other models. The new answer gets a new id, so that every sink receives it;
                the old one is deleted with its pending moves and deliveries.

        Returns:
            The entries whose answer was not in the ledger yet.
        """
        with self._transaction():
            new = [entry for entry in entries if self._insert(entry, folder, reclassify=reclassify)]
            for start in range(0, len(entries), NOTED_AT_ONCE):
                self._note(entries[start : start + NOTED_AT_ONCE])
            return new

    def record_event(self, answer: Answer, event: CameraEvent, model_sha256: str, token: bytes) -> None:
        """Commit a camera's event or frame.

        Args:
            answer: its path is the camera's name.
            event: the event or frame.
            model_sha256: of the model that answered.
            token: 32 random bytes for each event or frame. A second call with the same token records nothing, so an
                attempt can be repeated of which it is unknown whether it succeeded.
        """
        camera = os.fsencode(answer.path)
        with self._transaction():
            self._insert_answer(camera, token, answer, model_sha256, camera, event)

    def forget_frames(self, camera: str, older_than_seconds: float, limit: int = FORGOTTEN_AT_ONCE) -> int:
        """Delete some of a camera's oldest frames that every sink has received, and return how many."""
        with self._without_sync(), self._transaction():
            return self._database.execute(
                "DELETE FROM answers WHERE id IN (SELECT id FROM (SELECT id, answered_at FROM answers"
                f" WHERE folder = ?1 AND state = '{FRAME}' ORDER BY id LIMIT ?2) WHERE answered_at < ?3)"
                # The last answer stays too: SQLite would assign its id again, which the sinks know already.
                " AND id <= IFNULL((SELECT MIN(answer_id) FROM deliveries WHERE folder = ?1), id)"
                " AND id < (SELECT MAX(id) FROM answers) AND id NOT IN (SELECT answer_id FROM given_up)",
                (os.fsencode(camera), limit, time.time() - older_than_seconds),
            ).rowcount

    def unfinished(self, camera: str) -> Recorded | None:
        """The recorded beginning of a camera's last event, if that has no recorded end; else None."""
        rows = self._rows(
            # The condition of the index on events, which leaves out frames.
            f"SELECT {ANSWER_COLUMNS} FROM answers WHERE folder = ? AND state != '{FRAME}' ORDER BY id DESC LIMIT 1",
            os.fsencode(camera),
        )
        last = recorded(rows[0]) if rows else None
        return last if last and last.event and last.event.state == BEGAN else None

    def subscribe(self, folder: str, sink: str) -> None:
        """Deliver every answer in a folder to a sink; to a new sink, those from now on."""
        with self._transaction():
            self._database.execute(
                "INSERT OR IGNORE INTO deliveries SELECT ?, ?, IFNULL(MAX(id), 0) FROM answers",
                (os.fsencode(folder), sink),
            )

    def keep_subscribed(self, folder: str, sinks: Iterable[str]) -> None:
        """Delete the subscriptions of all other sinks of a folder."""
        with self._transaction():
            name, kept = os.fsencode(folder), set(sinks)
            for table in ("deliveries", "given_up"):
                rows = self._database.execute(f"SELECT DISTINCT sink FROM {table} WHERE folder = ?", (name,))
                for sink in {sink for (sink,) in rows.fetchall()} - kept:
                    self._database.execute(f"DELETE FROM {table} WHERE folder = ? AND sink = ?", (name, sink))

    def given_up(self, folder: str, sink: str, after: int = 0) -> list[Recorded]:
        """Answers whose delivery to a sink was given up, the oldest first, at most DELIVERED_AT_ONCE.

        Args:
            after: an id; only later answers are returned.
        """
        rows = self._rows(
            f"SELECT {ANSWER_COLUMNS} FROM answers WHERE id > ? AND id IN "
            "(SELECT answer_id FROM given_up WHERE folder = ? AND sink = ?) ORDER BY id LIMIT ?",
            after,
            os.fsencode(folder),
            sink,
            DELIVERED_AT_ONCE,
        )
        return [recorded(row) for row in rows]

    def give_up(self, folder: str, sink: str, answer_id: int, *, for_now: bool) -> None:
        """Record that a delivery to a sink was given up (`for_now`), or that it succeeded later."""
        with self._without_sync(), self._named_errors():
            if for_now:
                statement = "INSERT OR IGNORE INTO given_up (folder, sink, answer_id) VALUES (?, ?, ?)"
            else:
                statement = "DELETE FROM given_up WHERE folder = ? AND sink = ? AND answer_id = ?"
            self._database.execute(statement, (os.fsencode(folder), sink, answer_id))

    def undelivered(self, folder: str, sink: str, limit: int = DELIVERED_AT_ONCE) -> list[Recorded]:
        """The answers in a folder that a sink has not received, the oldest first.

        A sink without subscription gets all: it subscribed to the ledger that this one replaced.
        """
        rows = self._rows(
            f"SELECT {ANSWER_COLUMNS} FROM answers WHERE folder = ?1 AND id > IFNULL("
            "(SELECT answer_id FROM deliveries WHERE folder = ?1 AND sink = ?2), 0) ORDER BY id LIMIT ?3",
            os.fsencode(folder),
            sink,
            limit,
        )
        return [recorded(row) for row in rows]

    def mark_delivered(self, folder: str, sink: str, last: int) -> None:
        """Record that a sink has received all answers up to an id.

        It does not wait for the disk: after a power cut, the last answers may be delivered a second time.
        """
        with self._without_sync(), self._named_errors():
            self._database.execute(
                "INSERT OR REPLACE INTO deliveries (answer_id, folder, sink) VALUES (?, ?, ?)",
                (last, os.fsencode(folder), sink),
            )

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

        It does not wait for the disk: after a power cut, a move that is done already is found to be so.

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

    def _insert(self, entry: Entry, folder: str, *, reclassify: bool) -> bool:
        """Insert an entry's answer and move; returns whether the answer is new."""
        name, answer = os.fsencode(entry.path), entry.answer
        is_new = False
        if isinstance(answer, AnsweredAs):
            if answer.path != entry.path:
                before = os.fsencode(answer.path)
                self._database.execute(
                    "UPDATE OR IGNORE answers SET path = ? WHERE path = ? AND sha256 = ?", (name, before, entry.sha256)
                )
                self._database.execute("DELETE FROM files WHERE path = ?", (before,))
        else:
            id_ = self._make_way(entry, folder) if reclassify else None
            is_new = self._insert_answer(name, entry.sha256, answer, entry.model_sha256, os.fsencode(folder), id_=id_)
        if entry.target is not None:
            self._database.execute(
                "INSERT OR REPLACE INTO moves (source, target, stamp, answer_id)"
                # Not if the recorded answer differs, which the same model gave at other thresholds.
                " SELECT path, ?, ?, id FROM answers WHERE path = ? AND sha256 = ? AND label IS ?",
                (os.fsencode(entry.target), str(entry.stamp), name, entry.sha256, _label(answer)),
            )
        return is_new

    def _make_way(self, entry: Entry, folder: str) -> int | None:
        """Delete another model's answer to the same file, with its pending moves and deliveries.

        Returns:
            The id for the new answer, greater than all ids so far, the deleted one included, which sinks know already.
            None if there was no such answer.
        """
        former = self._former(os.fsencode(entry.path), entry.sha256)
        if former is None:  # the file may have been renamed since
            same = "SELECT path FROM files WHERE stamp = ? AND sha256 = ?"
            names = [path for (path,) in self._rows(same, str(entry.stamp), entry.sha256)]
            renamed, _ = self._renamed(entry.path, names, entry.sha256, folder)
            former = self._former(os.fsencode(renamed.path), entry.sha256) if renamed else None
        if former is None:
            return None
        id_, path, label, model = former
        if model == entry.model_sha256 or (label is None and isinstance(entry.answer, Failure)):
            return None  # the recorded answer stays
        ((last,),) = self._rows("SELECT MAX(id) FROM answers")
        self._database.execute("DELETE FROM answers WHERE id = ?", (id_,))
        self._database.execute("DELETE FROM moves WHERE source = ? AND answer_id = ?", (path, id_))
        self._database.execute("DELETE FROM given_up WHERE answer_id = ?", (id_,))
        if path != os.fsencode(entry.path):
            self._database.execute("DELETE FROM files WHERE path = ?", (path,))
        return int(last) + 1

    def _former(self, path: bytes, sha256: bytes) -> tuple[Any, ...] | None:
        query = "SELECT id, path, label, model_sha256 FROM answers WHERE path = ? AND sha256 = ?"
        return next(iter(self._rows(query, path, sha256)), None)

    def _note(self, entries: Sequence[Entry]) -> None:
        """Record the present identities of answered files."""
        values: list[object] = []
        for entry in entries:
            values += (os.fsencode(entry.path), str(entry.stamp), entry.seen_ns, entry.sha256)
        rows = ", ".join(["(?, ?, ?, ?)"] * len(entries))
        self._database.execute(f"INSERT OR REPLACE INTO files (path, stamp, seen_ns, sha256) VALUES {rows}", values)

    def _insert_answer(
        self,
        name: bytes,
        sha256: bytes,
        answer: Answer,
        model_sha256: str,
        folder: bytes,
        event: CameraEvent | None = None,
        id_: int | None = None,
    ) -> bool:
        """Insert an answer unless the same path and content have one; returns whether it was inserted."""
        columns = {
            "id": id_,  # NULL: SQLite assigns the next one
            "path": name,
            "sha256": sha256,
            "model_sha256": model_sha256,
            "answered_at": time.time(),
            "folder": folder,
            **columns_of(answer, event),
        }
        marks = ", ".join("?" * len(columns))
        inserted = self._database.execute(
            f"INSERT OR IGNORE INTO answers ({', '.join(columns)}) VALUES ({marks})", tuple(columns.values())
        )
        return inserted.rowcount == 1


def _label(answer: Answer | AnsweredAs) -> str | None:
    return None if isinstance(answer, Failure) else answer.label


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))
