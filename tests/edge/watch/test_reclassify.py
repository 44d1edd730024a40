"""An answer in the place of one that another model gave."""

import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from edge.files import FileId
from edge.store import queries
from edge.store.ledger import AnsweredAs, Entry, Ledger
from edge.store.queries import Query
from edge.verdict import Answer, Failure, Verdict
from tests.conftest import CHECKOUT, environment

ROOT = "/in"
STAMP, SEEN_NS, DIGEST = FileId(1, 2, 3, 4), 10**10, b"d" * 32
OUTSIDE = "640 x 480 pixels; the model was measured on 32 x 32"


def verdict(path: str, label: str, model: str, *, outside: str | None = None) -> Verdict:
    score = {"REAL": 0.9, "FAKE": 0.1, "UNSURE": 0.4}[label]
    return Verdict(path, label, label == "REAL", score, max(score, 1 - score), outside, 0.001, model)


def entry(path: str, answer: Answer | str, model: str, *, target: str | None = None, stamp: FileId = STAMP) -> Entry:
    """By the model whose digest is its name and `-digest`."""
    given = verdict(path, answer, model) if isinstance(answer, str) else answer
    return Entry(path, stamp, SEEN_NS, DIGEST, given, f"{model}-digest", target)


def told(state: Path) -> list[tuple[int, str, str]]:
    """(id, path, label) of all answers, as `edge-detect results` has them."""
    found = queries.answers(state / "ledger.sqlite3", Query())
    return [(one.id, one.answer.path, getattr(one.answer, "label", "ERROR")) for one in found]


def count(state: Path, table: str) -> int:
    with closing(sqlite3.connect(state / "ledger.sqlite3")) as database:
        return int(database.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0])


