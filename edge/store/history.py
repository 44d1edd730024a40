"""Pages of recorded answers, the newest first, also while watchers and cameras write.

The order is that of time: (answered_at, ledger, id), so that the answers of several ledgers form one list. A page is
found by its neighbour (keyset pagination), so that a late page costs no more than the first. Every query is answered by
an index alone; only the rows of the page are read from the table.
"""

import hashlib
import os
import re
import sqlite3
import struct
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from edge.errors import LedgerError, printable
from edge.store import queries, schema
from edge.store.rows import ANSWER_COLUMNS, answer_of_row, says
from edge.verdict import CAPTURED, EDITED, ENDED, GENERATED, INTERRUPTED, Recorded

ERROR = "ERROR"  # in place of a label: images without a verdict
PROVENANCE = (GENERATED, EDITED, CAPTURED)
MAX_ROWS = 1000  # of a page
MAX_LABELS = 100  # labels of one ledger; a model has two
MAX_SOURCES = 1000
MAX_ID = 2**63 - 1
# An event is counted once, when it begins.
COUNTED = f"(state IS NULL OR state NOT IN ('{ENDED}', '{INTERRUPTED}'))"
_NEWEST = (
    "SELECT answered_at, state FROM answers INDEXED BY answers_by_source"
    " WHERE folder = ? AND label IS ? ORDER BY answered_at DESC LIMIT 1"
)
_KEY = re.compile(r"([0-9a-f]{8})-([0-9]{1,18})", re.ASCII)
_POSITION = re.compile(r"([0-9a-f]{16})-([0-9a-f]{8})-([0-9]{1,18})", re.ASCII)


@dataclass(frozen=True)
class Filter:
    """A selection of answers.

    Attributes:
        label: of the verdict, in any case; ERROR for images without a verdict; None for all.
        source: watched folder or name of a camera, exactly as in `Source.name`; None for all.
        since: seconds since the epoch: this moment and later; None for all.
        until: seconds since the epoch: before this moment; None for all.
        provenance: one of PROVENANCE: only files that say so of themselves; None for all.
    """

    label: str | None = None
    source: str | None = None
    since: float | None = None
    until: float | None = None
    provenance: str | None = None


@dataclass(frozen=True, order=True)
class Position:
    """The place of an answer among those of all ledgers; a greater one is newer.

    Attributes:
        ledger: see `ledger_name`.
    """

    answered_at: float
    ledger: str
    id: int

    def __str__(self) -> str:
        return f"{struct.pack('>d', self.answered_at).hex()}-{self.ledger}-{self.id}"

    @classmethod
    def parse(cls, text: str) -> "Position":
        """The position in a text of `str`.

        Raises:
            ValueError: it is none.
        """
        match = _POSITION.fullmatch(text)
        if match is None:
            raise ValueError("invalid position in the history")
        (answered_at,) = struct.unpack(">d", bytes.fromhex(match[1]))
        if answered_at != answered_at:
            raise ValueError("invalid position in the history")
        return cls(answered_at, match[2], int(match[3]))


@dataclass(frozen=True)
class Item:
    """A recorded answer with what is needed to show it.

    Attributes:
        ledger: path of its ledger.
        sha256: of the file's content; random for a camera's answer.
        source: watched folder, or name of the camera; None for answers of old versions.
    """

    recorded: Recorded
    ledger: Path
    sha256: bytes
    source: str | None

    @property
    def key(self) -> str:
        """Names the answer among those of all ledgers: "1b2c3d4e-17"."""
        return f"{ledger_name(self.ledger)}-{self.recorded.id}"

    @property
    def position(self) -> Position:
        return Position(self.recorded.answered_at, ledger_name(self.ledger), self.recorded.id)


@dataclass(frozen=True)
class Source:
    """A watched folder or a camera that has answers in a ledger.

    Attributes:
        latest: time of its last answer, seconds since the epoch.
    """

    name: str
    is_camera: bool
    latest: float


def ledger_name(ledger: Path) -> str:
    """A short name of a ledger that does not contain its path: eight hexadecimal digits."""
    return hashlib.sha256(os.fsencode(os.path.abspath(ledger))).hexdigest()[:8]


def parse_key(key: str) -> tuple[str, int]:
    """The (ledger name, id) of an `Item.key`.

    Raises:
        ValueError: it is none.
    """
    match = _KEY.fullmatch(key)
    if match is None:
        raise ValueError("invalid id of an answer")
    return match[1], int(match[2])


