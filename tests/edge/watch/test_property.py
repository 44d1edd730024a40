"""The watcher against a model of the folder: whatever happens to files, each content is answered once."""

import hashlib
import os
import tempfile
import time
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from PIL import Image

from edge.daemon.lifecycle import Lifecycle
from edge.daemon.recorder import Recorder
from edge.delivery.outbox import Outlet
from edge.delivery.stdout import Output
from edge.inference import model
from edge.inference.classifier import Classifier
from edge.inference.retrying import RetryingClassifier
from edge.inference.router import Router
from edge.sources.folder import Folder
from edge.stats import Stats
from edge.store.ledger import Ledger
from edge.verdict import Answer, Recorded
from edge.watch.answers import Answers
from edge.watch.decode_pool import DecodePool
from edge.watch.error_report import ErrorReport
from edge.watch.inference_thread import InferenceThread
from edge.watch.loop import WatchLoop
from tests.conftest import MODELS

NAMES = st.sampled_from(["a.png", "b.png", "c.png", "sub/a.png", "sub/b.png"])
CONTENTS = st.integers(0, 5)
CLASSIFIER = Classifier(model.load(MODELS / "brightness_int8.tflite"))


class DaemonSettings:
    """What the watcher has said."""

    def __init__(self) -> None:
        self.answers: list[str] = []

    def write(self, *answers: Answer | Recorded) -> None:
        for answer in answers:
            assert isinstance(answer, Recorded), f"an error: {answer}"
            self.answers.append(answer.answer.path)


class FolderMachine(RuleBasedStateMachine):
    """Files are written, rewritten, renamed, touched and removed; between it the watcher may look, or be restarted."""

    def __init__(self) -> None:
        super().__init__()
        self.scratch = tempfile.TemporaryDirectory()
        base = Path(os.path.realpath(self.scratch.name))
        self.inbox, self.state = base / "inbox", base / "state"
        (self.inbox / "sub").mkdir(parents=True)
        self.contents = [self._content(number) for number in range(6)]
        self.files: dict[str, int] = {}
        self.looked_at: dict[str, int] = {}
        self.clock = time.time() - 100_000

    def _content(self, number: int) -> bytes:
        path = Path(self.scratch.name) / "content.png"
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (4, 4, 3), np.uint8)).save(path)
        return path.read_bytes()

    def _age(self, name: str) -> None:
        """No two writes at the same time of the file system's clock, and all of them long ago."""
        self.clock += 10
        os.utime(self.inbox / name, (self.clock, self.clock))

    @rule(name=NAMES, content=CONTENTS)
    def write(self, name: str, content: int) -> None:
        (self.inbox / name).write_bytes(self.contents[content])
        self._age(name)
        self.files[name] = content

    @precondition(lambda self: self.files)
    @rule(data=st.data())
    def touch(self, data: st.DataObject) -> None:
        self._age(data.draw(st.sampled_from(sorted(self.files))))

    @precondition(lambda self: self.files)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.files)))
        (self.inbox / name).unlink()
        del self.files[name]

    @precondition(lambda self: self.files)
    @rule(data=st.data(), new=NAMES)
    def rename(self, data: st.DataObject, new: str) -> None:
        name = data.draw(st.sampled_from(sorted(self.files)))
        if name == new:
            return
        (self.inbox / name).replace(self.inbox / new)
        self.files[new] = self.files.pop(name)

    @rule()
    def look(self) -> None:
        told, recorded = self._watch()
        for name, content in self.files.items():
            digest = hashlib.sha256(self.contents[content]).hexdigest()
            assert (str(self.inbox / name), digest) in recorded, f"{name} has no answer"
        assert len(told) == len(set(told)), "a file was told of twice"
        assert {os.path.relpath(path, self.inbox) for path in told} <= set(self.files)
        self.looked_at = dict(self.files)

    @precondition(lambda self: self.looked_at and self.looked_at == self.files)
    @rule()
    def look_again_and_hear_nothing(self) -> None:
        told, _ = self._watch()
        assert told == []

    def _watch(self) -> tuple[list[str], set[tuple[str, str]]]:
        """Let a watcher do all there is to do: what it told, and what is recorded."""
        told = DaemonSettings()
        network, root, life = (
            RetryingClassifier(Router.of(CLASSIFIER), once=True),
            str(self.inbox),
            Lifecycle(once=True),
        )
        with (
            Ledger(self.state) as ledger,
            DecodePool(1, root, network.inputs) as decoders,
            InferenceThread(network) as inference,
        ):
            outlet = Outlet(ledger, root, Output(told))
            WatchLoop(
                Recorder(life, ledger, root, [outlet], Stats()),
                lambda: Folder(root, recursive=True),
                Answers(ledger, root, network),
                decoders,
                inference,
                ErrorReport(told.write, once=True),
            ).run()
            rows = ledger._rows("SELECT path, sha256 FROM answers")
        return told.answers, {(os.fsdecode(path), digest.hex()) for path, digest in rows}

    @invariant()
    def nothing_of_the_user_s_has_changed(self) -> None:
        for name, content in self.files.items():
            assert (self.inbox / name).read_bytes() == self.contents[content]

    def teardown(self) -> None:
        self.scratch.cleanup()


TestFolder = FolderMachine.TestCase
TestFolder.settings = settings(
    max_examples=15, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck)
)
