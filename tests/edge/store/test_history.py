"""Pages of recorded answers: order, filters, positions, and what they cost."""

import json
import os
import random
import sqlite3
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path

import pytest

from edge.errors import LedgerError
from edge.store import feed, history, schema
from edge.store.history import Filter, Item, Position
from edge.store.ledger import Ledger
from edge.verdict import Verdict
from tests.conftest import environment, without_privileges
from tests.support.histories import add, add_event

SAYS = '[{{"kind":"c2pa","says":"{}","program":"x","detail":null,"verified":true}}]'
FILE = schema.FILE


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """Eight answers of two folders and a camera, one a second."""
    add(tmp_path, "a.jpg", "REAL", at=1)
    add(tmp_path, "b.jpg", "FAKE", at=2, provenance=SAYS.format("generated"))
    add(tmp_path, "c.jpg", None, at=3)
    add(tmp_path, "d.jpg", "UNSURE", at=4, source="/other", provenance=SAYS.format("captured"))
    add_event(tmp_path, "porch", at=5)
    add(tmp_path, "e.jpg", "FAKE", at=7, source="/other")
    add(tmp_path, "f.jpg", "REAL", at=8, provenance=SAYS.format("edited").replace("x", r"\"says\":\"generated\""))
    return tmp_path / FILE


def names(items: list[Item]) -> list[str]:
    return [os.path.basename(item.recorded.answer.path) for item in items]


def test_page_is_newest_first(ledger: Path) -> None:
    assert names(history.page(ledger, Filter())) == [
        "f.jpg",
        "e.jpg",
        "porch",
        "porch",
        "d.jpg",
        "c.jpg",
        "b.jpg",
        "a.jpg",
    ]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Filter("FAKE"), "e.jpg porch porch b.jpg"),
        (Filter("fake", "/other"), "e.jpg"),
        (Filter("ERROR"), "c.jpg"),
        (Filter("error", "/other"), ""),
        (Filter("DOG"), ""),
        (Filter(source="porch"), "porch porch"),
        (Filter(source="/in"), "f.jpg c.jpg b.jpg a.jpg"),
        (Filter(source="/missing"), ""),
        (Filter(source="\ud800"), ""),
        (Filter(since=3, until=5), "d.jpg c.jpg"),
        (Filter("FAKE", since=2, until=2), ""),
        (Filter(provenance="generated"), "b.jpg"),
        (Filter(provenance="edited"), "f.jpg"),
        (Filter(provenance="captured", source="/other"), "d.jpg"),
        (Filter("REAL", provenance="captured"), ""),
        (Filter("ERROR", provenance="captured"), ""),
        (Filter("DOG", provenance="captured"), ""),
    ],
)
def test_filter_selects(ledger: Path, wanted: Filter, expected: str) -> None:
    assert names(history.page(ledger, wanted)) == expected.split()


@pytest.mark.parametrize("wanted", [Filter(provenance="x' OR 1"), Filter(since=float("nan"))])
def test_invalid_filter_is_an_error(ledger: Path, wanted: Filter) -> None:
    with pytest.raises(ValueError, match="must be"):
        history.page(ledger, wanted)


def test_damaged_row_is_an_error_that_names_it(ledger: Path) -> None:
    add(ledger.parent, "broken.jpg", at=9, provenance='{"says":"generated"')
    with pytest.raises(LedgerError, match="answer 9 is damaged"):
        history.page(ledger, Filter(provenance="generated"))


def test_pages_in_both_directions_hold_every_answer_once(tmp_path: Path) -> None:
    chance = random.Random(3)
    for number in range(60):  # many at the same moment, and clocks that were set back
        add(tmp_path, f"{number}", chance.choice(("REAL", "FAKE", None)), at=chance.randrange(8))
    ledger = tmp_path / FILE
    everything = history.page(ledger, Filter(), limit=1000)
    assert [item.position for item in everything] == sorted((item.position for item in everything), reverse=True)
    for limit in (1, 7, 60):
        forwards: list[Item] = []
        while page := history.page(ledger, Filter(), before=forwards[-1].position if forwards else None, limit=limit):
            forwards += page
        assert forwards == everything
        backwards = [everything[-1]]
        while page := history.page(ledger, Filter(), after=backwards[0].position, limit=limit):
            backwards = page + backwards
        assert backwards == everything


