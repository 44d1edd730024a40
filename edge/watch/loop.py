"""The watcher's loop: from a folder to the ledger, and from the ledger to the sinks."""

import os
import stat
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import wait
from typing import Any

from edge.delivery.outbox import CommandOutlet, Outlet
from edge.delivery.recorder import Recorder, wait_for
from edge.errors import MovedAwayError, SourceError, printable, reason_of
from edge.files import FileId
from edge.inference.retrying import RetryingClassifier
from edge.retry import Backoff, Say
from edge.sources.folder import Folder, Waitable
from edge.stats import Stats
from edge.store.ledger import ASKED_AT_ONCE, AnsweredAs, Entry, Ledger
from edge.verdict import Answer, Failure
from edge.watch.answers import Answers
from edge.watch.batch import Batch
from edge.watch.decode import Changed, Died, Prepared, Task
from edge.watch.decode_pool import ROOM_BYTES, DecodePool
from edge.watch.error_report import ErrorReport
from edge.watch.inference_pool import MOST_ROOM, InferencePool
from edge.watch.move import Sorter
from edge.watch.sort import Mover

MET_AT_ONCE = 32  # files of one question to the ledger, and of one round of the loop


class WatchLoop:
    """Answers every file of a folder once.

    A verdict is committed to the ledger before it is delivered, and what
    follows from it, a move or a command, is in the ledger until it is done.

    Attributes:
        is_watching: whether the folder has been listed at least once.
    """

    def __init__(
        self,
        folder: str,
        source: Callable[[], Folder],
        network: RetryingClassifier,
        inference: InferencePool,
        ledger: Ledger,
        workers: DecodePool,
        outlets: Sequence[Outlet | CommandOutlet],
        *,
        emit_error: Callable[[Failure], None],
        say: Say,
        alive: Callable[[], None] = lambda: None,
        sorter: Sorter | None = None,
        reclassify: bool = False,
        is_patient: bool = False,
        once: bool = False,
    ) -> None:
        """
        Args:
            folder: as the user spelt it; its real path must stay the same while we run.
            source: opens the folder; called again after the folder was lost.
            emit_error: writes the error of a file that could not be read, and so has no answer yet.
            alive: called during long work, so that the watchdog hears of us.
            reclassify: classify files again that another model has answered.
            is_patient: wait for a folder that is missing at the start.
            once: end when every file is answered, and raise errors instead of retrying.
        """
        self._folder, self._root = folder, os.path.realpath(folder)
        self._within = self._root.rstrip(os.sep) + os.sep
        self._make_source = source
        self._source: Folder | None = None
        self._ledger, self._workers = ledger, workers
        self._answers = Answers(ledger, self._root, network, reclassify=reclassify)
        self._sorter, self._is_patient, self._once = sorter, is_patient, once
        self.stats = Stats()
        self._recorder = Recorder(ledger, self._root, outlets, self.stats, say, once=once)
        self._mover = Mover(self._recorder, say, alive)
        self._network, self._inference = network, inference
        self._met: list[Task] = []  # since the last step
        self._pending = Batch()
        self._at_source = Backoff(say, "; trying again")
        self._complaints = ErrorReport(emit_error, say, once=once)
        self.is_watching = False

    @property
    def queue(self) -> int:
        """Number of files that wait or are being processed."""
        at_work = self._workers.in_flight + self._inference.in_flight + len(self._pending)
        return (self._source.queue if self._source else 0) + at_work

    @property
    def is_healthy(self) -> bool:
        """Whether the network makes progress, or an error explains why it does not."""
        return not self._inference.is_stuck

    @property
    def trouble(self) -> str:
        """Present errors of the folder, the network, the moves and the sinks, joined; empty if there are none."""
        own = [backoff.reason for backoff in (self._at_source, self._mover.backoff, self._complaints.backoff)]
        return "; ".join(reason for reason in (self._inference.trouble, *own, self._recorder.trouble) if reason)

    def run(self, stop: threading.Event) -> Iterator[Stats]:
        """Work until `stop` is set or, with `once`, until the folder is done.

        Yields the stats first of all, then after each step and, when there is nothing to do, twice a second.

        Raises:
            SourceError: the folder cannot be watched in the beginning, or with `once` later; else that is said, and
                tried again.
            LedgerError, SinkError: likewise with `once` of the ledger or an output.
            MovedAwayError: the name of the folder leads elsewhere now.
            ModelError, WorkerError: the network has failed, or a process cannot be started.
        """
        yield self.stats
        yield from self._flush(stop)  # what a former run left in the ledger
        while not stop.is_set():
            try:
                yield from self._work(stop)
                break
            except MovedAwayError:
                raise
            except SourceError as error:
                self._source = None
                if self._once or not (self.is_watching or self._is_patient):
                    raise
                yield from self._flush(stop)
                self._at_source.failed(error)
                yield from wait_for(self._at_source, stop, self.stats)
        yield from self._flush(stop)

    def _work(self, stop: threading.Event) -> Iterator[Stats]:
        self._source = self._make_source()
        if self._source.real_root != self._root:
            raise MovedAwayError(f"{printable(self._folder)}: leads to {printable(self._source.real_root)} now")
        passed = 0
        for path in self._source.files(stop, once=self._once, busy=self._busy):
            self.is_watching = True
            self._at_source.succeeded()
            if path:
                self._meet(path)
                passed += 1
            if not path or passed >= MET_AT_ONCE:
                passed = 0
                yield from self._step(stop, is_idle=path is None)

    def _busy(self) -> Sequence[Waitable]:
        """What becomes readable when there is more to do; empty if all files found so far are done."""
        is_working = self._inference.in_flight or self._met or self._pending.held
        waitables = self._workers.waitables if self._room_bytes > 0 else ()
        return [*waitables, *([self._inference.waitable] if is_working else [])]

    @property
    def _has_room(self) -> bool:
        waiting = self._inference.in_flight + len(self._pending.held)
        return self._workers.has_room and waiting < MOST_ROOM and self._room_bytes > 0

    @property
    def _room_bytes(self) -> int:
        """Bytes of pixels that may still be taken from the decoding processes."""
        return ROOM_BYTES - self._inference.nbytes - self._pending.nbytes

    @property
    def _is_working(self) -> bool:
        return bool(self._workers.in_flight or self._inference.in_flight)

    def _step(self, stop: threading.Event, *, is_idle: bool) -> Iterator[Stats]:
        """One round: new files go to the decoders, decoded ones to the network, answers to the ledger."""
        yield from self._look_up(stop)
        yield from self._collect(0.0, stop)
        yield from self._flush_if_due(stop, is_idle=is_idle)
        self.stats.sample()
        yield self.stats

    def _flush_if_due(self, stop: threading.Event, *, is_idle: bool) -> Iterator[Stats]:
        if not self._is_due(is_idle=is_idle):
            return
        yield from self._flush(stop)
        while self._pending.held and not stop.is_set():  # what was recorded just now may be the same files
            yield from self._ask(self._pending.release(), stop)
            if self._is_working or not self._pending.group:
                break
            yield from self._flush(stop)

    def _meet(self, path: str) -> None:
        try:
            status, seen_ns = os.stat(path), time.time_ns()
        except OSError as error:
            if os.path.lexists(path):
                self._complain(path, reason_of(error))
            return
        if not stat.S_ISREG(status.st_mode):
            return  # a FIFO, a device, a folder: nothing that could hold an image
        task = Task(path, FileId.of(status), seen_ns)
        if not self._complaints.is_put_off(path, task.stamp):
            self._met.append(task)

    def _look_up(self, stop: threading.Event) -> Iterator[Stats]:
        """Send on what was met, except for what the ledger knows already."""
        met, self._met = self._met, []
        if not met:
            return
        files = [(self._absolute(task.path), task.stamp) for task in met]
        found = yield from self._recorder.persistently(lambda: self._answers.known(files), stop)
        for task, known in zip(met, found or [], strict=bool(found)):
            if known is not None:
                yield from self._meet_again(task, known, stop)
                continue
            while not self._has_room and not stop.is_set():
                yield from self._collect(0.5, stop)
                yield from self._flush_if_due(stop, is_idle=True)  # for what is held takes room, too
                yield self.stats
            if not stop.is_set():
                self._workers.submit(task)
        self._workers.send()

    def _meet_again(self, task: Task, known: AnsweredAs, stop: threading.Event) -> Iterator[Stats]:
        """A file that was answered, and may have to be sorted still."""
        self.stats.known += 1
        if self._sorter and not os.path.islink(task.path):
            is_waiting = yield from self._recorder.persistently(
                lambda: self._ledger.is_to_be_moved(known.path, task.stamp), stop
            )
            if not is_waiting:
                self._add(task, known.path, known.sha256, known)

    def _collect(self, seconds: float, stop: threading.Event) -> Iterator[Stats]:
        """Take finished work of decoders and network, waiting up to `seconds` for the first."""
        if seconds and self._is_working:
            wait(list[Any](self._busy()), seconds)
        read = []
        for task, outcome in self._workers.outcomes(room_bytes=self._room_bytes):
            if isinstance(outcome, Changed):
                if self._source:
                    self._source.defer(task.path)
            elif isinstance(outcome, Prepared):
                self._complaints.forget(task.path)
                read.append((task, outcome))
            elif os.path.lexists(task.path):
                # Nothing was read, so nothing is answered: a later listing tries again.
                if isinstance(outcome, Died):
                    self._complaints.put_off(task.path, task.stamp)
                self._complain(task.path, outcome.reason)
        yield from self._ask(read, stop)
        for done in self._inference.outcomes():
            self._add(done.task, self._absolute(done.task.path), done.read.sha256, done.verdict, done.model_sha256)

    def _ask(self, read: list[tuple[Task, Prepared]], stop: threading.Event) -> Iterator[Stats]:
        """Submit decoded files to the network, except contents that the ledger has answered."""
        for start in range(0, len(read), ASKED_AT_ONCE):
            yield from self._ask_some(read[start : start + ASKED_AT_ONCE], stop)

    def _ask_some(self, read: list[tuple[Task, Prepared]], stop: threading.Event) -> Iterator[Stats]:
        fresh = []
        for task, prepared in read:
            absolute = self._absolute(task.path)
            if self._pending.begin(absolute, task, prepared):
                fresh.append((task, absolute, prepared))
        if not fresh:
            return
        files = [(absolute, task.stamp, prepared) for task, absolute, prepared in fresh]
        found = yield from self._recorder.persistently(lambda: self._answers.answered_as(files), stop)
        for (task, absolute, prepared), known in zip(fresh, found or [], strict=bool(found)):
            if known is not None:
                self.stats.known += 1
                if known.path != absolute and os.path.lexists(known.path):  # renamed, and met there meanwhile
                    self._pending.drop(absolute, task.stamp)
                else:
                    self._add(task, absolute, prepared.sha256, known)
            elif prepared.pixels is None:
                self._add(task, absolute, prepared.sha256, Failure(task.path, prepared.reason))
            else:
                self._inference.submit(task, prepared)

    def _add(
        self, task: Task, absolute: str, sha256: bytes, answer: Answer | AnsweredAs, model_sha256: str | None = None
    ) -> None:
        """Add an answer to the batch.

        Args:
            model_sha256: of the model that gave the verdict; None for the default.
        """
        label = None if isinstance(answer, Failure) else answer.label
        is_sorted = self._sorter and not os.path.islink(task.path)
        target = self._sorter.target(absolute, label) if self._sorter and is_sorted else None
        model_sha256 = model_sha256 or self._network.model_sha256
        self._pending.add(Entry(absolute, task.stamp, task.seen_ns, sha256, answer, model_sha256, target))

    def _is_due(self, *, is_idle: bool) -> bool:
        if is_idle and not self._is_working:
            return True  # also without a batch: failed deliveries and moves may work now
        if self._room_bytes <= 0 and not self._inference.in_flight:
            return True  # held files fill the memory limit until the batch is recorded
        return self._pending.is_due

    def _flush(self, stop: threading.Event) -> Iterator[Stats]:
        """Commit the batch, perform its moves, and deliver its answers."""
        yield from self._recorder.look_after(stop)
        has_new = False
        if group := self._pending.group:
            new = yield from self._recorder.persistently(lambda: self._answers.record(group), stop)
            if new is None:
                return  # stopped before the commit: the next start answers these files
            self._pending.recorded()
            has_new = bool(new)
            for entry in new:
                if not isinstance(entry.answer, AnsweredAs):
                    self.stats.count(entry.answer)
        if self._sorter:
            yield from self._mover.move(stop)
        yield from self._recorder.deliver(stop, has_new=has_new)
        while self._source and self._source.failures:
            error = self._source.failures.pop(0)
            self._complain(os.fsdecode(error.filename), (error.strerror or str(error)).lower())

    def _complain(self, path: str, reason: str) -> None:
        if failure := self._complaints.report(path, reason):
            self.stats.count(failure)

    def _absolute(self, path: str) -> str:
        """The same name for a file, whichever way its folder was spelt."""
        return self._within + path[len(self._folder) :].lstrip(os.sep)
