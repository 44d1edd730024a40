"""Ledgers whose answers have chosen times, for the tests of pages of answers."""

import hashlib
import sqlite3
from contextlib import closing
from pathlib import Path

from edge.files import FileId
from edge.store.ledger import Entry, Ledger
from edge.verdict import BEGAN, ENDED, Answer, CameraEvent, Failure, Verdict


def verdict(path: str, label: str = "REAL") -> Verdict:
    score = {"REAL": 0.9, "FAKE": 0.1}.get(label, 0.55)
    return Verdict(path, label, score > 0.5, score, max(score, 1 - score), None, 0.02, "photo_int8")


def add(
    state: Path,
    name: str,
    label: str | None = "REAL",
    *,
    at: float,
    source: str = "/in",
    provenance: str | None = None,
    content: bytes | None = None,
) -> int:
    """Record an answer to a file with the time `at`; returns its id. Without a label it is an error."""
    path = f"{source}/{name}"
    answer: Answer = Failure(path, "damaged image data") if label is None else verdict(path, label)
    digest = hashlib.sha256(path.encode("utf-8", "surrogateescape") if content is None else content).digest()
    with Ledger(state) as ledger:
        ledger.record([Entry(path, FileId(1, 2, 3, 4), 0, digest, answer, "m")], source)
    return _set(state, at, provenance)


def add_event(state: Path, camera: str, *, at: float, label: str = "FAKE", snapshot: str | None = None) -> int:
    """Record an event of a camera, its beginning and its end; returns the id of the beginning."""
    with Ledger(state) as ledger:
        for number, kind in enumerate((BEGAN, ENDED)):
            event = CameraEvent(kind, at, snapshot=snapshot)
            ledger.record_event(verdict(camera, label), event, "m", f"{camera} {at} {kind}".encode())
            _set(state, at + number, None)
    return _last(state) - 1


def _set(state: Path, at: float, provenance: str | None) -> int:
    last = _last(state)
    with closing(sqlite3.connect(state / "ledger.sqlite3")) as database, database:
        database.execute("UPDATE answers SET answered_at = ?, provenance = ? WHERE id = ?", (at, provenance, last))
    return last


def _last(state: Path) -> int:
    with closing(sqlite3.connect(state / "ledger.sqlite3")) as database:
        return int(database.execute("SELECT MAX(id) FROM answers").fetchone()[0])