def test_position_of_other_ledger_divides_answers_of_same_moment(tmp_path: Path) -> None:
    ledgers = []
    for name in ("one", "two"):
        for number in range(3):
            add(tmp_path / name, str(number), at=5)
        ledgers.append(tmp_path / name / FILE)
    everything = sorted(
        (item for ledger in ledgers for item in history.page(ledger, Filter())), key=lambda one: one.position
    )
    for index, item in enumerate(everything):
        older = [one for ledger in ledgers for one in history.page(ledger, Filter(), before=item.position)]
        newer = [one for ledger in ledgers for one in history.page(ledger, Filter(), after=item.position)]
        assert sorted(older, key=lambda one: one.position) == everything[:index]
        assert sorted(newer, key=lambda one: one.position) == everything[index + 1 :]


def test_position_and_key_round_trip(ledger: Path) -> None:
    item = history.page(ledger, Filter())[0]
    assert Position.parse(str(item.position)) == item.position
    assert history.parse_key(item.key) == (history.ledger_name(ledger), item.recorded.id)
    assert str(ledger.parent) not in item.key


@pytest.mark.parametrize(
    "text", ["", "1", "x" * 5000, "../etc", "7ff8000000000000-00000000-1", "0" * 16 + "-0-1", "1-²"]
)
def test_invalid_position_and_key_are_errors(text: str) -> None:
    with pytest.raises(ValueError, match="invalid"):
        Position.parse(text)
    with pytest.raises(ValueError, match="invalid"):
        history.parse_key(text)


def test_one_answer_is_found_by_id(ledger: Path) -> None:
    found = history.one(ledger, 2)
    assert found is not None
    assert isinstance(found.recorded.answer, Verdict)
    assert (found.recorded.answer.path, found.source) == ("/in/b.jpg", "/in")
    assert history.one(ledger, 99) is None
    assert history.one(ledger, 10**18) is None


def test_newer_returns_last_answers_oldest_first(ledger: Path) -> None:
    assert [item.recorded.id for item in feed.newer(ledger, 3, 10)] == [4, 5, 6, 7, 8]
    assert [item.recorded.id for item in feed.newer(ledger, 3, 2)] == [7, 8]
    assert feed.last_id(ledger) == 8


def test_sources_are_folders_and_cameras(ledger: Path) -> None:
    assert history.sources(ledger) == [
        history.Source("/in", False, 8.0),
        history.Source("/other", False, 7.0),
        history.Source("porch", True, 6.0),
    ]


def test_event_counts_once(ledger: Path) -> None:
    assert history.counts_since(ledger, 0) == {"REAL": 2, "FAKE": 3, "UNSURE": 1, "ERROR": 1}
    assert history.counts_since(ledger, 6) == {"REAL": 1, "FAKE": 1}
    assert history.counts_since(ledger, 100) == {}


def test_names_of_any_bytes_are_read(tmp_path: Path) -> None:
    add(tmp_path, "\udcff<img>\n", at=1, source="/in\udcfe")
    (item,) = history.page(tmp_path / FILE, Filter(source="/in\udcfe"))
    assert item.source == "/in\udcfe"
    assert item.recorded.answer.path == "/in\udcfe/\udcff<img>\n"


def test_empty_ledger_has_an_empty_page(tmp_path: Path) -> None:
    Ledger(tmp_path).close()
    ledger = tmp_path / FILE
    assert history.page(ledger, Filter()) == []
    assert history.sources(ledger) == []
    assert history.counts_since(ledger, 0) == {}
    assert feed.last_id(ledger) == 0


def test_missing_and_damaged_ledgers_are_errors_that_name_the_file(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="no such ledger"):
        history.page(tmp_path / FILE, Filter())
    (tmp_path / FILE).write_bytes(b"SQLite format 3\0" + bytes(5000))
    with pytest.raises(LedgerError, match=FILE):
        history.page(tmp_path / FILE, Filter())


def test_later_version_is_an_error_and_earlier_one_is_migrated(tmp_path: Path) -> None:
    ledger = tmp_path / FILE
    with closing(sqlite3.connect(ledger)) as database, database:
        for statement in (one for migration in schema.MIGRATIONS[:6] for one in migration):
            database.execute(statement)
        database.execute("PRAGMA user_version = 6")
    with pytest.raises(LedgerError, match="earlier edge-detect"):
        history.page(ledger, Filter())
    history.migrate(ledger)
    history.migrate(ledger)
    assert history.page(ledger, Filter()) == []
    with closing(sqlite3.connect(ledger)) as database:
        database.execute("PRAGMA user_version = 99")
    with pytest.raises(LedgerError, match="later edge-detect"):
        history.page(ledger, Filter())


