"""Looking into ledgers, also while a watcher writes to them."""

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from edge import redact
from edge.errors import LedgerError, printable, reason_of
from edge.store import schema
from edge.store.rows import ANSWER_COLUMNS, recorded
from edge.store.state import default_folder
from edge.verdict import BEGAN, FRAME, Recorded

SERVICES = Path("/var/lib/edge-detect")  # where systemd keeps the state of our units
PRUNED_AT_ONCE = 1000
PAGE = 500


@dataclass(frozen=True)
class Query:
    """Which answers are wanted.

    Attributes:
        label: of the verdict, or ERROR for images without one; None for all.
        since: seconds since the epoch.
        folder: answers of files below it alone; or the name of a camera, or what is observed as one.
    """

    label: str | None = None
    since: float = 0.0
    folder: str | None = None


def ledgers(state: Path | None) -> list[Path]:
    """The ledger of a state folder; without one those of this account and of the services that we may read."""
    if state is not None:
        return [state / schema.FILE]
    folders = [default_folder(), SERVICES]
    for parent, children, _ in os.walk(SERVICES):
        folders += [Path(parent) / child for child in children]
    return [folder / schema.FILE for folder in folders if os.access(folder / schema.FILE, os.R_OK)]


def answers(ledger: Path, query: Query, after: int = 0) -> Iterator[Recorded]:
    """The answers of a ledger, the oldest first, a few in memory at a time.

    Args:
        after: an id; only later ones.

    Raises:
        LedgerError: the file is missing, or cannot be read.
    """
    conditions = ["id > ?", "answered_at >= ?"]
    values: list[object] = [after, query.since]
    if query.label is not None:
        conditions.append("label IS NULL" if query.label == "ERROR" else "label = ?")
        values += [] if query.label == "ERROR" else [printable(query.label)]
    if query.folder is not None:
        below = os.fsencode(os.path.realpath(query.folder)).rstrip(b"/") + b"/"
        conditions.append("(substr(path, 1, ?) = ? OR path IN (?, ?, ?))")
        cameras = (query.folder, redact.shown(query.folder), os.path.abspath(query.folder))
        values += [len(below), below, *map(os.fsencode, cameras)]
    query_of_a_page = f"SELECT {ANSWER_COLUMNS} FROM answers WHERE {' AND '.join(conditions)} ORDER BY id LIMIT ?"
    with schema.named_errors(ledger), closing(_for_reading(ledger)) as database:
        # A page is read to its end before anyone gets it: a reader that stands still would keep the log from shrinking.
        while rows := database.execute(query_of_a_page, [*values, PAGE]).fetchall():
            yield from map(recorded, rows)
            values[0] = rows[-1][0]


def count(ledger: Path) -> int:
    """How many answers a ledger holds, its file looked through for damage; nothing is written to it.

    Raises:
        LedgerError: the file is missing, damaged, or cannot be read.
    """
    with schema.named_errors(ledger), closing(_for_reading(ledger)) as database:
        (found,) = database.execute(f"PRAGMA {schema.QUICK}(1)").fetchone()
        if found != "ok":
            raise LedgerError(f"{printable(ledger)}: damaged: {printable(' '.join(str(found).split()))}")
        (answers,) = database.execute("SELECT COUNT(*) FROM answers").fetchone()
        return int(answers)


def prune(ledger: Path, older_than_seconds: float) -> int:
    """Forget old answers of files that are no longer where they were, and of cameras; return how many those were.

    An answer whose file is still there stays: without it the file would be
    answered once more. So do those of a folder that is not there just now, or
    that lies on another file system than before: a disk that is not mounted.
    Of a camera, the beginning of an event that has no end yet stays.
    """
    pruned, last = 0, 0
    before = time.time() - older_than_seconds
    with schema.named_errors(ledger), closing(_for_writing(ledger)) as database:
        while rows := database.execute(
            # Some stay: the last one of all, for its id must not be given away again, which the listeners know; and
            # what a listener has still to be told of.
            "SELECT id, path, folder, stamp, state FROM answers LEFT JOIN files USING (path, sha256)"
            " WHERE id > ? AND answered_at < ? AND id < (SELECT MAX(id) FROM answers)"
            " AND NOT EXISTS (SELECT 1 FROM deliveries WHERE deliveries.folder = answers.folder AND answer_id < id)"
            " AND id NOT IN (SELECT answer_id FROM given_up)"
            f" AND NOT (state IS '{BEGAN}' AND id = (SELECT MAX(later.id) FROM answers AS later"
            f" WHERE later.folder = answers.folder AND later.state != '{FRAME}')) ORDER BY id LIMIT ?",
            (last, before, PRUNED_AT_ONCE),
        ).fetchall():
            last = rows[-1][0]
            devices = {
                folder: _device(folder) for folder in {folder for _, _, folder, _, state in rows if state is None}
            }
            gone = [
                (id_, path)
                for id_, path, folder, stamp, state in rows
                # What a camera saw is gone as soon as it was seen.
                if state is not None or (_is_at_hand(devices[folder], stamp) and _is_gone(path))
            ]
            with database:
                database.executemany("DELETE FROM answers WHERE id = ?", [(id_,) for id_, _ in gone])
                database.executemany("DELETE FROM moves WHERE answer_id = ?", [(id_,) for id_, _ in gone])
                database.executemany("DELETE FROM files WHERE path = ?", [(path,) for _, path in gone])
            pruned += len(gone)
    return pruned


def _device(folder: bytes | None) -> int | None:
    """The file system that a watched folder is on; None if it is not there."""
    try:
        return os.stat(folder or b"/").st_dev
    except OSError:
        return None


def _is_gone(path: bytes) -> bool:
    """For certain: a file that we may not look at is not."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def _is_at_hand(device: int | None, stamp: str | None) -> bool:
    """Whether a file's absence means anything: its folder is there, on the file system that the file was on."""
    return device is not None and (stamp is None or stamp.partition(":")[0] == str(device))


def _for_reading(ledger: Path) -> sqlite3.Connection:
    _require(ledger)
    address = f"{ledger.absolute().as_uri()}?mode=ro"
    try:
        return _of_this_version(sqlite3.connect(address, timeout=schema.BUSY_SECONDS, uri=True), ledger)
    except sqlite3.OperationalError:
        # A reader takes part in the write-ahead log's bookkeeping, for which this one may lack the permission. Where no
        # watcher runs there is no such log, and nothing changes.
        if os.path.exists(f"{ledger}-wal"):
            raise
        return _of_this_version(sqlite3.connect(f"{address}&immutable=1", uri=True), ledger)


def _for_writing(ledger: Path) -> sqlite3.Connection:
    _require(ledger)
    return _of_this_version(sqlite3.connect(ledger, timeout=schema.BUSY_SECONDS), ledger)


def _require(ledger: Path) -> None:
    try:
        os.stat(ledger)
    except FileNotFoundError:
        raise LedgerError(f"{printable(ledger)}: there is no such ledger; nothing was answered yet") from None
    except OSError as error:
        raise LedgerError(f"{printable(ledger)}: {reason_of(error)}") from error


def _of_this_version(database: sqlite3.Connection, ledger: Path) -> sqlite3.Connection:
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if version != schema.VERSION:
        database.close()
        when = "a later" if version > schema.VERSION else "an earlier"
        raise LedgerError(
            f"{printable(ledger)}: written by {when} edge-detect; `watch` brings an earlier one up to date"
        )
    return database
