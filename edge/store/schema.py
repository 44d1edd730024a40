"""The ledger file: tables, migrations, and recovery from damage."""

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
BUSY_SECONDS = 10.0  # longest wait for another process's lock
MANY_ANSWERS = 100_000  # from here on a migration takes seconds on a small board
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
        # Why the image lies outside of the model's domain; NULL if it does not.
        "ALTER TABLE answers ADD COLUMN outside TEXT",
    ),
    (
        "ALTER TABLE answers ADD COLUMN confidence REAL",
        "ALTER TABLE answers ADD COLUMN elapsed_ms REAL",
        "ALTER TABLE answers ADD COLUMN folder BLOB",  # the watched folder, absolute
        "ALTER TABLE answers ADD COLUMN moved_to BLOB",  # path of the file after it was sorted, absolute
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
    # For the answers of cameras (edge.verdict.CameraEvent): path and folder are the camera's name, sha256 is random.
    (
        "ALTER TABLE answers ADD COLUMN state TEXT",
        "ALTER TABLE answers ADD COLUMN began_at REAL",
        "ALTER TABLE answers ADD COLUMN position REAL",
        "ALTER TABLE answers ADD COLUMN lasted_seconds REAL",
        "ALTER TABLE answers ADD COLUMN peak REAL",
        "ALTER TABLE answers ADD COLUMN snapshot BLOB",
        # To find a few events among millions of frames, and the oldest frames.
        "CREATE INDEX events_by_folder ON answers (folder, id) WHERE state != 'frame'",
        "CREATE INDEX frames_by_folder ON answers (folder, id) WHERE state = 'frame'",
    ),
    (
        # The name of the model that gave the verdict; NULL for errors and old answers.
        "ALTER TABLE answers ADD COLUMN model TEXT",
    ),
    (
        # Nanoseconds since the epoch, see edge.files.FileId; NULL for files of older versions.
        "ALTER TABLE files ADD COLUMN ctime_ns INTEGER",
    ),
    (
        # What the file says of its origin: a JSON array of edge.verdict.Evidence; NULL if it says nothing.
        "ALTER TABLE answers ADD COLUMN provenance TEXT",
    ),
    # For pages of answers in the order of time (edge.store.history). Each index holds all columns of the conditions, so
    # that only the rows of a page are read from the table.
    (
        "CREATE INDEX answers_by_label ON answers (label, answered_at, id, state)",
        "CREATE INDEX answers_by_source ON answers (folder, label, answered_at, id, state)",
        # Small where few files say anything of their origin.
        *(
            f"CREATE INDEX answers_{what} ON answers (answered_at, id, label, folder)"
            f""" WHERE instr(provenance, '"says":"{what}"') > 0"""
            for what in ("generated", "edited", "captured")
        ),
    ),
)
VERSION = len(MIGRATIONS)


def open_database(folder: Path, *, check: str = QUICK) -> sqlite3.Connection:
    """Open the ledger of a state folder, check it and migrate it. A damaged file is renamed, and a new one is made.

    Args:
        folder: made if it is missing.
        check: QUICK checks the file for damage, in about one second per few hundred megabytes; THOROUGH also checks
            the indices, which takes many seconds; "" checks nothing.

    Raises:
        LedgerError: the folder or the file cannot be used, or a later version of edge-detect has written the file.
    """
    path = folder / FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LedgerError(f"{printable(folder)}: cannot make the state folder: {reason_of(error)}") from error
    with _opening_lock(folder), named_errors(path):
        try:
            return _connect(path, check=check)
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            aside = _rename_damaged(path)
            _log.warning(
                "%s: damaged (%s); renamed to %s. A new ledger was created: all files in the folder are answered again",
                printable(path),
                error,
                printable(aside.name),
            )
            return _connect(path, check="")


@contextmanager
def named_errors(path: Path) -> Iterator[None]:
    """Convert SQLite's errors into LedgerErrors that name the file."""
    try:
        yield
    except sqlite3.Error as error:
        raise LedgerError(f"{printable(path)}: {error}") from error


def is_damage(error: BaseException | None) -> bool:
    """Whether an error of SQLite means that the file is damaged."""
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK)
    return code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)  # the low byte, of an extended code


def _connect(path: Path, *, check: str) -> sqlite3.Connection:
    """Open, check and migrate the file.

    Raises:
        LedgerError: a later version of edge-detect has written it.
        sqlite3.Error: it is damaged (see `is_damage`), or cannot be used.
    """
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
            raise LedgerError(f"{printable(path)}: written by a later edge-detect (schema {version}); update this one")
        if 0 < version < VERSION:
            _report_long(database, path)
        for statement in (statement for migration in MIGRATIONS[version:] for statement in migration):
            database.execute(statement)
        if version < VERSION:
            database.execute(f"PRAGMA user_version = {VERSION}")
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise


def _report_long(database: sqlite3.Connection, path: Path) -> None:
    """Log that bringing a ledger up to date takes a while, if it has many answers."""
    (last,) = database.execute("SELECT IFNULL(MAX(id), 0) FROM answers").fetchone()
    if last >= MANY_ANSWERS:
        _log.warning("%s: bringing the ledger of %d answers up to date; this may take minutes", printable(path), last)


def _use_write_ahead_log(database: sqlite3.Connection) -> None:
    """Let readers and the writer work at the same time. Retries: switching the mode does not wait for locks."""
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


def _rename_damaged(path: Path) -> Path:
    """Rename the ledger and its write-ahead log to a free name, and return that path."""
    stem = f"{path.name}.damaged-{time.strftime('%Y%m%dT%H%M%S')}"
    names = (stem, *(f"{stem}-{number}" for number in range(2, 1000)))
    aside = next(path.with_name(name) for name in names if not os.path.lexists(path.with_name(name)))
    try:
        os.rename(path, aside)
        for suffix in ("-wal", "-shm"):
            if os.path.lexists(f"{path}{suffix}"):
                os.rename(f"{path}{suffix}", f"{aside}{suffix}")
    except OSError as error:
        raise LedgerError(f"{printable(path)}: damaged, and cannot be renamed: {reason_of(error)}") from error
    return aside


@contextmanager
def _opening_lock(folder: Path) -> Iterator[None]:
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