def test_large_ledger_reports_migration(tmp_path: Path, logged: list[str]) -> None:
    with closing(sqlite3.connect(tmp_path / FILE)) as database, database:
        for statement in (one for migration in schema.MIGRATIONS[:6] for one in migration):
            database.execute(statement)
        database.execute("PRAGMA user_version = 6")
        database.execute(
            "INSERT INTO answers (id, path, sha256, model_sha256, answered_at) VALUES (?, x'', x'', '', 0)",
            (schema.MANY_ANSWERS,),
        )
    history.migrate(tmp_path / FILE)
    assert [f"of {schema.MANY_ANSWERS} answers" in line for line in logged] == [True]
    Ledger(tmp_path).close()
    assert len(logged) == 1


def test_reader_cannot_write(ledger: Path) -> None:
    with pytest.raises(LedgerError, match="readonly"), history.reading(ledger) as database:
        database.execute("DELETE FROM answers")
    assert len(history.page(ledger, Filter())) == 8


def test_ledger_of_killed_writer_is_read(tmp_path: Path) -> None:
    add(tmp_path, "a.jpg", at=1)
    program = (
        "import os, sys\nfrom pathlib import Path\nfrom tests.support.histories import add\n"
        "from edge.store.ledger import Ledger\nstate = Path(sys.argv[1])\n"
        "open_too = Ledger(state)\nadd(state, 'b.jpg', at=2)\nos.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", program, tmp_path], env=environment(), timeout=60)
    assert os.path.getsize(f"{tmp_path / FILE}-wal"), "the answer must still be in the write-ahead log"
    assert names(history.page(tmp_path / FILE, Filter())) == ["b.jpg", "a.jpg"]


def test_ledger_without_write_permission_is_read(ledger: Path) -> None:
    program = (
        "import sys\nfrom pathlib import Path\nfrom edge.store.history import Filter, page\n"
        "print(len(page(Path(sys.argv[1]), Filter())))"
    )
    ledger.chmod(0o444)
    ledger.parent.chmod(0o555)
    try:
        words = [*without_privileges(), sys.executable, "-c", program, ledger]
        done = subprocess.run(words, env=environment(), capture_output=True, text=True, timeout=60)
    finally:
        ledger.parent.chmod(0o755)
    assert done.stdout == "8\n", done.stderr


def test_ledger_on_full_disk_is_read(tmp_path: Path) -> None:
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", tmp_path]).returncode:
        pytest.skip("only the super-user can mount a small disk")
    try:
        add(tmp_path, "a.jpg", at=1)
        with suppress(OSError), open(tmp_path / "fill", "wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        assert names(history.page(tmp_path / FILE, Filter())) == ["a.jpg"]
        assert history.counts_since(tmp_path / FILE, 0) == {"REAL": 1}
    finally:
        subprocess.run(["umount", "--lazy", tmp_path], check=True)
    assert not [path for path in Path("/proc/self/fd").iterdir() if os.path.realpath(path).startswith(f"{tmp_path}/")]


def test_no_snapshot_stays_open_after_a_page(ledger: Path) -> None:
    with Ledger(ledger.parent) as writer:
        history.page(ledger, Filter())
        history.sources(ledger)
        with closing(sqlite3.connect(ledger)) as other:
            busy, _, _ = other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        assert busy == 0
        assert os.path.getsize(f"{ledger}-wal") == 0
        assert writer.is_there


@pytest.mark.parametrize(
    "wanted",
    [
        Filter(),
        Filter("FAKE"),
        Filter("ERROR", "/in"),
        Filter(source="/in", since=1, until=9),
        Filter("FAKE", "/in", 1, 9, "generated"),
    ],
    ids=str,
)
def test_queries_are_answered_by_an_index_without_sorting(ledger: Path, wanted: Filter) -> None:
    before = history.page(ledger, Filter())[0].position
    with history.reading(ledger) as database:
        times, times_values = history._times(wanted, history.ledger_name(ledger), before, None)
        for index, conditions, values in history._arms(database, wanted):
            plan = database.execute(
                f"EXPLAIN QUERY PLAN SELECT answered_at, id FROM answers INDEXED BY {index}"
                f" WHERE {' AND '.join([*times, *conditions])} ORDER BY answered_at DESC, id DESC LIMIT 9",
                [*times_values, *values],
            ).fetchall()
            steps = json.dumps([row[3] for row in plan])
            assert index in steps
            assert "B-TREE" not in steps, steps
            if not wanted.provenance:  # whose condition of the index SQLite checks again
                assert "COVERING" in steps
