"""The ledger's file: tables, migrations, and what happens to a damaged one."""

import fcntl
import logging
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge.errors import LedgerError, printable, reason_of

_log = logging.getLogger(__name__)

FILE = "ledger.sqlite3"
BUSY_SECONDS = 10.0
QUICK, THOROUGH = "quick_check", "integrity_check"

# Statements that bring a ledger of each version, from 0 (an empty file), to the next. Entries are only ever appended.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """
        CREATE TABLE answers (
            id INTEGER PRIMARY KEY,
            path BLOB NOT NULL,          -- absolute, and bytes, for that is what a name is on Linux
            sha256 BLOB NOT NULL,        -- of the content that was answered
            label TEXT,                  -- NULL if there is no verdict but an error
            score REAL,                  -- P(REAL)
            error TEXT,
            model_sha256 TEXT NOT NULL,
            answered_at REAL NOT NULL,   -- seconds since the epoch
            UNIQUE (path, sha256)
        )
        """,
        """
        CREATE TABLE files (             -- how each file looked when it was last met
            path BLOB PRIMARY KEY,
            stamp TEXT NOT NULL,         -- edge.files.FileId
            seen_ns INTEGER NOT NULL,    -- when that was, nanoseconds since the epoch
            sha256 BLOB NOT NULL
        ) WITHOUT ROWID
        """,
        "CREATE INDEX files_by_stamp ON files (stamp)",
    ),
    (
        # Why the image is none of those that the model was measured on; NULL if it may be one.
        "ALTER TABLE answers ADD COLUMN outside TEXT",
    ),
    (
        "ALTER TABLE answers ADD COLUMN confidence REAL",
        "ALTER TABLE answers ADD COLUMN elapsed_ms REAL",
        "ALTER TABLE answers ADD COLUMN folder BLOB",  # the one that was watched, absolute
        "ALTER TABLE answers ADD COLUMN moved_to BLOB",  # where the file was sorted into, absolute
        "CREATE INDEX answers_by_folder ON answers (folder, id)",
        """
        CREATE TABLE deliveries (        -- how far each listener of a watched folder has been told
            folder BLOB NOT NULL,
            sink TEXT NOT NULL,
            answer_id INTEGER NOT NULL,  -- this answer and all before it
            PRIMARY KEY (folder, sink)
        ) WITHOUT ROWID
        """,
        """
        CREATE TABLE moves (             -- those that were decided and are not known to be done
            source BLOB PRIMARY KEY,
            target BLOB NOT NULL,
            stamp TEXT NOT NULL,         -- of the source
            answer_id INTEGER NOT NULL
        ) WITHOUT ROWID
        """,
        """
        CREATE TABLE given_up (          -- answers that a sink could not be told of, by any attempt of a run
            folder BLOB NOT NULL,
            sink TEXT NOT NULL,
            answer_id INTEGER NOT NULL,
            PRIMARY KEY (folder, sink, answer_id)
        ) WITHOUT ROWID
        """,
    ),
    # Of a camera's answers (edge.verdict.CameraEvent). Their path and folder are its name, their digest is random.
    (
        "ALTER TABLE answers ADD COLUMN state TEXT",
        "ALTER TABLE answers ADD COLUMN began_at REAL",
        "ALTER TABLE answers ADD COLUMN position REAL",
        "ALTER TABLE answers ADD COLUMN lasted_seconds REAL",
        "ALTER TABLE answers ADD COLUMN peak REAL",
        "ALTER TABLE answers ADD COLUMN snapshot BLOB",
        # A few events among millions of frames, and the oldest of these.
        "CREATE INDEX events_by_folder ON answers (folder, id) WHERE state != 'frame'",
        "CREATE INDEX frames_by_folder ON answers (folder, id) WHERE state = 'frame'",
    ),
    (
        # The name of the model that gave the verdict; NULL for errors and old answers.
        "ALTER TABLE answers ADD COLUMN model TEXT",
    ),
)
VERSION = len(MIGRATIONS)


def opened(folder: Path, *, check: str = QUICK) -> sqlite3.Connection:
    """Open the ledger of a state folder, check it and migrate it. A damaged file is renamed, and a new one is made.

    Args:
        folder: made if it is missing.
        check: QUICK checks the file for damage, about one second for some hundred megabytes; THOROUGH also checks the
            indices, many seconds; "" checks nothing.

    Raises:
        LedgerError: the folder or the file cannot be used.
    """
    path = folder / FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LedgerError(f"{printable(folder)}: cannot make the state folder: {reason_of(error)}") from error
    with _alone(folder), named_errors(path):
        try:
            return _connected(path, check=check)
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            aside = _set_aside(path)
            _log.warning(
                "%s: damaged (%s); renamed to %s, and a new ledger begun: the files in the folder are answered again",
                printable(path),
                error,
                printable(aside.name),
            )
            return _connected(path, check="")


@contextmanager
def named_errors(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into LedgerError, with the file's name."""
    try:
        yield
    except sqlite3.Error as error:
        raise LedgerError(f"{printable(path)}: {error}") from error


def is_damage(error: BaseException | None) -> bool:
    """Whether an error of SQLite means that the file is damaged."""
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK)
    return code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)  # the low byte, of an extended code


def _connected(path: Path, *, check: str) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
    try:
        _use_write_ahead_log(database)
        (found,) = database.execute(f"PRAGMA {check}(1)").fetchone() if check else ("ok",)
        if found != "ok":
            damage = sqlite3.DatabaseError(" ".join(str(found).split()))
            damage.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
            raise damage
        database.execute("PRAGMA synchronous = FULL")  # an answer is on the disk before it is delivered
        _migrate(database, path)
        return database
    except BaseException:
        database.close()
        raise


def _migrate(database: sqlite3.Connection, path: Path) -> None:
    database.execute("BEGIN IMMEDIATE")
    try:
        (version,) = database.execute("PRAGMA user_version").fetchone()
        if version > VERSION:
            raise LedgerError(f"{printable(path)}: written by a later edge-detect (schema {version})")
        for statement in (statement for migration in MIGRATIONS[version:] for statement in migration):
            database.execute(statement)
        if version < VERSION:
            database.execute(f"PRAGMA user_version = {VERSION}")
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise


def _use_write_ahead_log(database: sqlite3.Connection) -> None:
    """Let readers and the writer work at once. SQLite does not wait for a lock when it switches the mode; we do."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            database.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            is_busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY  # the low byte, of an extended code
            if not is_busy or time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _set_aside(path: Path) -> Path:
    """Rename the ledger and its log to a free name, and return that."""
    stem = f"{path.name}.damaged-{time.strftime('%Y%m%dT%H%M%S')}"
    names = (stem, *(f"{stem}-{number}" for number in range(2, 1000)))
    aside = next(path.with_name(name) for name in names if not os.path.lexists(path.with_name(name)))
    try:
        os.rename(path, aside)
        for belonging in ("-wal", "-shm"):
            if os.path.lexists(f"{path}{belonging}"):
                os.rename(f"{path}{belonging}", f"{aside}{belonging}")
    except OSError as error:
        raise LedgerError(f"{printable(path)}: damaged, and cannot be renamed: {reason_of(error)}") from error
    return aside


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let one process at a time check and migrate the ledger."""
    try:
        descriptor = os.open(folder / ".opening.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise LedgerError(f"{printable(folder)}: cannot write to the state folder: {reason_of(error)}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
