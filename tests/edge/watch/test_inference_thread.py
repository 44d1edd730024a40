"""Inference threads: order of the verdicts, errors, and detection of a stuck network."""

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
from edge.watch import inference_thread
from edge.watch.decode import Prepared, Task
from edge.watch.inference_thread import Classified, InferenceThread


class FlakyClassifier(Classifier):
    """A real classifier that can be paused, and can fail: like a Coral, or permanently."""

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
def flaky(brightness: Path) -> FlakyClassifier:
    return FlakyClassifier(brightness)


@pytest.fixture
def thread(flaky: FlakyClassifier) -> Iterator[InferenceThread]:
    with InferenceThread(RetryingClassifier(Router.of(flaky), once=False)) as started:
        yield started


def submit(thread: InferenceThread, flaky: FlakyClassifier, *names: str) -> None:
    pixels = np.full((flaky.size[1], flaky.size[0], 3), 200, np.uint8)
    for name in names:
        thread.submit(Task(name, FileId(1, 2, 3, 4), 5), Prepared(b"x" * 32, pixels, (10, 10), "", 0.0))


def fetched(thread: InferenceThread, count: int) -> list[Classified]:
    found: list[Classified] = []
    deadline = time.monotonic() + 90
    while len(found) < count:
        assert time.monotonic() < deadline
        found += thread.outcomes()
        time.sleep(0.005)
    return found


def test_verdicts_have_the_order_of_the_images(thread: InferenceThread, flaky: FlakyClassifier) -> None:
    names = [str(number) for number in range(50)]
    submit(thread, flaky, *names)
    found = fetched(thread, 50)
    assert [one.task.path for one in found] == names
    assert {one.model_sha256 for one in found} == {flaky.model.sha256}
    assert thread.in_flight == 0
    assert thread.outcomes() == []


def test_pool_is_stuck_if_network_hangs_but_not_if_verdicts_are_not_fetched(
    thread: InferenceThread, flaky: FlakyClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inference_thread, "STUCK_SECONDS", 0.2)
    submit(thread, flaky, "a")
    deadline = time.monotonic() + 90
    while not thread._done:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(0.3)
    assert not thread.is_stuck, "its work is done; the loop has other things to do"
    flaky.may_go_on.clear()
    submit(thread, flaky, "b")
    assert not thread.is_stuck, "it has just received an image"
    time.sleep(0.3)
    assert thread.is_stuck
    flaky.may_go_on.set()
    fetched(thread, 2)
    assert not thread.is_stuck


def test_missing_coral_is_logged_and_no_image_is_lost(
    thread: InferenceThread, flaky: FlakyClassifier, logged: list[str]
) -> None:
    flaky.failure = CoralError("pulled out")
    submit(thread, flaky, "a", "b")
    deadline = time.monotonic() + 90
    while not thread.trouble:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert thread.outcomes() == []
    flaky.failure = None
    assert [one.task.path for one in fetched(thread, 2)] == ["a", "b"]
    assert logged == ["pulled out; trying again", "recovered: pulled out"]


def test_error_is_raised_after_earlier_verdicts(thread: InferenceThread, flaky: FlakyClassifier) -> None:
    submit(thread, flaky, "a")
    (first,) = fetched(thread, 1)
    flaky.failure = ModelError("broken")
    submit(thread, flaky, "b")
    with pytest.raises(ModelError, match="broken"):
        fetched(thread, 1)
    assert first.task.path == "a"


def test_pool_closes_while_it_waits_for_a_coral(flaky: FlakyClassifier) -> None:
    flaky.failure = CoralError("pulled out")
    with InferenceThread(RetryingClassifier(Router.of(flaky), once=False)) as thread:
        submit(thread, flaky, "a")
    assert not thread._thread.is_alive()
