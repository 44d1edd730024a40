"""The loop of `watch`, in this process."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from edge.daemon.lifecycle import Lifecycle
from edge.daemon.recorder import Recorder
from edge.inference import model
from edge.inference.classifier import Classifier
from edge.inference.retrying import RetryingClassifier
from edge.inference.router import Router
from edge.sources.folder import Folder
from edge.stats import Stats
from edge.store.ledger import Ledger
from edge.watch import loop
from edge.watch.answers import Answers
from edge.watch.decode_pool import MAX_COST, MIN_DEPTH, DecodePool
from edge.watch.error_report import ErrorReport
from edge.watch.inference_thread import InferenceThread
from tests.conftest import age, picture


def test_loop_does_not_wait_for_files_that_it_has_not_sent(
    inbox: Path, tmp_path: Path, brightness: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(2 * MIN_DEPTH):  # more than wait at a process
        path = age(picture(inbox / f"{number}.png", size=(600, 500), seed=number))
        assert path.stat().st_size > MAX_COST / MIN_DEPTH
    root, life, stats = os.path.realpath(inbox), Lifecycle(once=True), Stats()
    network = RetryingClassifier(Router.of(Classifier(model.load(brightness))), once=True)
    unsent: list[int] = []
    with (
        Ledger(tmp_path / "state") as ledger,
        DecodePool(1, root, network.inputs) as decoders,
        InferenceThread(network) as inference,
    ):

        def wait(waitables: Sequence[Any], seconds: float) -> None:
            unsent.extend(len(worker.unsent) for worker in decoders._workers)
            waited(waitables, seconds)

        waited = loop.wait
        monkeypatch.setattr(loop, "wait", wait)
        loop.WatchLoop(
            Recorder(life, ledger, root, [], stats),
            lambda: Folder(root),
            Answers(ledger, root, network),
            decoders,
            inference,
            ErrorReport(lambda *_: None, once=True),
        ).run()
    assert stats.answered == 2 * MIN_DEPTH
    assert unsent, "it has never waited"
    assert not any(unsent)
