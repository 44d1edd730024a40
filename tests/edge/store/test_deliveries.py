"""Answers that are to be delivered: from memory just after their commit, else read from the ledger."""

import os
from pathlib import Path

import pytest

from edge.files import FileId
from edge.store.ledger import AnsweredAs, Entry, Ledger
from edge.verdict import GENERATED, Evidence, Failure, Recorded, Verdict

ROOT, SINK = "/in", "output"


def entry(name: str, answer: Verdict | Failure | AnsweredAs | None = None, target: str | None = None) -> Entry:
    given = answer or Verdict(name, "REAL", True, 0.9, 0.9, "too large", 0.0012344, "m")
    return Entry(f"{ROOT}/{name}", FileId(1, len(name), 3, 4), 5, os.fsencode(name).ljust(32), given, "d", target)


def read_back(folder: Path, limit: int = 256) -> list[Recorded]:
    with Ledger(folder, check="") as other:
        return other.undelivered(ROOT, SINK, limit)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    ledger = Ledger(tmp_path)
    ledger.subscribe(ROOT, SINK)
    return ledger


def as_json(answers: list[Recorded]) -> list[object]:
    return [answer.as_json() for answer in answers]


def test_answers_from_memory_are_those_in_the_ledger(ledger: Ledger, tmp_path: Path) -> None:
    undecodable = "b\udcff\n.jpg"
    given = [
        entry("a.jpg"),
        entry(undecodable),
        entry("c.jpg", Failure("c.jpg", "the file is empty")),
        entry("d.jpg", Verdict("d.jpg", "UNSURE", False, 1 / 3, 2 / 3, None, 1 / 3)),
    ]
    with ledger:
        assert ledger.record(given, ROOT) == given
        found = ledger.undelivered(ROOT, SINK)
        assert ledger._latest == (ROOT, found)
        assert as_json(found) == as_json(read_back(tmp_path))
        assert [answer.answer.path for answer in found][:2] == ["/in/a.jpg", f"/in/{undecodable}"]
        assert as_json(ledger.undelivered(ROOT, SINK, 3)) == as_json(read_back(tmp_path, 3))
        ledger.mark_delivered(ROOT, SINK, found[1].id)
        assert as_json(ledger.undelivered(ROOT, SINK)) == as_json(found[2:]) == as_json(read_back(tmp_path))
        ledger.mark_delivered(ROOT, SINK, found[-1].id)
        assert ledger.undelivered(ROOT, SINK) == []


def test_older_answers_come_first_and_those_of_other_folders_never(ledger: Ledger, tmp_path: Path) -> None:
    with ledger:
        ledger.record([entry("a.jpg"), entry("b.jpg")], ROOT)
        ledger.record([entry("other.jpg")], "/other")
        assert len(ledger.undelivered(ROOT, SINK)) == 2
        ledger.record([entry("c.jpg")], ROOT)
        found = ledger.undelivered(ROOT, SINK)
        assert [answer.id for answer in found] == [1, 2, 4]
        assert as_json(found) == as_json(read_back(tmp_path))
        ledger.mark_delivered(ROOT, SINK, 2)
        assert [answer.id for answer in ledger.undelivered(ROOT, SINK)] == [4]
        assert [answer.id for answer in ledger.undelivered(ROOT, "new sink", 1)] == [1]


SAYS = (Evidence("text", GENERATED, "ComfyUI", prompt="not stored"),)


@pytest.mark.parametrize(
    "one",
    [
        entry("b.jpg", target="/out/REAL/b.jpg"),
        entry("b.jpg", AnsweredAs("/in/a.jpg", b"a.jpg".ljust(32), "REAL")),
        entry("b.jpg", Verdict("b.jpg", "FAKE", False, 0.1, 0.9, None, 0.1, provenance=SAYS)),
    ],
    ids=["to be moved", "answered before", "with provenance"],
)
def test_answers_that_differ_in_the_ledger_are_read_back(ledger: Ledger, tmp_path: Path, one: Entry) -> None:
    with ledger:
        ledger.record([entry("a.jpg"), one], ROOT)
        assert ledger._latest is None
        assert as_json(ledger.undelivered(ROOT, SINK)) == as_json(read_back(tmp_path)) != []


def test_nothing_is_delivered_from_memory_after_a_failed_commit_or_a_new_ledger(ledger: Ledger, tmp_path: Path) -> None:
    with ledger:
        ledger.record([entry("a.jpg")], ROOT)
        with pytest.raises(AttributeError):  # amid the transaction
            ledger.record([entry("b.jpg"), entry("c.jpg")._replace(stamp=None)], ROOT)  # type: ignore[arg-type]
        assert [answer.id for answer in ledger.undelivered(ROOT, SINK)] == [1]
        assert ledger._latest is None
        ledger.record([entry("b.jpg")], ROOT)
        ledger.path.unlink()
        ledger.reopen()
        assert ledger.undelivered(ROOT, SINK) == []
