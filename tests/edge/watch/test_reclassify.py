"""Replacing answers that another model gave (`watch --reclassify`)."""

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
    """An answer for the ledger. The digest of the model is its name and `-digest`."""
    given = verdict(path, answer, model) if isinstance(answer, str) else answer
    return Entry(path, stamp, SEEN_NS, DIGEST, given, f"{model}-digest", target)


def recorded(state: Path) -> list[tuple[int, str, str]]:
    """(id, path, label) of all answers, as `edge-detect results` lists them."""
    found = queries.answers(state / "ledger.sqlite3", Query())
    return [(one.id, one.answer.path, getattr(one.answer, "label", "ERROR")) for one in found]


def count(state: Path, table: str) -> int:
    with closing(sqlite3.connect(state / "ledger.sqlite3")) as database:
        return int(database.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0])


def test_answer_of_another_model_is_unknown_only_if_models_are_named(tmp_path: Path) -> None:
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


def test_answer_outside_of_its_models_domain_is_reclassified_once_there_is_another_model(tmp_path: Path) -> None:
    """The image may go to another model now, though its own is still there."""
    with Ledger(tmp_path) as ledger:
        ledger.record([entry("/in/a", verdict("/in/a", "REAL", "old", outside=OUTSIDE), "old")], ROOT)
        assert ledger.known([("/in/a", STAMP)]) != [None]
        assert ledger.known([("/in/a", STAMP)], {"old-digest", "new-digest"}) == [None]
        asked = [("/in/a", STAMP, DIGEST)]
        assert ledger.answered_as(asked, ROOT, ["new-digest"]) == [None]
        assert ledger.answered_as(asked, ROOT, ["old-digest"]) != [None]


