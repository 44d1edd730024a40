"""Which of the ledger's answers a watcher accepts; and watching with little room for pixels."""

import json
import os
from io import StringIO
from pathlib import Path

import numpy as np
import pytest

from edge.daemon.lifecycle import Lifecycle
from edge.delivery.stdout import JsonLines
from edge.files import FileId
from edge.inference.model import load
from edge.inference.retrying import RetryingClassifier
from edge.inference.router import Router
from edge.store.ledger import AnsweredAs, Entry, Ledger
from edge.verdict import Verdict
from edge.watch import answers, loop
from edge.watch.answers import Answers
from edge.watch.decode import Prepared
from edge.watch.run import WatchSettings, watch
from tests.conftest import age, picture
from tests.support.photos import ROUTED, two_models

COMPACT, PHOTO_LIKE = ROUTED
PATH, STAMP, DIGEST = "/in/a.png", FileId(1, 2, 3, 4), b"d" * 32


def entry(answer: Verdict | AnsweredAs, model: Path, path: str = PATH) -> Entry:
    return Entry(path, STAMP, 10**10, DIGEST, answer, load(model).sha256)


def verdict(outside: str | None) -> Verdict:
    return Verdict(PATH, "REAL", True, 0.9, 0.9, outside, 0.001, COMPACT.stem)


def read(model: int) -> Prepared:
    return Prepared(DIGEST, np.zeros((1, 32, 32, 3), np.uint8), (50, 40), "", 0.0, model)


@pytest.fixture
def network() -> RetryingClassifier:
    return RetryingClassifier(two_models(), once=True)


def test_confirmed_answer_outside_of_domain_is_known(tmp_path: Path, network: RetryingClassifier) -> None:
    """An image outside of a model's domain may belong to another model now, which only its size shows."""
    with Ledger(tmp_path) as ledger:
        ledger.record([entry(verdict("50 x 40 pixels"), COMPACT)], "/in")
        answered = AnsweredAs(PATH, DIGEST, "REAL")
        assert Answers(ledger, "/in", network).known([(PATH, STAMP)]) == [answered]
        again = Answers(ledger, "/in", network, reclassify=True)
        assert again.known([(PATH, STAMP)]) == [None]
        assert again.answered_as([(PATH, STAMP, read(0))]) == [answered]
        assert again.answered_as([(PATH, STAMP, read(1))]) == [None]
        assert again.record([entry(answered, COMPACT)]) == []
        assert again.known([(PATH, STAMP), ("/in/b.png", STAMP)]) == [answered, None]
        assert again.known([(PATH, FileId(1, 2, 3, 5))]) == [None]


def test_answer_of_any_model_counts_for_undecodable_file(tmp_path: Path, network: RetryingClassifier) -> None:
    with Ledger(tmp_path) as ledger:
        ledger.record([entry(verdict(None), PHOTO_LIKE)], "/in")
        failed = Prepared(DIGEST, None, (0, 0), "took more than 30 s to decode", 30.0)
        one_model = RetryingClassifier(Router.of(two_models().classifier(0)), once=True)
        again = Answers(ledger, "/in", one_model, reclassify=True)
        assert again.answered_as([(PATH, STAMP, failed)]) == [AnsweredAs(PATH, DIGEST, "REAL")]
        assert again.answered_as([(PATH, STAMP, read(0))]) == [None]


def test_number_of_confirmed_files_is_limited(
    tmp_path: Path, network: RetryingClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "MAX_CONFIRMED", 2)
    with Ledger(tmp_path) as ledger:
        again = Answers(ledger, "/in", network, reclassify=True)
        names = [f"/in/{number}.png" for number in range(3)]
        again.record([entry(verdict("50 x 40 pixels"), COMPACT, name) for name in names])
        known = again.known([(name, STAMP) for name in names])
        assert [answer is not None for answer in known] == [False, True, True]


@pytest.mark.parametrize("room_bytes", [1, 100_000])
def test_every_file_is_answered_with_little_room_for_pixels(
    inbox: Path, monkeypatch: pytest.MonkeyPatch, room_bytes: int
) -> None:
    """Hard links are held until the first answer of their file is recorded, and need room meanwhile."""
    monkeypatch.setattr(loop, "ROOM_BYTES", room_bytes)
    for number in range(20):
        age(picture(inbox / f"{number}.png", size=(300, 260) if number % 2 else (32, 32), seed=number))
    for number in range(20):
        os.link(inbox / "1.png", inbox / f"link {number}.png")
    out = StringIO()
    settings = WatchSettings(
        router=two_models,
        folder=str(inbox),
        state=inbox.parent / "state",
        lines=JsonLines(out),
        as_json=True,
        workers=2,
    )
    watch(settings, Lifecycle(once=True))
    answered = [Path(json.loads(line)["path"]).name for line in out.getvalue().splitlines()]
    assert sorted(answered) == sorted(os.listdir(inbox))
