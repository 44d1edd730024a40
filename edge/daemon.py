"""The watcher's loop: from a folder to the ledger, and from the ledger to whoever listens."""

import hashlib
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from edge import image
from edge.classifier import Classifier
from edge.errors import UndecodableImageError, UnreadableFileError
from edge.ledger import AnsweredAs, Entry, Ledger
from edge.sinks.lines import Sink
from edge.sources.folder import Folder
from edge.stamp import Stamp
from edge.verdict import Answer, Failure, Verdict

# One commit costs one fsync; grouping spares the SD card. A group is told
# when it is full, when it is this old, or when there is nothing else to do.
GROUP_SIZE = 64
GROUP_SECONDS = 0.5


@dataclass
class Tally:
    """What a run has done so far."""

    labels: dict[str, int] = field(default_factory=dict)
    failures: int = 0
    known: int = 0
    began: float = field(default_factory=time.monotonic)

    def count(self, answer: Answer) -> None:
        if isinstance(answer, Verdict):
            self.labels[answer.label] = self.labels.get(answer.label, 0) + 1
        else:
            self.failures += 1

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    def __str__(self) -> str:
        answered = sum(self.labels.values())
        parts = [f"{count} {label}" for label, count in sorted(self.labels.items())]
        parts += [f"{self.failures} failed"] if self.failures else []
        parts += [f"{self.known} answered before"] if self.known else []
        rate = f" ({answered / self.seconds:.1f} a second)" if answered else ""
        return f"{', '.join(parts) or 'nothing new'} in {self.seconds:.1f} s{rate}"


class Watcher:
    """Answers every file of a folder once.

    A verdict is committed to the ledger before anyone is told of it.
    """

    def __init__(self, source: Folder, classifier: Classifier, ledger: Ledger, sinks: Sequence[Sink]) -> None:
        self._source, self._classifier, self._ledger, self._sinks = source, classifier, ledger, sinks
        self._root = os.path.realpath(source.root)
        self._model_sha256 = classifier.model.sha256
        self._group: list[Entry] = []
        self._group_since = 0.0
        self.tally = Tally()

    def run(self, stop: threading.Event, *, once: bool = False) -> Iterator[Tally]:
        """Work until `stop` is set or, with `once`, until the folder is done.

        Yields the tally after each file and whenever there is nothing to do.

        Raises:
            SourceError, LedgerError: the folder or the ledger has failed; what was committed has been told.
            SinkError: an output has failed; some of what was committed may not have been told.
        """
        try:
            for path in self._source.files(stop, once=once):
                if path is not None:
                    self._meet(path)
                if path is None or self._is_due():
                    self._flush()
                yield self.tally
        finally:
            self._flush()

    def _meet(self, path: str) -> None:
        try:
            before, seen_ns = Stamp.of(os.stat(path)), time.time_ns()
            if self._ledger.is_unchanged(self._absolute(path), before):
                self.tally.known += 1
                return
            data = image.read(path)
            if Stamp.of(os.stat(path)) != before:
                self._source.defer(path)
                return
        except (OSError, UnreadableFileError) as error:
            if os.path.lexists(path):
                # Nothing was read, so nothing is answered: it is looked at again by the next run.
                reason = error.reason if isinstance(error, UnreadableFileError) else image.reason_of(path, error)
                self._tell(Failure(path, reason))
            return
        try:
            self._answer(path, before, seen_ns, data)
        except UnreadableFileError as error:  # for want of memory, say
            self._tell(Failure(path, error.reason))

    def _answer(self, path: str, stamp: Stamp, seen_ns: int, data: bytes) -> None:
        absolute, sha256 = self._absolute(path), hashlib.sha256(data).digest()
        if any(entry.path == absolute or entry.stamp == stamp for entry in self._group):
            self._flush()  # the same file again, perhaps by another name: let the ledger know the first before asking
        answer: Answer | AnsweredAs | None = self._ledger.answered_as(absolute, stamp, sha256, self._root)
        if answer is None:
            try:
                answer = self._classifier.classify(path, data)
            except UndecodableImageError as error:
                answer = Failure(path, error.reason)
        else:
            self.tally.known += 1
        if not self._group:
            self._group_since = time.monotonic()
        self._group.append(Entry(absolute, stamp, seen_ns, sha256, answer))

    def _is_due(self) -> bool:
        return len(self._group) >= GROUP_SIZE or (
            bool(self._group) and time.monotonic() - self._group_since >= GROUP_SECONDS
        )

    def _flush(self) -> None:
        if self._group:
            group, self._group = self._group, []
            for entry in self._ledger.record(group, self._model_sha256):
                if not isinstance(entry.answer, AnsweredAs):
                    self._tell(entry.answer)
        while self._source.failures:
            error = self._source.failures.pop(0)
            self._tell(Failure(os.fsdecode(error.filename), (error.strerror or str(error)).lower()))

    def _tell(self, answer: Answer) -> None:
        self.tally.count(answer)
        for sink in self._sinks:
            sink.tell(answer)

    def _absolute(self, path: str) -> str:
        """The same name for a file, whichever way its folder was spelt."""
        return os.path.join(self._root, path[len(self._source.root) :].lstrip(os.sep))


@contextmanager
def stopping_on_signals(stop: threading.Event) -> Iterator[list[int]]:
    """Let SIGINT and SIGTERM set `stop`; yields the list that they are noted in. Puts the former handlers back."""
    received: list[int] = []

    def note(number: int, _frame: object) -> None:
        received.append(number)
        stop.set()

    former = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
