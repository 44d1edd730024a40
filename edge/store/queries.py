"""Queries of ledgers, also while a watcher writes to them."""

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
from edge.store.rows import ANSWER_COLUMNS, answer_of_row, says
from edge.store.state import default_folder
from edge.verdict import BEGAN, FRAME, Recorded

SERVICES = Path("/var/lib/edge-detect")  # state folders of the systemd units
PRUNED_AT_ONCE = 1000  # answers of one transaction
PAGE_ROWS = 500


@dataclass(frozen=True)
class Query:
    """A selection of answers.

    Attributes:
        label: of the verdict; "ERROR" for images without a verdict; None for all.
        since: seconds since the epoch; only later answers.
        folder: only answers to files below this folder, or of the camera with this name or source; None for all.
        provenance: only answers to files that say this of their origin, such as "generated"; None for all.
    """

    label: str | None = None
    since: float = 0.0
    folder: str | None = None
    provenance: str | None = None


def ledgers(state: Path | None) -> list[Path]:
    """The paths of ledgers: that of a state folder, or all readable ones of this account and of the services.

    Args:
        state: the state folder; None: all.
    """
    if state is not None:
        return [state / schema.FILE]
    folders = [default_folder(), SERVICES]
    for parent, children, _ in os.walk(SERVICES):
        folders += [Path(parent) / child for child in children]
    return [folder / schema.FILE for folder in folders if os.access(folder / schema.FILE, os.R_OK)]


def answers(ledger: Path, query: Query, after: int = 0) -> Iterator[Recorded]:
    """The selected answers of a ledger, the oldest first, a page in memory at a time.

    Args:
        after: an id; only later answers.

    Raises:
        LedgerError: the file is missing, or cannot be read.
    """
    conditions = ["id > ?", "answered_at >= ?"]
    values: list[object] = [after, query.since]
    if query.label is not None:
        conditions.append("label IS NULL" if query.label.upper() == "ERROR" else "label = ? COLLATE NOCASE")
        values += [] if query.label.upper() == "ERROR" else [printable(query.label)]
    if query.folder is not None:
        below = os.fsencode(os.path.realpath(query.folder)).rstrip(b"/") + b"/"
        conditions.append("(substr(path, 1, ?) = ? OR path IN (?, ?, ?))")
        cameras = (query.folder, redact.shown(query.folder), os.path.abspath(query.folder))
        values += [len(below), below, *map(os.fsencode, cameras)]
    if query.provenance is not None:
        conditions.append("instr(provenance, ?)")
        values.append(says(query.provenance))
    query_of_a_page = f"SELECT {ANSWER_COLUMNS} FROM answers WHERE {' AND '.join(conditions)} ORDER BY id LIMIT ?"
    with schema.named_errors(ledger), closing(open_for_reading(ledger)) as database:
        # A page is read completely before it is yielded: an open query would keep the write-ahead log from shrinking.
        while rows := database.execute(query_of_a_page, [*values, PAGE_ROWS]).fetchall():
            yield from map(answer_of_row, rows)
            values[0] = rows[-1][0]


def count(ledger: Path) -> int:
    """Check a ledger for damage and return the number of its answers; nothing is written.

    Raises:
        LedgerError: the file is missing, damaged, or cannot be read.
    """
    with schema.named_errors(ledger), closing(open_for_reading(ledger)) as database:
        (found,) = database.execute(f"PRAGMA {schema.QUICK}(1)").fetchone()
        if found != "ok":
            raise LedgerError(f"{printable(ledger)}: damaged: {printable(' '.join(str(found).split()))}")
        (answers,) = database.execute("SELECT COUNT(*) FROM answers").fetchone()
        return int(answers)


def prune(ledger: Path, older_than_seconds: float) -> int:
    """Delete old answers to files that are gone, and of cameras; return how many.

    Answers to files that still exist stay, because the files would be answered
    again. So do those in a folder that is missing, or that lies on another file
    system than before: its disk may just not be mounted. Of a camera, the
    beginning of an event without an end stays.

    Raises:
        LedgerError: the ledger is missing, or cannot be written.
    """
    pruned, last = 0, 0
    before = time.time() - older_than_seconds
    with schema.named_errors(ledger), closing(_open_for_writing(ledger)) as database:
        while rows := database.execute(
            # The last answer of all stays: SQLite would assign its id again, and sinks have received that id already.
            # Answers that are not delivered yet stay, too.
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
                # A camera's answers have no file.
                if state is not None or (_is_mounted(devices[folder], stamp) and _is_gone(path))
            ]
            with database:
                database.executemany("DELETE FROM answers WHERE id = ?", [(id_,) for id_, _ in gone])
                database.executemany("DELETE FROM moves WHERE answer_id = ?", [(id_,) for id_, _ in gone])
                database.executemany("DELETE FROM files WHERE path = ?", [(path,) for _, path in gone])
            pruned += len(gone)
    return pruned


def _device(folder: bytes | None) -> int | None:
    """The device number of a folder's file system; None if the folder is missing."""
    try:
        return os.stat(folder or b"/").st_dev
    except OSError:
        return None


def _is_gone(path: bytes) -> bool:
    """Whether a file certainly does not exist; False if this account has no permission to find out."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def _is_mounted(device: int | None, stamp: str | None) -> bool:
    """Whether a watched folder exists on the same file system as the file did: only then is a missing file gone."""
    return device is not None and (stamp is None or stamp.partition(":")[0] == str(device))


def open_for_reading(ledger: Path) -> sqlite3.Connection:
    """A connection that cannot write.

    Raises:
        LedgerError: the file is missing, cannot be accessed, or has another schema.
        sqlite3.Error: it cannot be read.
    """
    require(ledger)
    address = f"{ledger.absolute().as_uri()}?mode=ro"
    try:
        return require_version(sqlite3.connect(address, timeout=schema.BUSY_SECONDS, uri=True), ledger)
    except sqlite3.OperationalError:
        # A ledger with a write-ahead log can be read only with write permission for the log, and room on the disk for
        # its index. Without a running watcher the log is missing or empty, and the file does not change.
        if _has_log(ledger):
            raise
        return require_version(sqlite3.connect(f"{address}&immutable=1", uri=True), ledger)


def _has_log(ledger: Path) -> bool:
    """Whether answers lie in the write-ahead log."""
    try:
        return os.path.getsize(f"{ledger}-wal") > 0
    except FileNotFoundError:
        return False


def _open_for_writing(ledger: Path) -> sqlite3.Connection:
    require(ledger)
    return require_version(sqlite3.connect(ledger, timeout=schema.BUSY_SECONDS), ledger)


def require(ledger: Path) -> None:
    """Raise a LedgerError if the file is missing or cannot be accessed; SQLite's own error would not say which."""
    try:
        os.stat(ledger)
    except FileNotFoundError:
        raise LedgerError(f"{printable(ledger)}: no such ledger; nothing was answered yet") from None
    except OSError as error:
        raise LedgerError(f"{printable(ledger)}: {reason_of(error)}") from error


def require_version(database: sqlite3.Connection, ledger: Path) -> sqlite3.Connection:
    """The connection, if the ledger has the present schema; else it is closed, and a LedgerError is raised."""
    try:
        (version,) = database.execute("PRAGMA user_version").fetchone()
    except sqlite3.Error:
        database.close()
        raise
    if version != schema.VERSION:
        database.close()
        is_later = version > schema.VERSION
        how = (
            "a later edge-detect; update this one"
            if is_later
            else "an earlier edge-detect; `watch` brings it up to date"
        )
        raise LedgerError(f"{printable(ledger)}: written by {how}")
    return database
