"""The answers of a ledger as they come: those after an id, or after a cursor, for whoever follows a ledger."""

import sqlite3
from dataclasses import dataclass
from pathlib import Path

from edge.store.history import MAX_ROWS, Item, items_of, reading
from edge.verdict import FRAME


def newer(ledger: Path, id_: int, limit: int) -> list[Item]:
    """The last answers of a ledger with greater ids, the oldest first: at most `limit`, without those before them.

    Raises:
        LedgerError: see `edge.store.history.reading`.
    """
    with reading(ledger) as database:
        ids = database.execute("SELECT id FROM answers WHERE id > ? ORDER BY id DESC LIMIT ?", (id_, limit)).fetchall()
        items = items_of(database, ledger, [found for (found,) in ids])
        return sorted(items, key=lambda item: item.recorded.id)


@dataclass(frozen=True)
class Step:
    """Some answers of a ledger in the order of their ids.

    Attributes:
        items: without single frames of cameras.
        last: id and time of the last answer that was read, also if it is a frame; None if there are no more.
    """

    items: list[Item]
    last: tuple[int, float] | None


def following(ledger: Path, cursor: tuple[int, float] | None, limit: int) -> Step:
    """The answers after a cursor, the oldest first. Nothing is left out if it is called with `last` again and again.

    Args:
        cursor: id and time of the last answer that was read, as in `Step.last`; None: begin with the first. If the
            answer with this id has another time, another ledger lies at this path now: it begins with the first.
        limit: greatest number of answers.

    Raises:
        LedgerError: see `edge.store.history.reading`.
    """
    with reading(ledger) as database:
        id_ = cursor[0] if cursor is not None and _is_same(database, cursor) else 0
        rows = database.execute(
            "SELECT id, answered_at, state FROM answers WHERE id > ? ORDER BY id LIMIT ?", (id_, min(limit, MAX_ROWS))
        ).fetchall()
        items = items_of(database, ledger, [id_ for id_, _, state in rows if state != FRAME])
        items.sort(key=lambda item: item.recorded.id)
        return Step(items, (rows[-1][0], rows[-1][1]) if rows else None)


def _is_same(database: sqlite3.Connection, cursor: tuple[int, float]) -> bool:
    """Whether a cursor belongs to this ledger, as far as one can see."""
    id_, answered_at = cursor
    row = database.execute("SELECT answered_at FROM answers WHERE id = ?", (id_,)).fetchone()
    (last,) = database.execute("SELECT IFNULL(MAX(id), 0) FROM answers").fetchone()
    return bool(last >= id_ and (row is None or row[0] == answered_at))


def end(ledger: Path, back: int = 0) -> tuple[int, float]:
    """The cursor of `following` after which only later answers come, and the last `back` ones.

    Raises:
        LedgerError: see `edge.store.history.reading`.
    """
    with reading(ledger) as database:
        row = database.execute(
            "SELECT id, answered_at FROM answers ORDER BY id DESC LIMIT 1 OFFSET ?", (back,)
        ).fetchone()
        return (int(row[0]), float(row[1])) if row else (0, 0.0)


def last_id(ledger: Path) -> int:
    """The greatest id of a ledger; 0 if it has no answers.

    Raises:
        LedgerError: see `edge.store.history.reading`.
    """
    with reading(ledger) as database:
        (found,) = database.execute("SELECT IFNULL(MAX(id), 0) FROM answers").fetchone()
        return int(found)
