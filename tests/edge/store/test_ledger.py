"""The ledger's answers to files."""

import os
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from edge.errors import LedgerError
from edge.files import FileId
from edge.store import schema
from edge.store.ledger import AnsweredAs, Entry, Ledger
from edge.verdict import Failure, Verdict
from tests.conftest import environment

STAMP = FileId(1, 2, 3, 4)
SEEN_NS = 10**10  # ten seconds after the file's time
DIGEST = b"d" * 32


def entry(path: str, digest: bytes = DIGEST, seen_ns: int = SEEN_NS) -> Entry:
    return Entry(path, STAMP, seen_ns, digest, Verdict(path, "REAL", True, 0.9, 0.9, "too large", 0.001), "m")


def answered(path: str) -> AnsweredAs:
    return AnsweredAs(path, DIGEST, "REAL")


def test_answer_is_new_once(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        assert len(ledger.record([entry("/in/a"), entry("/in/a"), entry("/in/b")], "/in")) == 2
        assert ledger.record([entry("/in/a")], "/in") == []
        assert len(ledger.record([entry("/in/a", b"e" * 32)], "/in")) == 1
    with Ledger(tmp_path) as ledger:
        assert ledger.answered_as([("/in/b", STAMP, DIGEST)], "/in")[0] == answered("/in/b")


def test_file_seen_just_after_its_write_is_not_known(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        ledger.record([entry("/in/a", seen_ns=STAMP.mtime_ns + 10**6)], "/in")
        assert ledger.known([("/in/a", STAMP)])[0] is None
        assert ledger.answered_as([("/in/a", STAMP, DIGEST)], "/in")[0] == answered("/in/a")
        ledger.record([Entry("/in/a", STAMP, SEEN_NS, DIGEST, answered("/in/a"), "m")], "/in")
        assert ledger.known([("/in/a", STAMP)])[0] == answered("/in/a")


def test_renamed_file_keeps_its_answer(tmp_path: Path) -> None:
    before, after = str(tmp_path / "before"), str(tmp_path / "after")
    with Ledger(tmp_path) as ledger:
        ledger.record([entry(before)], "/in")
        assert ledger.answered_as([(after, STAMP, b"other")], str(tmp_path))[0] is None
        assert ledger.answered_as([(after, STAMP, DIGEST)], str(tmp_path / "elsewhere"))[0] is None
        assert ledger.answered_as([(after, STAMP, DIGEST)], str(tmp_path))[0] == answered(before)
        assert ledger.record([Entry(after, STAMP, SEEN_NS, DIGEST, answered(before), "m")], "/in") == []
        assert ledger.known([(before, STAMP)])[0] is None
        assert ledger.known([(after, STAMP)])[0] == answered(after)
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite3")) as database:
        rows = database.execute("SELECT path, label, score FROM answers").fetchall()
    assert rows == [(os.fsencode(after), "REAL", 0.9)]


def test_failure_is_recorded_with_reason(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        ledger.record([Entry("/in/a", STAMP, SEEN_NS, DIGEST, Failure("/in/a", "the file is empty"), "m")], "/in")
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite3")) as database:
        rows = database.execute("SELECT label, score, error FROM answers").fetchall()
    assert rows == [(None, None, "the file is empty")]


def test_several_processes_can_share_a_ledger(tmp_path: Path) -> None:
    def record(state: Path) -> int:
        with Ledger(state) as ledger:
            return sum(len(ledger.record([entry(f"/in/{number}")], "/in")) for number in range(20))

    for attempt in range(20):  # all of them create it at once, each time
        state = tmp_path / str(attempt)
        with ThreadPoolExecutor(4) as pool:
            assert sum(pool.map(record, [state] * 4)) == 20


def test_unwritable_ledger_is_an_error_on_open(tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("only the super-user can give a ledger to another account")
    Ledger(tmp_path).close()
    tmp_path.chmod(0o755)
    program = "import os, sys; from edge.store.ledger import Ledger; from pathlib import Path; os.seteuid(54321)\n"
    program += "Ledger(Path(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path], env=environment(), capture_output=True, text=True, timeout=20
    )
    assert done.stderr.splitlines()[-1].startswith("edge.errors.LedgerError: ")


def test_ledger_of_earlier_version_keeps_its_answers(tmp_path: Path) -> None:
    database = sqlite3.connect(tmp_path / "ledger.sqlite3")
    for statement in schema.MIGRATIONS[0]:
        database.execute(statement)
    database.execute("PRAGMA user_version = 1")
    database.execute(
        "INSERT INTO answers (path, sha256, label, score, model_sha256, answered_at) VALUES (?, ?, 'REAL', 1, '', 0)",
        (b"/inbox/a.jpg", b"1"),
    )
    database.commit()
    database.close()
    with Ledger(tmp_path) as migrated:
        assert migrated.answered_as([("/inbox/a.jpg", STAMP, b"1")], "/inbox")[0] is not None
        assert migrated.record([entry("/inbox/b.jpg", b"2")], "/inbox")
    database = sqlite3.connect(tmp_path / "ledger.sqlite3")
    assert database.execute("SELECT outside FROM answers ORDER BY id").fetchall() == [(None,), ("too large",)]
    assert database.execute("PRAGMA user_version").fetchone() == (schema.VERSION,)
    database.close()


@pytest.mark.parametrize(
    ("label", "score", "is_real"),
    [
        ("REAL", 0.9, True),
        ("REAL", 0.45, True),
        ("FAKE", 0.5, False),
        ("FAKE", 0.55, False),
        ("UNSURE", 0.45, False),
        ("UNSURE", 0.5, False),
        ("UNSURE", 0.55, True),
    ],
)
def test_verdict_round_trips_through_ledger(tmp_path: Path, label: str, score: float, is_real: bool) -> None:
    confidence = max(score, 1 - score) if label == "UNSURE" else score if is_real else 1 - score
    verdict = Verdict("/in/a", label, is_real, score, confidence, None, 0.001, "photo_int8")
    with Ledger(tmp_path) as ledger:
        ledger.record([Entry("/in/a", STAMP, SEEN_NS, DIGEST, verdict, "m")], "/in")
        (received,) = ledger.undelivered("/in", "sink")
    assert received.answer == verdict
    assert received.as_json()["model"] == "photo_int8"


def test_old_answer_without_model_name_is_read(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite3")) as database:
        for statement in (one for migration in schema.MIGRATIONS[:4] for one in migration):
            database.execute(statement)
        database.execute("PRAGMA user_version = 4")
        database.execute(
            "INSERT INTO answers (path, sha256, label, score, confidence, model_sha256, answered_at, folder)"
            " VALUES (?, ?, 'FAKE', 0.25, 0.75, 'm', 0, ?)",
            (b"/in/a.jpg", b"1", b"/in"),
        )
        database.commit()
    with Ledger(tmp_path) as migrated:
        migrated.record([entry("/in/bad.jpg", b"2")], "/in")
        before, _ = migrated.undelivered("/in", "sink")
    assert before.answer == Verdict("/in/a.jpg", "FAKE", False, 0.25, 0.75, None, 0.0, "")
    assert before.as_json()["model"] is None


def test_ledger_of_later_version_is_unchanged(tmp_path: Path) -> None:
    Ledger(tmp_path).close()
    database = sqlite3.connect(tmp_path / "ledger.sqlite3")
    database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(LedgerError, match="later edge-detect"):
        Ledger(tmp_path)


def test_group_of_files_is_looked_up_in_order(tmp_path: Path) -> None:
    here, gone, moved = (str(tmp_path / name) for name in ("here.png", "gone.png", "moved.png"))
    for path in (here, moved):
        Path(path).touch()
    other = FileId(1, 99, 3, 4)
    with Ledger(tmp_path) as ledger:
        ledger.record([entry(here), entry(gone, b"g" * 32)], str(tmp_path))
        root = str(tmp_path)
        asked = [
            ("/elsewhere", STAMP, DIGEST),  # this path does not exist: its file is at `here` now
            (here, other, DIGEST),  # known by its path
            (moved, STAMP, b"g" * 32),  # it was called `gone` before
            (moved, other, b"new" * 10),
        ]
        found = ledger.answered_as(asked, root)
        assert [one and one.path for one in found] == [here, here, gone, None]
        known = ledger.known([(gone, STAMP), ("/in/new", STAMP), (here, other), (here, STAMP)])
        assert [one and one.path for one in known] == [gone, None, None, here]
        assert ledger.known([]) == []
