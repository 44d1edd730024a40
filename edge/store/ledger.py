"""What has been answered: an SQLite file that outlives the process."""

import os
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from edge.files import FileId
from edge.store.database import Store
from edge.store.rows import ANSWER_COLUMNS, columns_of, recorded
from edge.verdict import BEGAN, FRAME, Answer, CameraEvent, Failure, Recorded

RECENT_NS = 2_000_000_000  # FAT's clock ticks every two seconds, no other more slowly
TOLD_AT_ONCE = 256
MOVED_AT_ONCE = 64
FORGOTTEN_AT_ONCE = 1000
NOTED_AT_ONCE = 128  # of four each
ASKED_AT_ONCE = 256  # SQLite takes 999 variables, where it is old


@dataclass(frozen=True)
class AnsweredAs:
    """That a content was answered before.

    Attributes:
        path: under which: another one if the file was renamed since.
        sha256: of the content.
        label: of the verdict; None if there was none but an error.
    """

    path: str
    sha256: bytes
    label: str | None


@dataclass(frozen=True)
class Entry:
    """A file that was met, as it was then.

    Attributes:
        path: absolute.
        seen_ns: when the stamp was taken, nanoseconds since the epoch.
        sha256: of its content.
        model_sha256: of the model that was at work.
        target: where it is to be moved to, absolute; None to leave it where it is.
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
    """A file that is to be moved: because of an answer, and only while it looks as it did then."""

    source: str
    target: str
    stamp: str
    sha256: bytes


class Ledger(Store):
    """The record of one state folder; several processes may share it."""

    def known(
        self, files: Sequence[tuple[str, FileId]], models: Collection[str] | None = None
    ) -> list[AnsweredAs | None]:
        """For each file its answer, if it has certainly not been written to since: it need not even be opened.

        A file that had been written to just before it was seen might have been
        written to again within the same tick of the file system's clock.

        Args:
            files: (path, how it looks), at most ASKED_AT_ONCE.
            models: SHA-256 digests of the models at work. Verdicts that another model gave are passed over then, and
                so are those on images outside of a model's domain, for they may go to another model now. None: any
                answer will do.
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
        if row is None or abs(row[0] - stamp.mtime_ns) <= RECENT_NS:  # of the future, if a clock is wrong
            return None
        return AnsweredAs(path, *row[1:])

    def answered_as(
        self,
        files: Sequence[tuple[str, FileId, bytes]],
        root: str,
        models: Sequence[str | None] | None = None,
    ) -> list[AnsweredAs | None]:
        """For each content its answer, or None if it has none.

        It is that of the path itself, or of another path below `root`: one that the file had before it was renamed, or
        one that it has now, if nothing is at its own any more.

        Args:
            files: (path, how it looks, SHA-256 of its content), at most ASKED_AT_ONCE.
            models: for each file the SHA-256 digest of the model that it goes to; a verdict of another model is passed
                over then. None, for one file or for all: any answer will do.
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
            is_good = answer and (model is None or answer.label is None or answered_by == model)
            found.append(answer if is_good else None)
        return found

    def _renamed(
        self, path: str, names: Sequence[bytes], sha256: bytes, root: str
    ) -> tuple[AnsweredAs, str] | tuple[None, None]:
        """The answer of one of these names of the same file below the root, if nothing is at it or at the path.

        Returns:
            It, and the digest of the model that gave it.
        """
        within = os.fsencode(root).rstrip(b"/") + b"/"
        for name in names:
            if name.startswith(within) and not (os.path.lexists(name) and os.path.lexists(path)):
                rows = self._rows("SELECT label, model_sha256 FROM answers WHERE path = ? AND sha256 = ?", name, sha256)
                if rows:
                    return AnsweredAs(os.fsdecode(name), sha256, rows[0][0]), rows[0][1]
        return None, None

    def record(self, entries: Sequence[Entry], folder: str, *, reclassify: bool = False) -> list[Entry]:
        """Commit entries with the moves that they ask for, all or none.

        Args:
            folder: the one that is watched, absolute.
            reclassify: let an answer take the place of one that another model gave. It gets an id of its own, so that
                every listener hears of it; the former one is forgotten, with what was still to follow from it.

        Returns:
            Those whose answer nobody had recorded before.
        """
        with self._transaction():
            new = [entry for entry in entries if self._insert(entry, folder, reclassify=reclassify)]
            for start in range(0, len(entries), NOTED_AT_ONCE):
                self._note(entries[start : start + NOTED_AT_ONCE])
            return new

    def record_sighting(self, answer: Answer, sighting: CameraEvent, model_sha256: str, token: bytes) -> None:
        """Commit what a camera saw; the path of the answer is the camera's name.

        Args:
            token: random, another one for each sighting, in the place of a content's SHA-256; with the same one again
                nothing is recorded, so that an attempt may be repeated that seemed to fail.
        """
        camera = os.fsencode(answer.path)
        with self._transaction():
            self._insert_answer(camera, token, answer, model_sha256, camera, sighting)

    def forget_frames(self, camera: str, older_than_seconds: float, limit: int = FORGOTTEN_AT_ONCE) -> int:
        """Forget some of the oldest frames of a camera, and return how many; what a listener waits for stays."""
        with self._quickly(), self._transaction():
            return self._database.execute(
                "DELETE FROM answers WHERE id IN (SELECT id FROM (SELECT id, answered_at FROM answers"
                f" WHERE folder = ?1 AND state = '{FRAME}' ORDER BY id LIMIT ?2) WHERE answered_at < ?3)"
                # The last of all stays too, for its id must not be given away again, which the listeners know.
                " AND id <= IFNULL((SELECT MIN(answer_id) FROM deliveries WHERE folder = ?1), id)"
                " AND id < (SELECT MAX(id) FROM answers) AND id NOT IN (SELECT answer_id FROM given_up)",
                (os.fsencode(camera), limit, time.time() - older_than_seconds),
            ).rowcount

    def unfinished(self, camera: str) -> Recorded | None:
        """The beginning of an event of this camera whose end is not in the record."""
        rows = self._rows(
            # As the index has it, which frames are not in.
            f"SELECT {ANSWER_COLUMNS} FROM answers WHERE folder = ? AND state != '{FRAME}' ORDER BY id DESC LIMIT 1",
            os.fsencode(camera),
        )
        last = recorded(rows[0]) if rows else None
        return last if last and last.sighting and last.sighting.state == BEGAN else None

    def subscribe(self, folder: str, sink: str) -> None:
        """Let a sink be told of every answer in a folder, from now on if it is new."""
        with self._transaction():
            self._database.execute(
                "INSERT OR IGNORE INTO deliveries SELECT ?, ?, IFNULL(MAX(id), 0) FROM answers",
                (os.fsencode(folder), sink),
            )

    def keep_subscribed(self, folder: str, sinks: Iterable[str]) -> None:
        """Forget the other sinks of a folder: one that is taken up again later is a new one."""
        with self._transaction():
            name, kept = os.fsencode(folder), set(sinks)
            for table in ("deliveries", "given_up"):
                rows = self._database.execute(f"SELECT DISTINCT sink FROM {table} WHERE folder = ?", (name,))
                for sink in {sink for (sink,) in rows.fetchall()} - kept:
                    self._database.execute(f"DELETE FROM {table} WHERE folder = ? AND sink = ?", (name, sink))

    def given_up(self, folder: str, sink: str, after: int = 0) -> list[Recorded]:
        """Answers that a sink could not be told of, the oldest first.

        Args:
            after: an id; only later ones.
        """
        rows = self._rows(
            f"SELECT {ANSWER_COLUMNS} FROM answers WHERE id > ? AND id IN "
            "(SELECT answer_id FROM given_up WHERE folder = ? AND sink = ?) ORDER BY id LIMIT ?",
            after,
            os.fsencode(folder),
            sink,
            TOLD_AT_ONCE,
        )
        return [recorded(row) for row in rows]

    def give_up(self, folder: str, sink: str, answer_id: int, *, for_now: bool) -> None:
        """Note that a sink could not be told of an answer; or, if not `for_now`, that it could at last."""
        with self._quickly(), self._named_errors():
            if for_now:
                statement = "INSERT OR IGNORE INTO given_up (folder, sink, answer_id) VALUES (?, ?, ?)"
            else:
                statement = "DELETE FROM given_up WHERE folder = ? AND sink = ? AND answer_id = ?"
            self._database.execute(statement, (os.fsencode(folder), sink, answer_id))

    def untold(self, folder: str, sink: str, limit: int = TOLD_AT_ONCE) -> list[Recorded]:
        """The answers that a sink has not been told of, the oldest first.

        One that never subscribed here has done so at another ledger, in whose place this one came: it hears all.
        """
        rows = self._rows(
            f"SELECT {ANSWER_COLUMNS} FROM answers WHERE folder = ?1 AND id > IFNULL("
            "(SELECT answer_id FROM deliveries WHERE folder = ?1 AND sink = ?2), 0) ORDER BY id LIMIT ?3",
            os.fsencode(folder),
            sink,
            limit,
        )
        return [recorded(row) for row in rows]

    def told(self, folder: str, sink: str, last: int) -> None:
        """Note that a sink knows all answers up to this one.

        Without waiting for the disk: it costs little then, and survives the
        process; after a power cut the last lines may be told a second time.
        """
        with self._quickly(), self._named_errors():
            self._database.execute(
                "INSERT OR REPLACE INTO deliveries (answer_id, folder, sink) VALUES (?, ?, ?)",
                (last, os.fsencode(folder), sink),
            )

    def moves(self, root: str, after: str = "", limit: int = MOVED_AT_ONCE) -> list[Move]:
        """Moves out of a folder that are not known to be done, in the order of their sources.

        Args:
            after: a source; only those behind it.
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
        """Whether a move of this very file is in the record already."""
        return bool(self._rows("SELECT 1 FROM moves WHERE source = ? AND stamp = ?", os.fsencode(path), str(stamp)))

    def moved(self, done: Sequence[tuple[Move, str | None]]) -> None:
        """Note moves that are done, with where the file is now; None for one that is not to be done any more.

        Without waiting for the disk, like `told`: a move that is found to be done already does no harm.
        """
        with self._quickly(), self._transaction():
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
                # Where another answer stands, of the same model at other thresholds, a file is not moved against it.
                " SELECT path, ?, ?, id FROM answers WHERE path = ? AND sha256 = ? AND label IS ?",
                (os.fsencode(entry.target), str(entry.stamp), name, entry.sha256, _label(answer)),
            )
        return is_new

    def _make_way(self, entry: Entry, folder: str) -> int | None:
        """Forget the answer that another model gave to the same file, and what was still to follow from it.

        Returns:
            If there was such an answer, the id for the one in its place: greater than that of any answer so far, the
            forgotten one included, which listeners know.
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
            return None  # it stands
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
        """How the files look whose content is answered."""
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
        sighting: CameraEvent | None = None,
        id_: int | None = None,
    ) -> bool:
        columns = {
            "id": id_,  # NULL: one more than the greatest
            "path": name,
            "sha256": sha256,
            "model_sha256": model_sha256,
            "answered_at": time.time(),
            "folder": folder,
            **columns_of(answer, sighting),
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