def test_error_is_not_reclassified_by_another_model(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        ledger.record([entry("/in/a", Failure("/in/a", "the file is empty"), "old")], ROOT)
        assert ledger.known([("/in/a", STAMP)], {"new-digest"}) != [None]
        assert ledger.answered_as([("/in/a", STAMP, DIGEST)], ROOT, ["new-digest"]) != [None]
        assert ledger.record([entry("/in/a", Failure("/in/a", "empty"), "new")], ROOT, reclassify=True) == []


def test_reclassified_answer_replaces_the_former_one_and_is_delivered(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        ledger.subscribe(ROOT, "sink")
        ledger.record([entry("/in/a", "REAL", "old"), entry("/in/b", "FAKE", "old")], ROOT)
        ledger.mark_delivered(ROOT, "sink", 2)
        assert ledger.record([entry("/in/b", "UNSURE", "new")], ROOT) == []  # nobody has asked for it
        again = entry("/in/b", "UNSURE", "new")
        assert ledger.record([again], ROOT, reclassify=True) == [again]
        assert recorded(tmp_path) == [(1, "/in/a", "REAL"), (3, "/in/b", "UNSURE")]
        (undelivered,) = ledger.undelivered(ROOT, "sink")
        assert undelivered.id == 3
        assert undelivered.answer == verdict("/in/b", "UNSURE", "new")
        assert ledger.known([("/in/b", STAMP)]) == [AnsweredAs("/in/b", DIGEST, "UNSURE")]
        assert ledger.record([again], ROOT, reclassify=True) == []  # this model has answered


def test_replaced_answer_leaves_no_move_and_no_failed_delivery(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        ledger.record([entry("/in/a", "FAKE", "old", target="/out/FAKE/a")], ROOT)
        ledger.give_up(ROOT, "command", 1, for_now=True)
        ledger.record([entry("/in/a", "REAL", "new", target="/out/REAL/a")], ROOT, reclassify=True)
        assert [move.target for move in ledger.moves(ROOT)] == ["/out/REAL/a"]
        assert ledger.given_up(ROOT, "command") == []
        ledger.record([entry("/in/a", "FAKE", "newest")], ROOT, reclassify=True)
        assert ledger.moves(ROOT) == []
    assert (count(tmp_path, "moves"), count(tmp_path, "given_up")) == (0, 0)


def test_move_that_contradicts_the_recorded_label_is_not_recorded(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        ledger.record([entry("/in/a", "UNSURE", "new")], ROOT)
        ledger.record([entry("/in/a", "FAKE", "new", target="/out/FAKE/a")], ROOT, reclassify=True)
        assert ledger.moves(ROOT) == []
        ledger.record([entry("/in/a", "UNSURE", "new", target="/out/UNSURE/a")], ROOT)
        assert [move.target for move in ledger.moves(ROOT)] == ["/out/UNSURE/a"]


def test_reclassified_file_has_no_answer_under_its_former_name(tmp_path: Path) -> None:
    before, after, root = str(tmp_path / "before"), str(tmp_path / "after"), str(tmp_path)
    with Ledger(tmp_path) as ledger:
        ledger.record([entry(before, "REAL", "old")], root)
        assert ledger.answered_as([(after, STAMP, DIGEST)], root, ["new-digest"]) == [None]
        ledger.record([entry(after, "FAKE", "new")], root, reclassify=True)
        assert recorded(tmp_path) == [(2, after, "FAKE")]
        assert ledger.known([(before, STAMP), (after, STAMP)]) == [None, AnsweredAs(after, DIGEST, "FAKE")]


def test_copy_of_a_reclassified_file_keeps_its_answer(tmp_path: Path) -> None:
    one, another, root = str(tmp_path / "one"), str(tmp_path / "another"), str(tmp_path)
    Path(one).touch()
    Path(another).touch()
    with Ledger(tmp_path) as ledger:
        ledger.record([entry(one, "REAL", "old")], root)
        ledger.record([entry(another, "FAKE", "new")], root, reclassify=True)
        assert recorded(tmp_path) == [(1, one, "REAL"), (2, another, "FAKE")]


def run_until_killed(state: Path, last_lines: str) -> None:
    """Record an answer of the model `old`, mark it as delivered, then run lines of a program that ends in SIGKILL."""
    program = """
import os, signal, sys
from pathlib import Path
from edge.store.ledger import Ledger
from tests.edge.watch.test_reclassify import ROOT, entry
ledger = Ledger(Path(sys.argv[1]))
ledger.subscribe(ROOT, "sink")
ledger.record([entry("/in/a", "REAL", "old")], ROOT)
ledger.mark_delivered(ROOT, "sink", 1)
"""
    done = subprocess.run(
        [sys.executable, "-c", program + last_lines, state], env=environment(), cwd=CHECKOUT, timeout=60, check=False
    )
    assert done.returncode == -signal.SIGKILL


@pytest.mark.parametrize("moment", ["BEGIN", "DELETE", "INSERT", "COMMIT"])
def test_kill_while_recording_leaves_the_former_answer(tmp_path: Path, moment: str) -> None:
    run_until_killed(
        tmp_path,
        f"""
def kill(statement):
    if statement.startswith({moment!r}):
        os.kill(os.getpid(), signal.SIGKILL)
ledger._database.set_trace_callback(kill)
ledger.record([entry("/in/a", "FAKE", "new", target="/out/FAKE/a")], ROOT, reclassify=True)
""",
    )
    with Ledger(tmp_path) as ledger:
        assert recorded(tmp_path) == [(1, "/in/a", "REAL")]
        assert (ledger.undelivered(ROOT, "sink"), ledger.moves(ROOT)) == ([], [])
        assert len(ledger.record([entry("/in/a", "FAKE", "new")], ROOT, reclassify=True)) == 1


def test_answer_is_delivered_after_a_kill_between_recording_and_delivery(tmp_path: Path) -> None:
    run_until_killed(
        tmp_path,
        """
ledger.record([entry("/in/a", "FAKE", "new")], ROOT, reclassify=True)
os.kill(os.getpid(), signal.SIGKILL)
""",
    )
    with Ledger(tmp_path) as ledger:
        assert [one.id for one in ledger.undelivered(ROOT, "sink")] == [2]
    assert recorded(tmp_path) == [(2, "/in/a", "FAKE")]
