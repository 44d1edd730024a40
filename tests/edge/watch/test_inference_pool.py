"""The network's thread: in order, and known to be stuck only when it is."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edge.errors import CoralError, ModelError
from edge.files import FileId
from edge.inference.classifier import Classifier
from edge.inference.model import load
from edge.inference.retrying import RetryingClassifier
from edge.inference.router import Router
from edge.verdict import Verdict
from edge.watch import inference_pool
from edge.watch.decode import Prepared, Task
from edge.watch.inference_pool import Classified, InferencePool


class Moody(Classifier):
    """A real classifier that can be held, and can fail: as a Coral, or for good."""

    def __init__(self, path: Path) -> None:
        super().__init__(load(path))
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.is_asked = threading.Event()
        self.failure: Exception | None = None

    def verdict(self, *arguments: object, **options: object) -> Verdict:
        self.is_asked.set()
        self.may_go_on.wait(120)
        if self.failure is not None:
            raise self.failure
        return super().verdict(*arguments, **options)  # type: ignore[arg-type]

    def reopen(self) -> None:
        if isinstance(self.failure, CoralError):
            raise self.failure


@pytest.fixture
def moody(brightness: Path) -> Moody:
    return Moody(brightness)


@pytest.fixture
def thread(moody: Moody) -> Iterator[InferencePool]:
    with InferencePool([RetryingClassifier(Router.of(moody), once=False)]) as started:
        yield started


def submit(thread: InferencePool, moody: Moody, *names: str) -> None:
    pixels = np.full((moody.size[1], moody.size[0], 3), 200, np.uint8)
    for name in names:
        thread.submit(Task(name, FileId(1, 2, 3, 4), 5), Prepared(b"x" * 32, pixels, (10, 10), "", 0.0))


def fetched(thread: InferencePool, count: int) -> list[Classified]:
    found: list[Classified] = []
    deadline = time.monotonic() + 90
    while len(found) < count:
        assert time.monotonic() < deadline
        found += thread.outcomes()
        time.sleep(0.005)
    return found


def test_verdicts_come_in_the_order_of_the_images(thread: InferencePool, moody: Moody) -> None:
    names = [str(number) for number in range(50)]
    submit(thread, moody, *names)
    found = fetched(thread, 50)
    assert [one.task.path for one in found] == names
    assert {one.model_sha256 for one in found} == {moody.model.sha256}
    assert thread.in_flight == 0
    assert thread.outcomes() == []


def test_it_is_stuck_when_it_hangs_and_not_when_nobody_fetches(
    thread: InferencePool, moody: Moody, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inference_pool, "STUCK_SECONDS", 0.2)
    submit(thread, moody, "a")
    deadline = time.monotonic() + 90
    while not thread._done:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(0.3)
    assert not thread.is_stuck, "its work is done; the loop has other things to do"
    moody.may_go_on.clear()
    submit(thread, moody, "b")
    assert not thread.is_stuck, "it has only just been asked"
    time.sleep(0.3)
    assert thread.is_stuck
    moody.may_go_on.set()
    fetched(thread, 2)
    assert not thread.is_stuck


def test_a_coral_that_is_away_is_a_trouble_and_nothing_is_lost(
    thread: InferencePool, moody: Moody, logged: list[str]
) -> None:
    moody.failure = CoralError("pulled out")
    submit(thread, moody, "a", "b")
    deadline = time.monotonic() + 90
    while not thread.trouble:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert thread.outcomes() == []
    moody.failure = None
    assert [one.task.path for one in fetched(thread, 2)] == ["a", "b"]
    assert logged == ["pulled out; trying again", "recovered: pulled out"]


def test_an_error_is_raised_after_the_verdicts_before_it(thread: InferencePool, moody: Moody) -> None:
    submit(thread, moody, "a")
    (first,) = fetched(thread, 1)
    moody.failure = ModelError("broken")
    submit(thread, moody, "b")
    with pytest.raises(ModelError, match="broken"):
        fetched(thread, 1)
    assert first.task.path == "a"


def test_it_ends_while_it_waits_for_its_coral(moody: Moody) -> None:
    moody.failure = CoralError("pulled out")
    with InferencePool([RetryingClassifier(Router.of(moody), once=False)]) as thread:
        submit(thread, moody, "a")
    assert not any(one.is_alive() for one in thread._threads)


def test_two_networks_share_the_work(brightness: Path) -> None:
    first, second = Moody(brightness), Moody(brightness)
    with InferencePool([RetryingClassifier(Router.of(one), once=True) for one in (first, second)]) as threads:
        for one in (first, second):
            one.may_go_on.clear()
        submit(threads, first, *(str(number) for number in range(20)))
        assert all(one.is_asked.wait(60) for one in (first, second))  # each has an image
        second.may_go_on.set()
        others = fetched(threads, 19)
        first.may_go_on.set()
        last = fetched(threads, 1)
    assert {one.task.path for one in [*others, *last]} == {str(number) for number in range(20)}


def test_a_classifier_s_double_gives_the_same(brightness: Path) -> None:
    one = Classifier(load(brightness))
    other = one.another()
    assert other is not None
    pixels = np.full((one.size[1], one.size[0], 3), 150, np.uint8)
    assert other.score(pixels) == one.score(pixels)
