"""The watcher's loop: from a folder to the ledger, and from the ledger to whoever listens."""

import errno
import os
import stat
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from edge import image, moving
from edge.classifier import Classifier
from edge.errors import CoralError, LedgerError, MovedAwayError, SinkError, SourceError, printable
from edge.ledger import AnsweredAs, Entry, Ledger, Move
from edge.moving import Sorter
from edge.outbox import CommandOutlet, Outlet
from edge.reading import Changed, Died, Prepared, Task
from edge.sources.folder import Folder, Waitable
from edge.stamp import Stamp
from edge.trouble import Say, Trouble
from edge.verdict import Answer, Failure, Verdict
from edge.workers import Workers

# One commit costs one fsync; grouping spares the SD card. A group is told
# when it is full, when it is this old, or when there is nothing else to do.
GROUP_SIZE = 64
GROUP_SECONDS = 0.5
REMEMBERED = 100_000  # complaints, as two numbers each
REFUSED_AT_ONCE = 100  # moves that fail, before the others have to wait too
PUT_OFF_SECONDS = 600.0  # what ended its process twice is not tried more often, however often the folder is listed

NO_ROOM = frozenset((errno.ENOSPC, errno.EDQUOT))

T = TypeVar("T")


@dataclass
class Tally:
    """What a run has done so far."""

    labels: dict[str, int] = field(default_factory=dict)
    failures: int = 0
    known: int = 0
    began: float = field(default_factory=time.monotonic)
    last: Verdict | None = None
    last_error: Failure | None = None

    def count(self, answer: Answer) -> None:
        if isinstance(answer, Verdict):
            self.labels[answer.label] = self.labels.get(answer.label, 0) + 1
            self.last = answer
        else:
            self.failures += 1
            self.last_error = answer

    @property
    def answered(self) -> int:
        return sum(self.labels.values())

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    def __str__(self) -> str:
        parts = [f"{count} {label}" for label, count in sorted(self.labels.items())]
        parts += [f"{self.failures} failed"] if self.failures else []
        parts += [f"{self.known} answered before"] if self.known else []
        rate = f" ({self.answered / self.seconds:.1f} a second)" if self.answered else ""
        return f"{', '.join(parts) or 'nothing new'} in {self.seconds:.1f} s{rate}"


