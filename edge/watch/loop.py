"""The watcher's loop: from a folder to the ledger, and from the ledger to the sinks."""

import logging
import os
import stat
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from multiprocessing.connection import wait
from typing import Any

from edge.daemon.lifecycle import Stopped
from edge.daemon.recorder import Recorder
from edge.errors import MovedAwayError, SourceError, printable, reason_of
from edge.files import FileId, are_two_files
from edge.retry import Backoff
from edge.sources.folder import Folder, Waitable
from edge.store.ledger import MAX_LOOKUP, AnsweredAs, Entry
from edge.verdict import Answer, Failure
from edge.watch import quiet
from edge.watch.answers import Answers
from edge.watch.batch import Batch
from edge.watch.decode import FileChanged, Prepared, Task, WorkerDied
from edge.watch.decode_pool import ROOM_BYTES, DecodePool
from edge.watch.error_report import ErrorReport
from edge.watch.inference_thread import MAX_WAITING, InferenceThread
from edge.watch.move import Sorter
from edge.watch.sort import Mover
from edge.watch.unreadable import UnreadableFolder

_log = logging.getLogger(__name__)

WRITER_SECONDS = 60.0  # with `once`, to wait for a file that another program is writing


class WatchLoop:
    """Answers every file of a folder once.

    A file found in the folder is looked up in the ledger, decoded, classified,
    and added to a batch; the batch is committed, and its answers are delivered.
    A verdict is committed before it is delivered, and what follows from it, a
    move or a command, is in the ledger until it is done.

    Attributes:
        is_watching: whether the folder has been listed at least once.
    """

    def __init__(
        self,
        recorder: Recorder,
        open_folder: Callable[[], Folder],
        answers: Answers,
        decoders: DecodePool,
        inference: InferenceThread,
        errors: ErrorReport,
        sorter: Sorter | None = None,
    ) -> None:
        """
        Args:
            open_folder: opens the folder; called again after the folder was lost.
            answers: the ledger's answers that need not be given again.
            errors: reports a file that could not be read, and so has no answer yet.
            sorter: decides where answered files are moved; None: they stay.
        """
        self._recorder, self._life, self._stats = recorder, recorder.life, recorder.stats
        self._within = recorder.root.rstrip(os.sep) + os.sep
        self._open_folder = open_folder
        self._folder: Folder | None = None
        self._answers, self._decoders, self._inference, self._errors = answers, decoders, inference, errors
        self._sorter, self._mover = sorter, Mover(recorder, errors)
        self._unreadable = UnreadableFolder(recorder, sorter, errors) if sorter else None
        self._found: list[Task] = []  # since the last step
        self._written_since: dict[str, float] = {}  # with `once`, when a file was first found to have a writer
        self._to_move: set[str] = set()  # answered files that are to be moved when they have been quiet for longer
        self._pending = Batch()
        self._backoff = Backoff("; trying again")  # of the folder
        self.is_watching = False

    @property
    def queue(self) -> int:
        """Number of files that wait or are being processed."""
        in_work = self._decoders.in_flight + self._inference.in_flight + len(self._pending)
        return (self._folder.queue if self._folder else 0) + in_work

    @property
    def has_begun(self) -> bool:
        """Whether the folder is being watched; a service also waits for a folder that is missing."""
        return self.is_watching or self._life.is_service

    @property
    def is_healthy(self) -> bool:
        """Whether the network makes progress, or an error explains why it does not."""
        return not self._inference.is_stuck

    @property
    def trouble(self) -> str:
        """Present errors of the folder, the network, the moves and the sinks, joined; empty if there are none."""
        own = [backoff.reason for backoff in (self._backoff, self._mover.backoff, self._errors.backoff)]
        return "; ".join(reason for reason in (self._inference.trouble, *own, self._recorder.trouble) if reason)

    @property
    def summary(self) -> str:
        """See `edge.daemon.session.Work`, as for the next two properties."""
        return f"{self.queue} waiting"

    @property
    def fields(self) -> dict[str, Any]:
        return {"waiting": self.queue}

    @property
    def progress(self) -> str:
        return str(self._stats)

    def run(self) -> None:
        """Work until stopped or, with `once`, until every file is answered.

        Raises:
            SourceError: the folder cannot be watched at the start, or with `once` later; otherwise the error is
                logged, and the folder opened again.
            LedgerError, SinkError: with `once`, from the ledger or an output.
            ModelError, WorkerError: the network has failed, or a process cannot be started.
        """
        try:
            with suppress(Stopped):
                self._flush()  # what a former run left in the ledger
                self._answer_all()
        except MovedAwayError as error:
            _log.warning("%s; starting again there", error)
            self._life.reload = True
            return
        with suppress(Stopped):
            self._flush()

    def _answer_all(self) -> None:
        """Answer the files, and open the folder again whenever it is lost."""
        life = self._life
        while not life.stopping:
            try:
                self._answer_files()
                return
            except MovedAwayError:
                raise
            except SourceError as error:
                self._folder = None
                if life.once or not (self.is_watching or life.is_service):
                    raise
                self._flush()
                self._backoff.failed(error)
                life.wait_for(self._backoff)

    def _answer_files(self) -> None:
        """The loop: take the files from the folder as they come; a step handles a few of them."""
        self._folder = self._open_folder()
        if self._folder.real_root != self._recorder.root:
            raise MovedAwayError(f"{printable(self._folder.root)}: leads to {printable(self._folder.real_root)} now")
        self._return_changed()
        life = self._life
        for found in self._folder.files(life.stop.is_set, once=life.once, busy=self._busy):
            self.is_watching = True
            self._backoff.succeeded()
            for path, status in found or ():
                self._find(path, status)
            self._step(is_idle=found is None)

    def _step(self, *, is_idle: bool) -> None:
        """One round: new files go to the decoders, decoded ones to the network, answers to the ledger."""
        self._look_up()
        self._collect(0.0)
        self._flush_if_due(is_idle=is_idle)
        self._return_changed()
        self._life.heartbeat()

    def _return_changed(self) -> None:
        """Take files that were repaired in UNREADABLE back into the folder, which yields them."""
        if self._unreadable and self._folder:
            self._unreadable.return_changed(self._folder.admits)

    def _busy(self) -> Sequence[Waitable]:
        """What becomes readable when there is more to do; empty if all files found so far are done."""
        is_working = self._inference.in_flight or self._found or self._pending.held
        waitables = self._decoders.waitables if self._room_bytes > 0 else ()
        return [*waitables, *([self._inference.waitable] if is_working else [])]

    @property
    def _room_bytes(self) -> int:
        """Bytes of pixels that may still be taken from the decoding processes."""
        return ROOM_BYTES - self._inference.nbytes - self._pending.nbytes

    @property
    def _is_working(self) -> bool:
        return bool(self._decoders.in_flight or self._inference.in_flight)

    def _flush_if_due(self, *, is_idle: bool) -> None:
        if not self._is_due(is_idle=is_idle):
            return
        self._flush()
        while self._pending.held and not self._life.stopping:  # what was recorded just now may be the same files
            self._ask(self._pending.release())
            if self._is_working or not self._pending.group:
                break
            self._flush()

    def _find(self, path: str, status: os.stat_result | None) -> None:
        """Note a file that the folder has yielded, for the next step."""
        try:
            status, seen_ns = status or os.stat(path), time.time_ns()
        except OSError as error:
            if os.path.lexists(path):
                self._report(path, reason_of(error))
            return
        if not stat.S_ISREG(status.st_mode):
            return  # a FIFO, a device, a folder: nothing that could hold an image
        task = Task(path, FileId.of(status), seen_ns)
        if self._errors.is_postponed(path, task.stamp):
            return
        left = quiet.before_reading(path, task.stamp)
        if not (left and self._defer(path, left)):
            self._found.append(task)

    def _look_up(self) -> None:
        """Submit the files found to the decoders, except those that the ledger has answered."""
        while self._found:
            tasks, self._found = self._found[:MAX_LOOKUP], self._found[MAX_LOOKUP:]
            files = [(self._absolute(task.path), task.stamp) for task in tasks]
            new = deque[Task]()
            for task, known in zip(tasks, self._recorder.retry(partial(self._answers.known, files)), strict=True):
                if known is None:
                    new.append(task)
                else:
                    self._pass_over(task, known)
            self._submit(new)
        self._decoders.send()

    def _submit(self, tasks: deque[Task]) -> None:
        """Submit files to the decoders, waiting for room, unless stopped first."""
        while not self._life.stopping:
            waiting = self._inference.in_flight + len(self._pending.held)
            if waiting < MAX_WAITING and self._room_bytes > 0:
                self._decoders.submit_some(tasks)
            if not tasks:
                return
            self._collect(0.5)
            self._flush_if_due(is_idle=True)  # for what is held takes room, too
            self._life.heartbeat()

    def _pass_over(self, task: Task, known: AnsweredAs) -> None:
        """A file that was answered before: it may still have to be sorted."""
        if task.path in self._to_move:
            self._to_move.discard(task.path)
        else:
            self._stats.known += 1
        if self._sorter and not os.path.islink(task.path):
            ledger = self._recorder.ledger
            if not self._recorder.retry(lambda: ledger.is_to_be_moved(known.path, task.stamp)):
                self._add(task, known.path, known.sha256, known)

    def _collect(self, seconds: float) -> None:
        """Take finished work of decoders and network, waiting up to `seconds` for the first."""
        if seconds and self._is_working:
            self._decoders.send()
            wait(list[Any](self._busy()), seconds)
        read = []
        for task, outcome in self._decoders.outcomes(room_bytes=self._room_bytes):
            if isinstance(outcome, FileChanged):
                self._wait_for_writer(task)
            elif isinstance(outcome, Prepared):
                self._errors.forget(task.path)
                self._written_since.pop(task.path, None)
                left = quiet.before_answer(task.stamp, once=self._life.once) if outcome.reason else 0.0
                if not (left and self._defer(task.path, left)):
                    read.append((task, outcome))
            elif os.path.lexists(task.path):
                # Nothing was read, so nothing is answered: a later listing tries again.
                if isinstance(outcome, WorkerDied):
                    self._errors.postpone(task.path, task.stamp)
                self._report(task.path, outcome.reason)
        self._ask(read)
        for done in self._inference.outcomes():
            self._add(done.task, self._absolute(done.task.path), done.read.sha256, done.verdict, done.model_sha256)

    def _defer(self, path: str, seconds: float) -> bool:
        """Let the folder yield a file again when it has been quiet; false if too many wait already."""
        if self._folder is None or not self._folder.has_room:
            return False
        self._folder.defer(path, seconds)
        return True

    def _wait_for_writer(self, task: Task) -> None:
        """A file that changed while it was read, or is open for writing: read it again later.

        With `once` the wait is limited: the file gets no answer then, and a later run finds it complete.
        """
        now = time.monotonic()
        if self._life.once and now - self._written_since.setdefault(task.path, now) > WRITER_SECONDS:
            self._report(task.path, "is still being written by another program")
        elif self._folder:
            self._folder.defer(task.path)

    def _ask(self, read: list[tuple[Task, Prepared]]) -> None:
        """Submit decoded files to the network, except contents that the ledger has answered."""
        for start in range(0, len(read), MAX_LOOKUP):
            self._ask_some(read[start : start + MAX_LOOKUP])

    def _ask_some(self, read: list[tuple[Task, Prepared]]) -> None:
        fresh = []
        for task, prepared in read:
            absolute = self._absolute(task.path)
            if self._pending.begin(absolute, task, prepared):
                fresh.append((task, absolute, prepared))
        if not fresh:
            return
        files = [(absolute, task.stamp, prepared) for task, absolute, prepared in fresh]
        answers = self._recorder.retry(lambda: self._answers.answered_as(files))
        for (task, absolute, prepared), known in zip(fresh, answers, strict=True):
            if known is not None:
                self._stats.known += 1
                if are_two_files(known.path, absolute):  # renamed, and met there meanwhile
                    self._pending.drop(absolute, task.stamp)
                else:
                    self._add(task, absolute, prepared.sha256, known)
            elif prepared.reason:
                self._add(task, absolute, prepared.sha256, Failure(task.path, prepared.reason))
            elif prepared.verdict is not None:
                self._add(task, absolute, prepared.sha256, prepared.verdict, prepared.model_sha256)
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
        target = None
        if self._sorter and not os.path.islink(task.path):
            left = quiet.before_move(task.stamp) if label is None else 0.0
            if not left:
                target = self._sorter.target(absolute, label)
            elif not self._life.once and self._defer(task.path, left):  # else a later run moves it
                self._to_move.add(task.path)
        model_sha256 = model_sha256 or self._answers.model_sha256
        self._pending.add(Entry(absolute, task.stamp, task.seen_ns, sha256, answer, model_sha256, target))

    def _is_due(self, *, is_idle: bool) -> bool:
        if is_idle and not self._is_working:
            return True  # also without a batch: failed deliveries and moves may work now
        if self._room_bytes <= 0 and not self._inference.in_flight:
            return True  # held files fill the memory limit until the batch is recorded
        return self._pending.is_due

    def _flush(self) -> None:
        """Commit the batch, perform its moves, and deliver its answers."""
        self._recorder.replace_lost_ledger()
        has_new = False
        if group := self._pending.group:
            new = self._recorder.retry(lambda: self._answers.record(group))
            self._pending.recorded()
            has_new = bool(new)
            for entry in new:
                if not isinstance(entry.answer, AnsweredAs):
                    self._stats.count(entry.answer)
        if self._sorter:
            self._mover.move()
        self._recorder.deliver(has_new=has_new)
        while self._folder and self._folder.failures:
            error = self._folder.failures.pop(0)
            self._report(os.fsdecode(error.filename), reason_of(error))

    def _report(self, path: str, reason: str) -> None:
        if failure := self._errors.report(path, reason):
            self._stats.count(failure)

    def _absolute(self, path: str) -> str:
        """The path below the folder's real path, however the user spelt the folder."""
        assert self._folder is not None
        return self._within + path[len(self._folder.root) :].lstrip(os.sep)