def migrate(ledger: Path) -> None:
    """Bring a ledger of an earlier version up to date, as a watcher does when it starts.

    Raises:
        LedgerError: the file is missing, damaged, of a later version, or cannot be written.
    """
    queries.require(ledger)
    with (
        schema.named_errors(ledger),
        closing(sqlite3.connect(f"{ledger.absolute().as_uri()}?mode=ro", uri=True)) as database,
    ):
        (version,) = database.execute("PRAGMA user_version").fetchone()
    if version < schema.VERSION:
        schema.open_database(ledger.parent, check="").close()


@contextmanager
def reading(ledger: Path) -> Iterator[sqlite3.Connection]:
    """A connection for a few short queries, which see one state of the ledger.

    It is opened with write permission, without which the ledger of a watcher that has ended may not be readable, and
    refuses to write. Only a ledger that this account may not write is opened read-only.

    Raises:
        LedgerError: the ledger is missing, damaged, of another version, or cannot be read.
    """
    queries.require(ledger)
    with schema.named_errors(ledger), closing(_open(ledger)) as database:
        database.execute("BEGIN")
        yield database
        database.execute("ROLLBACK")


def page(
    ledger: Path, wanted: Filter, *, before: Position | None = None, after: Position | None = None, limit: int = 24
) -> list[Item]:
    """A page of a ledger's answers, the newest first.

    Args:
        before: only older answers; at most one of `before` and `after` is given.
        after: only newer answers, of these the oldest `limit`.
        limit: greatest number of answers; MAX_ROWS if it is greater.

    Raises:
        LedgerError: see `reading`.
        ValueError: the filter is invalid.
    """
    require_valid(wanted)
    limit = max(1, min(limit, MAX_ROWS))
    with reading(ledger) as database:
        arms = list(_arms(database, wanted))
        times, times_values = _times(wanted, ledger_name(ledger), before, after)
        order = "ASC" if after else "DESC"
        found: list[tuple[float, int]] = []
        for index, conditions, values in arms:
            found += database.execute(
                f"SELECT answered_at, id FROM answers INDEXED BY {index} WHERE {' AND '.join([*times, *conditions])}"
                f" ORDER BY answered_at {order}, id {order} LIMIT ?",
                [*times_values, *values, limit],
            )
        found.sort(reverse=not after)
        return items_of(database, ledger, [id_ for _, id_ in found[:limit]])


def one(ledger: Path, id_: int) -> Item | None:
    """One answer; None if the ledger has none with this id.

    Raises:
        LedgerError: see `reading`.
    """
    with reading(ledger) as database:
        return next(iter(items_of(database, ledger, [min(id_, MAX_ID)])), None)


def sources(ledger: Path) -> list[Source]:
    """The watched folders and cameras that have answers in a ledger, sorted by name; the first MAX_SOURCES.

    Raises:
        LedgerError: see `reading`.
    """
    found: list[Source] = []
    with reading(ledger) as database:
        labels, name = _labels(database), b""
        while len(found) < MAX_SOURCES:
            ((name,),) = database.execute(
                "SELECT MIN(folder) FROM answers INDEXED BY answers_by_source WHERE folder > ?", (name,)
            ).fetchall()
            if name is None:
                break
            newest = [row for label in labels if (row := database.execute(_NEWEST, (name, label)).fetchone())]
            latest, state = max(newest, key=lambda row: float(row[0]))
            found.append(Source(os.fsdecode(name), state is not None, latest))
    return found


def counts_since(ledger: Path, since: float) -> dict[str, int]:
    """Number of answers with each label, ERROR for images without a verdict; an event counts once.

    Args:
        since: seconds since the epoch; only answers of this moment and later.

    Raises:
        LedgerError: see `reading`.
    """
    counts: dict[str, int] = {}
    with reading(ledger) as database:
        for label in _labels(database):
            (count,) = database.execute(
                "SELECT COUNT(*) FROM answers INDEXED BY answers_by_label"
                f" WHERE label IS ? AND answered_at >= ? AND {COUNTED}",
                (label, since),
            ).fetchone()
            if count:
                counts[ERROR if label is None else label] = count
    return counts


def require_valid(wanted: Filter) -> None:
    """
    Raises:
        ValueError: the filter asks for an unknown provenance, or for a time that is not a number.
    """
    if wanted.provenance is not None and wanted.provenance not in PROVENANCE:
        raise ValueError(f"provenance must be one of {', '.join(PROVENANCE)}")
    if any(time is not None and time != time for time in (wanted.since, wanted.until)):
        raise ValueError("a time must be a number")