class Watcher:
    """Answers every file of a folder once.

    A verdict is committed to the ledger before anyone is told of it, and what
    follows from it, a move or a command, is in the ledger until it is done.

    Attributes:
        is_watching: whether the folder was there once.
    """

    def __init__(
        self,
        folder: str,
        source: Callable[[], Folder],
        classifier: Classifier,
        ledger: Ledger,
        workers: Workers,
        outlets: Sequence[Outlet | CommandOutlet],
        *,
        tell: Callable[[Failure], None],
        say: Say,
        alive: Callable[[], None] = lambda: None,
        sorter: Sorter | None = None,
        is_patient: bool = False,
    ) -> None:
        """
        Args:
            folder: as the user spelt it; where it really is now, is where it is expected to stay.
            source: makes it a source, also again after it had gone.
            tell: is told of a file that could not be read, and so has no answer yet.
            alive: called while something takes long.
            is_patient: wait for a folder that is not there in the beginning.
        """
        self._folder, self._root = folder, os.path.realpath(folder)
        self._make_source = source
        self._source: Folder | None = None
        self._classifier, self._ledger, self._workers, self._outlets = classifier, ledger, workers, outlets
        self._tell, self._say, self._alive, self._sorter, self._is_patient = tell, say, alive, sorter, is_patient
        self._model, self._model_sha256 = classifier.model, classifier.model.sha256
        self._group: list[Entry] = []
        self._group_since = 0.0
        self._complaints: OrderedDict[int, int] = OrderedDict()  # hashes of the path and of the reason
        self._put_off: OrderedDict[tuple[str, Stamp], float] = OrderedDict()  # until when
        self._at_source = Trouble(say, "; trying again")
        self._at_coral = Trouble(say, "; trying again")
        self._at_ledger = Trouble(say, "; trying again")
        self._at_moves = Trouble(say, "; what is to go there stays where it is until then")
        self._at_telling = Trouble(say)
        self._moved_up_to = ""
        self.is_watching = False
        self.tally = Tally()
        self._samples = deque([(time.monotonic(), 0)], maxlen=60)  # (when, how many verdicts), a second apart

    @property
    def rate(self) -> float:
        """Verdicts a second, of the last minute."""
        (since, before), now = self._samples[0], time.monotonic()
        return (self.tally.answered - before) / max(1.0, now - since)

    @property
    def queue(self) -> int:
        """Files that are known to wait, or are being read."""
        return (self._source.queue if self._source else 0) + self._workers.in_flight + len(self._group)

    @property
    def trouble(self) -> str:
        """What keeps it from working just now, or those from hearing who listen; empty if nothing does."""
        all_ = [self._at_source, self._at_coral, self._at_ledger, self._at_moves, self._at_telling]
        all_ += [outlet.trouble for outlet in self._outlets]
        return "; ".join(trouble.reason for trouble in all_ if trouble.reason)

    def run(self, stop: threading.Event, *, once: bool = False) -> Iterator[Tally]:
        """Work until `stop` is set or, with `once`, until the folder is done.

        Yields the tally first of all, then after each step and, when there is nothing to do, twice a second.

        Raises:
            SourceError: the folder cannot be watched in the beginning, or with `once` later; else that is said, and
                tried again.
            LedgerError, SinkError, CoralError: likewise with `once` of the ledger, an output or the Coral.
            MovedAwayError: the name of the folder leads elsewhere now.
            ModelError, WorkerError: the network has failed, or a process cannot be started.
        """
        yield self.tally
        yield from self._flush(stop, once=once)  # what a former run has left undone
        while not stop.is_set():
            try:
                yield from self._work(stop, once=once)
                break
            except MovedAwayError:
                raise
            except SourceError as error:
                self._source = None
                if once or not (self.is_watching or self._is_patient):
                    raise
                yield from self._flush(stop, once=False)
                self._at_source.met(error)
                yield from self._wait_for(self._at_source, stop)
        yield from self._flush(stop, once=once)

    def _work(self, stop: threading.Event, *, once: bool) -> Iterator[Tally]:
        self._source = self._make_source()
        if self._source.real_root != self._root:
            raise MovedAwayError(f"{printable(self._folder)}: leads to {printable(self._source.real_root)} now")
        for path in self._source.files(stop, once=once, busy=self._busy):
            self.is_watching = True
            self._at_source.over()
            if path:
                yield from self._meet(path, stop, once=once)
            yield from self._collect(0.0, stop, once=once)
            if self._is_due(is_idle=path is None):
                yield from self._flush(stop, once=once)
            self._sample()
            yield self.tally

    def _busy(self) -> Sequence[Waitable]:
        return self._workers.waitables

    def _sample(self) -> None:
        now = time.monotonic()
        if now - self._samples[-1][0] >= 1.0:
            self._samples.append((now, self.tally.answered))

    def _wait_for(self, trouble: Trouble, stop: threading.Event) -> Iterator[Tally]:
        """Until it is time to try again, or we are stopped."""
        while not trouble.is_due and not stop.wait(min(0.5, trouble.seconds_left)):
            yield self.tally

    def _meet(self, path: str, stop: threading.Event, *, once: bool) -> Iterator[Tally]:
        try:
            status, seen_ns = os.stat(path), time.time_ns()
        except OSError as error:
            if os.path.lexists(path):
                self._complain(path, image.reason_of(path, error), once=once)
            return
        if not stat.S_ISREG(status.st_mode):
            return  # a FIFO, a device, a folder: nothing that could hold an image
        stamp = Stamp.of(status)
        if self._put_off.get((path, stamp), 0.0) > time.monotonic():
            return
        known = yield from self._persistently(lambda: self._ledger.known(self._absolute(path), stamp), stop, once=once)
        if known is not None:
            self.tally.known += 1
            if self._sorter and not os.path.islink(path):
                is_waiting = yield from self._persistently(
                    lambda: self._ledger.is_to_be_moved(known.path, stamp), stop, once=once
                )
                if not is_waiting:
                    self._add(Entry(known.path, stamp, seen_ns, known.sha256, known, self._target(known.path, known)))
            return
        while not self._workers.has_room and not stop.is_set():
            yield from self._collect(0.5, stop, once=once)
            yield self.tally
        if not stop.is_set():
            self._workers.submit(Task(path, stamp, seen_ns))

    def _collect(self, seconds: float, stop: threading.Event, *, once: bool) -> Iterator[Tally]:
        for task, outcome in self._workers.outcomes(seconds):
            if isinstance(outcome, Changed):
                if self._source:
                    self._source.defer(task.path)
            elif isinstance(outcome, Prepared):
                self._complaints.pop(hash(task.path), None)
                yield from self._answer(task, outcome, stop, once=once)
            elif os.path.lexists(task.path):
                # Nothing was read, so nothing is answered: it is looked at again by a later listing.
                if isinstance(outcome, Died):
                    self._put_off[task.path, task.stamp] = time.monotonic() + PUT_OFF_SECONDS
                    _limit(self._put_off)
                self._complain(task.path, outcome.reason, once=once)

    def _answer(self, task: Task, read: Prepared, stop: threading.Event, *, once: bool) -> Iterator[Tally]:
        absolute = self._absolute(task.path)
        if any(entry.path == absolute or entry.stamp == task.stamp for entry in self._group):
            # The same file again, perhaps by another name: let the ledger know the first before asking.
            yield from self._flush(stop, once=once)
        found: AnsweredAs | None = yield from self._persistently(
            lambda: self._ledger.answered_as(absolute, task.stamp, read.sha256, self._root), stop, once=once
        )
        if found is None and stop.is_set():
            return  # perhaps nobody could be asked
        answer: Answer | AnsweredAs
        if found is not None:
            self.tally.known += 1
            answer = found
        elif read.pixels is None:
            answer = Failure(task.path, read.reason)
        else:
            verdict = yield from self._verdict(task.path, read, stop, once=once)
            if verdict is None:
                return  # stopped while the Coral was away: the next start answers this file
            answer = verdict
        target = self._target(absolute, answer) if self._sorter and not os.path.islink(task.path) else None
        self._add(Entry(absolute, task.stamp, task.seen_ns, read.sha256, answer, target))

    def _verdict(
        self, path: str, read: Prepared, stop: threading.Event, *, once: bool
    ) -> Generator[Tally, None, Verdict | None]:
        """The network's, whose Coral is waited for if it has gone; None if we are stopped before."""
        assert read.pixels is not None
        has_gone = False
        while True:
            try:
                if has_gone:
                    self._classifier.reopen()
                verdict = self._classifier.verdict(path, read.pixels, read.size, read.seconds)
                break
            except CoralError as error:
                if once:
                    raise
                has_gone = True
                self._at_coral.met(error)
            yield from self._wait_for(self._at_coral, stop)
            if stop.is_set():
                return None
        self._at_coral.over()
        if self._classifier.model is not self._model:  # the processor's, from now on
            yield from self._flush(stop, once=once)
            self._model, self._model_sha256 = self._classifier.model, self._classifier.model.sha256
        return verdict

    def _add(self, entry: Entry) -> None:
        if not self._group:
            self._group_since = time.monotonic()
        self._group.append(entry)

    def _target(self, absolute: str, answer: Answer | AnsweredAs) -> str | None:
        label = None if isinstance(answer, Failure) else answer.label
        return self._sorter.target(absolute, label) if self._sorter else None

    def _is_due(self, *, is_idle: bool) -> bool:
        if is_idle and not self._workers.in_flight:
            return True  # also without a group: what could not be told or moved before may be possible now
        return len(self._group) >= GROUP_SIZE or (
            bool(self._group) and time.monotonic() - self._group_since >= GROUP_SECONDS
        )

    def _flush(self, stop: threading.Event, *, once: bool) -> Iterator[Tally]:
        """Commit the group, do what follows from it, and let everyone know."""
        if not self._ledger.is_there:
            self._say(f"{printable(self._ledger.path)}: has gone or was exchanged; begun anew")
            yield from self._persistently(self._reopen, stop, once=once)
        has_new = False
        if self._group:
            group = self._group
            new = yield from self._persistently(
                lambda: self._ledger.record(group, self._model_sha256, self._root), stop, once=once
            )
            if new is None:
                return  # stopped before it could be recorded: the next start answers these files
            self._group, has_new = [], bool(new)
            for entry in new:
                if not isinstance(entry.answer, AnsweredAs):
                    self.tally.count(entry.answer)
        if self._sorter:
            yield from self._move(stop, once=once)
        for outlet in self._outlets:
            if isinstance(outlet, Outlet):
                while (yield from self._persistently(partial(outlet.deliver, at_once=once), stop, once=once)):
                    yield self.tally
            elif has_new:
                outlet.deliver()
        while self._source and self._source.failures:
            error = self._source.failures.pop(0)
            self._complain(os.fsdecode(error.filename), (error.strerror or str(error)).lower(), once=once)

    def _move(self, stop: threading.Event, *, once: bool) -> Iterator[Tally]:
        """Perform the moves that are to be done, until the disk itself refuses them; with `once` errors are raised."""
        if not (once or self._at_moves.is_due):
            return
        refused: SinkError | None = None
        refusals = 0
        while moves := (
            yield from self._persistently(partial(self._ledger.moves, self._root, self._moved_up_to), stop, once=once)
        ):
            done: list[tuple[Move, str | None]] = []
            for move in moves:
                self._moved_up_to = move.source  # also across passes: what refuses should not be in the others' way
                try:
                    done.append((move, moving.perform(move, self._alive)))
                except OSError as error:
                    folder, reason = printable(os.path.dirname(move.target)), (error.strerror or str(error)).lower()
                    refused = refused or SinkError(f"{folder}: files cannot be moved there: {reason}")
                    refusals += REFUSED_AT_ONCE if error.errno in NO_ROOM else 1
                yield self.tally
                if stop.is_set() or refusals >= REFUSED_AT_ONCE:
                    break
            yield from self._persistently(partial(self._ledger.moved, done), stop, once=once)
            if stop.is_set() or refusals >= REFUSED_AT_ONCE:
                break
        else:
            self._moved_up_to = ""
        if refused is None:
            self._at_moves.over()
        elif once:
            raise refused
        else:
            self._at_moves.met(refused)

    def _persistently(
        self, call: Callable[[], T], stop: threading.Event, *, once: bool
    ) -> Generator[Tally, None, T | None]:
        """Call the ledger until it works; returns None if we are stopped before. With `once` its error is raised."""
        while True:
            try:
                result = call()
                self._at_ledger.over()
                return result
            except LedgerError as error:
                if once:
                    raise
                self._at_ledger.met(error)
                failure = error
            yield from self._wait_for(self._at_ledger, stop)
            if stop.is_set():
                return None
            try:
                self._reopen(failure)
            except LedgerError as error:
                self._at_ledger.met(error)

    def _reopen(self, after: LedgerError | None = None) -> None:
        self._ledger.reopen(after)
        for outlet in self._outlets:  # if it is another one, before it holds any answers
            self._ledger.subscribe(self._root, outlet.name)
        while self._ledger.remarks:
            self._say(self._ledger.remarks.pop(0))

    def _complain(self, path: str, reason: str, *, once: bool) -> None:
        """Tell of a file that could not be read, once for each reason."""
        if self._complaints.get(hash(path)) == hash(reason):
            return
        failure = Failure(path, reason)
        try:
            self._tell(failure)
            self._at_telling.over()
        except SinkError as error:
            if once:
                raise
            self._at_telling.met(error)
            return  # it is told when it is met again
        self._complaints[hash(path)] = hash(reason)
        _limit(self._complaints)
        self.tally.count(failure)

    def _absolute(self, path: str) -> str:
        """The same name for a file, whichever way its folder was spelt."""
        return os.path.join(self._root, path[len(self._folder) :].lstrip(os.sep))


def _limit(remembered: OrderedDict[Any, Any]) -> None:
    if len(remembered) > REMEMBERED:
        remembered.popitem(last=False)