def test_answers_of_other_models_are_good_unless_it_is_asked_for_certain_ones(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        ledger.record([entry("/in/a", "REAL", "old")], ROOT)
        answered = [AnsweredAs("/in/a", DIGEST, "REAL")]
        assert ledger.known([("/in/a", STAMP)]) == answered
        assert ledger.known([("/in/a", STAMP)], {"old-digest", "new-digest"}) == answered
        assert ledger.known([("/in/a", STAMP)], {"new-digest"}) == [None]
        asked = [("/in/a", STAMP, DIGEST)]
        assert ledger.answered_as(asked, ROOT) == answered
        assert ledger.answered_as(asked, ROOT, [None]) == answered
        assert ledger.answered_as(asked, ROOT, ["old-digest"]) == answered
        assert ledger.answered_as(asked, ROOT, ["new-digest"]) == [None]


def test_an_answer_outside_of_a_models_domain_is_looked_at_again(tmp_path: Path) -> None:
    """The image may go to another model now, though its own is still there."""
    with Ledger(tmp_path) as ledger:
        ledger.record([entry("/in/a", verdict("/in/a", "REAL", "old", outside=OUTSIDE), "old")], ROOT)
        assert ledger.known([("/in/a", STAMP)]) != [None]
        assert ledger.known([("/in/a", STAMP)], {"old-digest", "new-digest"}) == [None]
        asked = [("/in/a", STAMP, DIGEST)]
        assert ledger.answered_as(asked, ROOT, ["new-digest"]) == [None]
        assert ledger.answered_as(asked, ROOT, ["old-digest"]) != [None]


def test_an_error_is_no_models_answer(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        ledger.record([entry("/in/a", Failure("/in/a", "the file is empty"), "old")], ROOT)
        assert ledger.known([("/in/a", STAMP)], {"new-digest"}) != [None]
        assert ledger.answered_as([("/in/a", STAMP, DIGEST)], ROOT, ["new-digest"]) != [None]
        assert ledger.record([entry("/in/a", Failure("/in/a", "empty"), "new")], ROOT, reclassify=True) == []


def test_a_new_answer_takes_the_place_of_the_former_and_is_told_as_new(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        ledger.subscribe(ROOT, "sink")
        ledger.record([entry("/in/a", "REAL", "old"), entry("/in/b", "FAKE", "old")], ROOT)
        ledger.mark_delivered(ROOT, "sink", 2)
        assert ledger.record([entry("/in/b", "UNSURE", "new")], ROOT) == []  # nobody has asked for it
        again = entry("/in/b", "UNSURE", "new")
        assert ledger.record([again], ROOT, reclassify=True) == [again]
        assert told(tmp_path) == [(1, "/in/a", "REAL"), (3, "/in/b", "UNSURE")]
        (undelivered,) = ledger.undelivered(ROOT, "sink")
        assert undelivered.id == 3
        assert undelivered.answer == verdict("/in/b", "UNSURE", "new")
        assert ledger.known([("/in/b", STAMP)]) == [AnsweredAs("/in/b", DIGEST, "UNSURE")]
        assert ledger.record([again], ROOT, reclassify=True) == []  # this model has answered


def test_of_a_former_answer_nothing_follows_any_more(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        ledger.record([entry("/in/a", "FAKE", "old", target="/out/FAKE/a")], ROOT)
        ledger.give_up(ROOT, "command", 1, for_now=True)
        ledger.record([entry("/in/a", "REAL", "new", target="/out/REAL/a")], ROOT, reclassify=True)
        assert [move.target for move in ledger.moves(ROOT)] == ["/out/REAL/a"]
        assert ledger.given_up(ROOT, "command") == []
        ledger.record([entry("/in/a", "FAKE", "newest")], ROOT, reclassify=True)
        assert ledger.moves(ROOT) == []
    assert (count(tmp_path, "moves"), count(tmp_path, "given_up")) == (0, 0)


def test_a_file_is_never_moved_against_the_answer_that_stands(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        ledger.record([entry("/in/a", "UNSURE", "new")], ROOT)
        ledger.record([entry("/in/a", "FAKE", "new", target="/out/FAKE/a")], ROOT, reclassify=True)
        assert ledger.moves(ROOT) == []
        ledger.record([entry("/in/a", "UNSURE", "new", target="/out/UNSURE/a")], ROOT)
        assert [move.target for move in ledger.moves(ROOT)] == ["/out/UNSURE/a"]


def test_a_file_that_was_renamed_since_keeps_no_answer_under_its_former_name(tmp_path: Path) -> None:
    before, after, root = str(tmp_path / "before"), str(tmp_path / "after"), str(tmp_path)
    with Ledger(tmp_path) as ledger:
        ledger.record([entry(before, "REAL", "old")], root)
        assert ledger.answered_as([(after, STAMP, DIGEST)], root, ["new-digest"]) == [None]
        ledger.record([entry(after, "FAKE", "new")], root, reclassify=True)
        assert told(tmp_path) == [(2, after, "FAKE")]
        assert ledger.known([(before, STAMP), (after, STAMP)]) == [None, AnsweredAs(after, DIGEST, "FAKE")]


def test_a_copy_keeps_its_own_answer(tmp_path: Path) -> None:
    one, another, root = str(tmp_path / "one"), str(tmp_path / "another"), str(tmp_path)
    Path(one).touch()
    Path(another).touch()
    with Ledger(tmp_path) as ledger:
        ledger.record([entry(one, "REAL", "old")], root)
        ledger.record([entry(another, "FAKE", "new")], root, reclassify=True)
        assert told(tmp_path) == [(1, one, "REAL"), (2, another, "FAKE")]


@pytest.mark.parametrize("moment", ["BEGIN", "DELETE", "INSERT", "COMMIT"])
def test_a_kill_leaves_the_former_answer_or_the_new_one(tmp_path: Path, moment: str) -> None:
    program = f"""
import os, signal, sys
from pathlib import Path
from edge.store.ledger import Ledger
from tests.edge.watch.test_reclassify import ROOT, entry
with Ledger(Path(sys.argv[1])) as ledger:
    ledger.subscribe(ROOT, "sink")
    ledger.record([entry("/in/a", "REAL", "old")], ROOT)
    ledger.mark_delivered(ROOT, "sink", 1)
    def kill(statement: str) -> None:
        if statement.startswith({moment!r}):
            os.kill(os.getpid(), signal.SIGKILL)
    ledger._database.set_trace_callback(kill)
    ledger.record([entry("/in/a", "FAKE", "new", target="/out/FAKE/a")], ROOT, reclassify=True)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path],
        env=environment(),
        cwd=CHECKOUT,
        timeout=60,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    with Ledger(tmp_path) as ledger:
        assert told(tmp_path) == [(1, "/in/a", "REAL")]
        assert (ledger.undelivered(ROOT, "sink"), ledger.moves(ROOT)) == ([], [])
        assert len(ledger.record([entry("/in/a", "FAKE", "new")], ROOT, reclassify=True)) == 1


def test_a_kill_between_the_record_and_the_telling_is_made_good(tmp_path: Path) -> None:
    program = f"""
import os, signal, sys
from pathlib import Path
from edge.store.ledger import Ledger
from tests.edge.watch.test_reclassify import ROOT, entry
with Ledger(Path(sys.argv[1])) as ledger:
    ledger.subscribe(ROOT, "sink")
    ledger.record([entry("/in/a", "REAL", "old")], ROOT)
    ledger.mark_delivered(ROOT, "sink", 1)
    ledger.record([entry("/in/a", "FAKE", "new")], ROOT, reclassify=True)
    os.kill(os.getpid(), {int(signal.SIGKILL)})
"""
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path],
        env=environment(),
        cwd=CHECKOUT,
        timeout=60,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    with Ledger(tmp_path) as ledger:
        assert [one.id for one in ledger.undelivered(ROOT, "sink")] == [2]
    assert told(tmp_path) == [(2, "/in/a", "FAKE")]
