"""The answers to files: looking them up, and recording new ones."""

import os
import time
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from edge.files import FileId, are_two_files, ignores_case
from edge.store.database import Database
from edge.store.rows import ANSWER_VALUES, answer_values, encoded, event_columns
from edge.verdict import Answer, CameraEvent, Failure, Recorded, Verdict

RECENT_NS = 2_000_000_000  # resolution of FAT's file times; no other file system's is coarser
MAX_LOOKUP = 256  # files of one lookup; older SQLite allows 999 variables in a statement
COLUMNS = ("path", "sha256", "model_sha256", "answered_at", "folder", *ANSWER_VALUES)


class AnsweredAs(NamedTuple):
    """An earlier answer to the same content.

    Attributes:
        path: of the file at that time; it differs from its present path if the file was renamed.
        sha256: of the content.
        label: of the verdict; None for an error.
    """

    path: str
    sha256: bytes
    label: str | None


class Entry(NamedTuple):
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


class AnswerTable(Database):
    """The tables of answers and files."""

    _case_of: tuple[tuple[int, str], bool] | None = None  # whether the folder of the last file ignores case

    def known(
        self, files: Sequence[tuple[str, FileId]], models: Collection[str] | None = None
    ) -> list[AnsweredAs | None]:
        """For each file the earlier answer, if the file is certainly unchanged, so that it need not be read; else None.

        A file does not count as unchanged if it was written to just before it was seen, because it may have been
        written to again within the resolution of the file system's times; or if its ctime differs, because a program
        may have written other content and restored the time of modification.

        Args:
            files: (absolute path, identity) of each, at most MAX_LOOKUP.
            models: SHA-256 digests of the models in use. Verdicts of other models are ignored then, and so are verdicts
                on images outside of a model's domain, which may go to another model now. None: every answer counts.
        """
        rows = self._rows(
            "SELECT path, stamp, seen_ns, ctime_ns, sha256, label, model_sha256, outside"
            f" FROM files JOIN answers USING (path, sha256) WHERE path IN ({_marks(files)})",
            *(encoded(path) for path, _ in files),
        )
        found = {
            (path, stamp): (seen_ns, ctime_ns, sha256, label)
            for path, stamp, seen_ns, ctime_ns, sha256, label, model, outside in rows
            if models is None or label is None or (model in models and outside is None)
        }
        if not found:
            return [None] * len(files)
        return [_unchanged(path, stamp, found.get((encoded(path), stamp.key))) for path, stamp in files]

    def answered_as(
        self,
        files: Sequence[tuple[str, FileId, bytes]],
        root: str,
        models: Sequence[str | None] | None = None,
    ) -> list[AnsweredAs | None]:
        """For each content the earlier answer; None if there is none.

        It is the answer at the path itself; or, if the file was renamed, the answer at its other path below `root`,
        provided that only one of the two paths exists. On a file system that ignores case, such as FAT, both may name
        the same file.

        Args:
            files: (absolute path, identity, SHA-256 of the content) of each, at most MAX_LOOKUP.
            root: the watched folder.
            models: for each file the SHA-256 digest of its model; verdicts of other models are ignored then. None, for
                one file or for all: every answer counts.
        """
        answers = {
            (path, sha256): (label, model)
            for path, sha256, label, model in self._rows(
                f"SELECT path, sha256, label, model_sha256 FROM answers WHERE path IN ({_marks(files)})",
                *(encoded(path) for path, _, _ in files),
            )
        }
        names: dict[tuple[str, bytes], list[bytes]] = {}
        stamps = [stamp.key for _, stamp, _ in files]
        for stamp, sha256, path in self._rows(
            f"SELECT stamp, sha256, path FROM files WHERE stamp IN ({_marks(stamps)})", *stamps
        ):
            names.setdefault((stamp, sha256), []).append(path)
        unknown = [
            (path, stamp, sha256)
            for path, stamp, sha256 in files
            if (encoded(path), sha256) not in answers and (stamp.key, sha256) not in names
        ]
        names |= self._other_spellings([file for file in unknown if self._ignores_case(file[0], file[1])])
        if not (answers or names):
            return [None] * len(files)
        found: list[AnsweredAs | None] = []
        for (path, stamp, sha256), model in zip(files, models or [None] * len(files), strict=True):
            name = encoded(path)
            if (name, sha256) in answers:
                label, answered_by = answers[name, sha256]
                answer: AnsweredAs | None = AnsweredAs(path, sha256, label)
            else:
                answer, answered_by = self._renamed(path, names.get((stamp.key, sha256), []), sha256, root)
            counts = answer and (model is None or answer.label is None or answered_by == model)
            found.append(answer if counts else None)
        return found

    def record(self, entries: Sequence[Entry], folder: str, *, reclassify: bool = False) -> list[Entry]:
        """Commit entries and their moves, all or none.

        Args:
            folder: the watched folder, absolute.
            reclassify: replace answers of other models. The new answer gets a new id, so that every sink receives it;
                the old one is deleted with its pending moves and deliveries.

        Returns:
            The entries whose answer was not in the ledger yet.
        """
        self._latest = latest = None
        with self._transaction():
            now = time.time()
            if not reclassify and self._insert_new(entries, folder, now):
                new = list(entries)
                latest = self._recorded(new, now)
            else:
                new = [entry for entry in entries if self._insert(entry, folder, reclassify=reclassify)]
            self._record_files(entries)
        if latest:
            self._latest = folder, latest
        return new

    def _recorded(self, entries: Sequence[Entry], now: float) -> list[Recorded]:
        """The answers that were just inserted by one statement, as the ledger returns them; none if they may change."""
        ((last,),) = self._rows("SELECT last_insert_rowid()")
        found = []
        for id_, (path, _, _, _, answer, _, target) in enumerate(entries, last - len(entries) + 1):
            if target is not None or isinstance(answer, AnsweredAs):
                return []
            if isinstance(answer, Failure):
                found.append(Recorded(id_, now, Failure(path, answer.reason), None))
            elif answer.explain is None and not answer.provenance:
                found.append(Recorded(id_, now, Verdict(path, *answer[1:]), None))
            else:  # not everything is stored
                return []
        return found

    def _insert_new(self, entries: Sequence[Entry], folder: str, now: float) -> bool:
        """Insert entries whose answers and moves are new in one go; returns False, and inserts none, if one is not."""
        name = encoded(folder)
        rows = []
        for path, _, _, sha256, answer, model_sha256, _ in entries:
            if isinstance(answer, AnsweredAs):
                return False
            rows.append((encoded(path), sha256, model_sha256, now, name, *answer_values(answer)))
        self._database.execute("SAVEPOINT new")
        inserted = self._database.executemany(
            f"INSERT OR IGNORE INTO answers ({', '.join(COLUMNS)}) VALUES ({_marks(COLUMNS)})", rows
        )
        if inserted.rowcount != len(rows):
            self._database.execute("ROLLBACK TO new")
            return False
        for entry in entries:
            if entry.target is not None:
                self._insert_move(entry, entry.target)
        return True

    def _ignores_case(self, path: str, stamp: FileId) -> bool:
        """See `edge.files.ignores_case`; asked once for files that follow each other in one folder."""
        folder = stamp.device, path[: path.rfind("/")]
        if self._case_of is None or self._case_of[0] != folder:
            answer = ignores_case(path)
            if answer is None:
                return False
            self._case_of = folder, answer
        return self._case_of[1]

    def _other_spellings(self, files: Sequence[tuple[str, FileId, bytes]]) -> dict[tuple[str, bytes], list[bytes]]:
        """Recorded paths that differ from those of files in their capitals alone, by identity and content.

        FAT, and drivers in user space, may renumber a file, so that its identity does not lead to its former name.
        """
        found: dict[tuple[str, bytes], list[bytes]] = {}
        for folder in {os.path.dirname(path) for path, _, _ in files}:
            inside = [file for file in files if os.path.dirname(file[0]) == folder]
            below = encoded(folder).rstrip(b"/")
            rows = self._rows(
                f"SELECT path, sha256 FROM files WHERE path > ? AND path < ? AND sha256 IN ({_marks(inside)})",
                below + b"/",
                below + b"0",  # the character behind the slash
                *(sha256 for _, _, sha256 in inside),
            )
            for path, stamp, sha256 in inside:
                names = [name for name, of in rows if of == sha256 and os.fsdecode(name).lower() == path.lower()]
                found[stamp.key, sha256] = names
        return found

    def _renamed(
        self, path: str, names: Sequence[bytes], sha256: bytes, root: str
    ) -> tuple[AnsweredAs, str] | tuple[None, None]:
        """The answer at one of several paths of the same file below the root, if that path or `path` is free now.

        Returns:
            The answer, and the SHA-256 digest of its model; or (None, None).
        """
        within = encoded(root).rstrip(b"/") + b"/"
        for name in names:
            if name.startswith(within) and not are_two_files(os.fsdecode(name), path):
                rows = self._rows("SELECT label, model_sha256 FROM answers WHERE path = ? AND sha256 = ?", name, sha256)
                if rows:
                    return AnsweredAs(os.fsdecode(name), sha256, rows[0][0]), rows[0][1]
        return None, None

    def _insert(self, entry: Entry, folder: str, *, reclassify: bool) -> bool:
        """Insert an entry's answer and move; returns whether the answer is new."""
        name, answer = encoded(entry.path), entry.answer
        is_new = False
        if isinstance(answer, AnsweredAs):
            if answer.path != entry.path:
                before = encoded(answer.path)
                self._database.execute(
                    "UPDATE OR IGNORE answers SET path = ? WHERE path = ? AND sha256 = ?", (name, before, entry.sha256)
                )
                self._database.execute("DELETE FROM files WHERE path = ?", (before,))
        else:
            id_ = self._delete_former(entry, folder) if reclassify else None
            is_new = self._insert_answer(name, entry.sha256, answer, entry.model_sha256, encoded(folder), id_=id_)
        if entry.target is not None:
            self._insert_move(entry, entry.target)
        return is_new

    def _insert_move(self, entry: Entry, target: str) -> None:
        self._database.execute(
            "INSERT OR REPLACE INTO moves (source, target, stamp, answer_id)"
            # Not if the recorded answer has another label, which the same model gave at other thresholds.
            " SELECT path, ?, ?, id FROM answers WHERE path = ? AND sha256 = ? AND label IS ?",
            (
                encoded(target),
                entry.stamp.key,
                encoded(entry.path),
                entry.sha256,
                None if isinstance(entry.answer, Failure) else entry.answer.label,
            ),
        )

    def _delete_former(self, entry: Entry, folder: str) -> int | None:
        """Delete another model's answer to the same file, with its pending moves and deliveries.

        Returns:
            The id for the new answer, greater than all ids so far: sinks have received the deleted one's already.
            None if nothing was deleted.
        """
        former = self._former(encoded(entry.path), entry.sha256)
        if former is None:  # the file may have been renamed since
            same = "SELECT path FROM files WHERE stamp = ? AND sha256 = ?"
            names = [path for (path,) in self._rows(same, entry.stamp.key, entry.sha256)]
            renamed, _ = self._renamed(entry.path, names, entry.sha256, folder)
            former = self._former(encoded(renamed.path), entry.sha256) if renamed else None
        if former is None:
            return None
        id_, path, label, model = former
        if model == entry.model_sha256 or (label is None and isinstance(entry.answer, Failure)):
            return None  # the recorded answer stays
        ((last,),) = self._rows("SELECT MAX(id) FROM answers")
        self._database.execute("DELETE FROM answers WHERE id = ?", (id_,))
        self._database.execute("DELETE FROM moves WHERE source = ? AND answer_id = ?", (path, id_))
        self._database.execute("DELETE FROM given_up WHERE answer_id = ?", (id_,))
        if path != encoded(entry.path):
            self._database.execute("DELETE FROM files WHERE path = ?", (path,))
        return int(last) + 1

    def _former(self, path: bytes, sha256: bytes) -> tuple[Any, ...] | None:
        """The (id, path, label, model_sha256) of the answer to a path and content."""
        query = "SELECT id, path, label, model_sha256 FROM answers WHERE path = ? AND sha256 = ?"
        return next(iter(self._rows(query, path, sha256)), None)

    def _record_files(self, entries: Sequence[Entry]) -> None:
        """Record the present identities of answered files."""
        self._database.executemany(
            "INSERT OR REPLACE INTO files (path, stamp, seen_ns, sha256, ctime_ns) VALUES (?, ?, ?, ?, ?)",
            [
                (encoded(path), stamp.key, seen_ns, sha256, stamp.ctime_ns or None)
                for path, stamp, seen_ns, sha256, *_ in entries
            ],
        )

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
        values = name, sha256, model_sha256, time.time(), folder, *answer_values(answer)
        columns = {
            "id": id_,  # NULL: SQLite assigns the next one
            **dict(zip(COLUMNS, values, strict=True)),
            **(event_columns(event) if event else {}),
        }
        inserted = self._database.execute(
            f"INSERT OR IGNORE INTO answers ({', '.join(columns)}) VALUES ({_marks(columns)})", tuple(columns.values())
        )
        return inserted.rowcount == 1


def _unchanged(path: str, stamp: FileId, row: tuple[Any, ...] | None) -> AnsweredAs | None:
    """The answer of a row (seen_ns, ctime_ns, sha256, label), if it is certain that the file is unchanged."""
    if row is None or abs(row[0] - stamp.mtime_ns) <= RECENT_NS:  # abs(): a wrong clock gives times in the future
        return None
    if row[1] is not None and stamp.ctime_ns and row[1] != stamp.ctime_ns:
        return None
    return AnsweredAs(path, *row[2:])


def _marks(values: Collection[object]) -> str:
    """A placeholder of a statement for each value."""
    return ", ".join("?" * len(values))