def _open(ledger: Path) -> sqlite3.Connection:
    address = f"{ledger.absolute().as_uri()}?mode=rw"
    if not os.access(ledger, os.W_OK):
        return queries.open_for_reading(ledger)
    try:
        database = sqlite3.connect(address, timeout=schema.BUSY_SECONDS, uri=True, isolation_level=None)
        database.execute("PRAGMA query_only = 1")
        return queries.require_version(database, ledger)
    except sqlite3.OperationalError:  # its folder is on a file system that is mounted read-only, for example
        return queries.open_for_reading(ledger)


def _arms(database: sqlite3.Connection, wanted: Filter) -> Iterator[tuple[str, list[str], list[object]]]:
    """The queries that together select the answers, each sorted by its index: (index, conditions, values)."""
    labels = _labels(database)
    if wanted.label is not None:
        is_error = wanted.label.upper() == ERROR
        folded = wanted.label.casefold()
        labels = [label for label in labels if (is_error if label is None else label.casefold() == folded)]
    source, values = list[str](), list[object]()
    if wanted.source is not None:
        source, values = ["folder = ?"], [_encoded(wanted.source)]
    if wanted.provenance is not None:
        if wanted.label is not None:
            source.append(f"({' OR '.join(['label IS ?'] * len(labels))})")
            values += labels
        if labels:  # with the same words as in the index
            said = f"instr(provenance, '{says(wanted.provenance)}') > 0"
            yield f"answers_{wanted.provenance}", [said, *source], values
        return
    for label in labels:
        index = "answers_by_source" if source else "answers_by_label"
        yield index, [*source, "label IS ?"], [*values, label]


def _encoded(source: str) -> bytes:
    """A source as the ledger has it; what cannot be a name fits none."""
    try:
        return os.fsencode(source)
    except UnicodeEncodeError:
        return b"\0"


def _labels(database: sqlite3.Connection) -> list[str | None]:
    """The labels in a ledger, None for images without a verdict: one step in the index for each of them."""
    found: list[str | None] = [None]
    following = "SELECT MIN(label) FROM answers INDEXED BY answers_by_label WHERE label NOT NULL AND label > ?"
    last = ""
    while len(found) <= MAX_LABELS:
        ((label,),) = database.execute(following, (last,)).fetchall()
        if label is None:
            break
        found.append(label)
        last = label
    return found


def _times(
    wanted: Filter, ledger: str, before: Position | None, after: Position | None
) -> tuple[list[str], list[object]]:
    """The conditions on time and id, and their values."""
    conditions, values = list[str](), list[object]()
    if wanted.since is not None:
        conditions.append("answered_at >= ?")
        values.append(wanted.since)
    if wanted.until is not None:
        conditions.append("answered_at < ?")
        values.append(wanted.until)
    # Of answers at the same moment, those of the ledger with the greater name are the newer ones.
    if before is not None:
        id_ = before.id if ledger == before.ledger else MAX_ID if ledger < before.ledger else 0
        conditions += ["answered_at <= ?", "(answered_at < ? OR id < ?)"]
        values += [before.answered_at, before.answered_at, id_]
    if after is not None:
        id_ = after.id if ledger == after.ledger else MAX_ID if ledger < after.ledger else 0
        conditions += ["answered_at >= ?", "(answered_at > ? OR id > ?)"]
        values += [after.answered_at, after.answered_at, id_]
    return conditions, values


def items_of(database: sqlite3.Connection, ledger: Path, ids: Sequence[int]) -> list[Item]:
    """The answers with these ids, the newest first."""
    found: list[Item] = []
    for start in range(0, len(ids), MAX_ROWS // 2):  # older SQLite allows 999 variables in a statement
        some = ids[start : start + MAX_ROWS // 2]
        marks = ", ".join("?" * len(some))
        for *row, sha256, folder in database.execute(
            f"SELECT {ANSWER_COLUMNS}, sha256, folder FROM answers WHERE id IN ({marks})", some
        ):
            source = None if folder is None else os.fsdecode(folder)
            try:
                found.append(Item(answer_of_row(tuple(row)), ledger, bytes(sha256), source))
            except (ValueError, KeyError, TypeError) as error:
                raise LedgerError(f"{printable(ledger)}: answer {row[0]} is damaged") from error
    return sorted(found, key=lambda item: item.position, reverse=True)
