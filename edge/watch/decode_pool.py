"""Processes that read and decode, so that a hostile image harms one of them and not the daemon.

Decoders are large C programs that meet whatever lies in the folder. One that
crashes, or that does not come to an end, takes its process along; the image
gets its answer, and another process takes over. As a gift the work runs on
all cores beside the network's.

The processes come from `multiprocessing`'s fork server: it has the decoders
loaded already, so that a new process costs milliseconds and shares its memory
with the others.
"""

import contextlib
import gc
import multiprocessing
import os
import resource
import signal
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from typing import Protocol

from edge.errors import WorkerError
from edge.imaging import preprocess
from edge.imaging.inputs import Input
from edge.process.forkserver import start_server
from edge.watch.decode import Changed, Died, Outcome, Prepared, Task, prepare, unprepared

PRELOADED = "edge.watch.decode"  # by the server
DEPTH = 32  # tasks that wait at a process, so that it never waits for us
SENT_AT_ONCE = 16  # tasks of a message, and outcomes of one, for a message costs more than a small image
SENT_SECONDS = 0.02  # outcomes do not wait longer than that, except for one that is being worked at and looks quick
QUICK_BYTES = 100_000  # the size of a file that does
# Of outcomes that are sent together: a message has to fit into the socket's buffer. One with all views of a photo does
# not, and goes alone; its process waits until we take it.
PIXEL_BYTES = 65_536
ROOM_BYTES = 8_000_000  # of the pixels of all images that wait for the network
WAITING_COST = (
    1_000_000  # of the tasks that wait at a process, when they are some: bytes to read, and those of the names
)
LEAST_DEPTH = 4
NAME_COST = 30  # of a byte of a name, for the names go through the socket
ATTEMPTS = 2  # a process may have died for another reason than its image
# By which a decoder ends that meets what it was not made for; other deaths come from outside.
CRASHES = frozenset(
    (signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT, signal.SIGSYS, signal.SIGTRAP)
)
# What the interpreter, Pillow and numpy map without using it, beside what decoding may take.
OVERHEAD_BYTES = 1_000_000_000
AWAY_SECONDS = 10.0
OWN_BYTES = 60_000_000  # what a process really takes beside that


@dataclass(frozen=True)
class DecodeLimits:
    """What one image may cost.

    Attributes:
        seconds: of processor time, for reading and decoding.
        bytes: of memory.
    """

    seconds: float = 30.0
    bytes: int = preprocess.MAX_DECODING_BYTES
    least_waiting_seconds: float = 120.0

    @property
    def waiting_seconds(self) -> float:
        """Of any time: a share whose server has gone lets its reader wait forever."""
        return max(self.least_waiting_seconds, 10 * self.seconds)


class _Count(Protocol):
    """A number in memory that two processes share."""

    value: int


@dataclass
class _Worker:
    """
    Attributes:
        finished: how many tasks it has done in its life, whether we have their outcomes or not.
        tasks: those whose outcomes we do not have.
        unsent: the last of them, which it does not have yet.
        cost: of `tasks`, see WAITING_COST.
        received: outcomes in its life.
        since: when it began with the first task, or sent the last outcomes.
    """

    process: ForkServerProcess
    connection: Connection
    finished: _Count
    tasks: deque[Task] = field(default_factory=deque)
    unsent: list[Task] = field(default_factory=list)
    cost: int = 0
    received: int = 0
    since: float = 0.0

    @property
    def at_work(self) -> int:
        """The index of the task that it is at; of the last one if it has done all.

        Within bounds whatever stands in the memory that a decoder may have spoilt.
        """
        return max(0, min(len(self.tasks) - 1, self.finished.value - self.received))

    @property
    def has_room(self) -> bool:
        """Few large files wait, or some more small ones: what arrives is not to stand behind minutes of work."""
        return len(self.tasks) < LEAST_DEPTH or (len(self.tasks) < DEPTH and self.cost < WAITING_COST)


class DecodePool:
    """A fixed number of processes; tasks go in, outcomes come out as they are done."""

    def __init__(self, count: int, root: str, inputs: Sequence[Input], limits: DecodeLimits | None = None) -> None:
        """
        Args:
            count: processes, at least 1.
            root: the real path of the folder in which every file must lie.
            inputs: what the models take.

        Raises:
            WorkerError: from here, `submit` and `outcomes`, if a process cannot be started.
        """
        self._context = multiprocessing.get_context("forkserver")
        self._root, self._inputs, self._limits = root, tuple(inputs), limits or DecodeLimits()
        self._failed: dict[Task, int] = {}
        self._outcomes: list[tuple[Task, Outcome]] = []
        self._count, self._looked_at = count, time.monotonic()
        self._hung: list[ForkServerProcess] = []  # those that even the kernel cannot end, for a disk does not answer
        self._workers: list[_Worker] = []
        try:
            for _ in range(count):
                self._workers.append(self._started())
        except BaseException:
            self.close()
            raise

    @property
    def in_flight(self) -> int:
        return sum(len(worker.tasks) for worker in self._workers) + len(self._outcomes)

    @property
    def has_room(self) -> bool:
        return any(worker.has_room for worker in self._workers)

    @property
    def waitables(self) -> Sequence[Connection]:
        """What becomes readable when there is an outcome."""
        return [worker.connection for worker in self._workers if worker.tasks]

    def submit(self, task: Task) -> None:
        """Give a task to the process that has the fewest; there must be room. It may wait for `send`."""
        self._submit_to(min(self._workers, key=lambda worker: (not worker.has_room, len(worker.tasks))), task)

    def send(self) -> None:
        """Let the processes have what waits for a full message."""
        for worker in self._workers:
            self._send(worker)

    def outcomes(self, seconds: float = 0.0, room_bytes: int = ROOM_BYTES) -> list[tuple[Task, Outcome]]:
        """What has been done since, waiting so long for the first of it.

        Args:
            room_bytes: about as many of pixels are welcome. The rest stays with the processes, which wait until it is
                taken; with nothing welcome we do not wait.
        """
        self.send()
        self._receive_all(0 if self._outcomes else seconds, room_bytes)
        self._end_the_waiting()
        found, self._outcomes = self._outcomes, []
        return found

    def close(self) -> None:
        """End the processes; what they had not finished is lost."""
        for worker in self._workers:
            worker.connection.close()
            worker.process.kill()
        for worker in self._workers:
            worker.process.join(1.0)  # one that waits for a disk that does not answer cannot be ended by anyone
        self._workers = []

    def __enter__(self) -> "DecodePool":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _started(self) -> _Worker:
        with contextlib.ExitStack() as undo:
            try:
                ours, theirs = self._context.Pipe()
                undo.callback(ours.close)
                with theirs:
                    finished = self._context.RawValue("Q", 0)
                    arguments = (theirs, finished, self._root, self._inputs, self._limits)
                    process = self._context.Process(target=_serve, args=arguments, daemon=True)
                    start_server(PRELOADED)  # if it has gone meanwhile
                    process.start()
            except (OSError, EOFError) as error:
                raise WorkerError(f"cannot start a process that decodes: {error}") from error
            undo.pop_all()
        return _Worker(process, ours, finished)

    def _submit_to(self, worker: _Worker, task: Task) -> None:
        if not worker.tasks:
            worker.since = time.monotonic()
        worker.tasks.append(task)
        worker.unsent.append(task)
        worker.cost += _cost(task)
        if len(worker.unsent) >= SENT_AT_ONCE:
            self._send(worker)

    def _send(self, worker: _Worker) -> None:
        if worker.unsent:
            with contextlib.suppress(OSError):  # it has died; that is seen when its outcome is asked for
                worker.connection.send(worker.unsent)
            worker.unsent = []

    def _receive_all(self, seconds: float, room_bytes: int) -> None:
        for connection in wait(self.waitables, seconds) if room_bytes > 0 else ():
            worker = next(worker for worker in self._workers if worker.connection is connection)
            room_bytes -= self._receive(worker, room_bytes)
        now = time.monotonic()
        if now - self._looked_at > AWAY_SECONDS:  # it was us who did not look, and not they who did not work
            for worker in self._workers:
                worker.since = now
        self._looked_at = now

    def _receive(self, worker: _Worker, room_bytes: int) -> int:
        """Take what it has sent, until there is no room left; returns how many bytes of pixels that was."""
        taken = 0
        try:
            while worker.tasks and taken < room_bytes and worker.connection.poll():
                outcomes: list[Outcome] = worker.connection.recv()
                worker.since = time.monotonic()
                worker.received += len(outcomes)
                for outcome in outcomes:
                    task = worker.tasks.popleft()
                    worker.cost -= _cost(task)
                    self._failed.pop(task, None)
                    self._outcomes.append((task, outcome))
                    taken += _nbytes(outcome)
        except (EOFError, OSError):
            self._replace(worker)
        return taken

    def _end_the_waiting(self) -> None:
        """Give up on files that nobody can read, and as long as there are too many of those, on their folder."""
        self._hung = [process for process in self._hung if process.exitcode is None]
        for worker in list(self._workers):
            if not worker.tasks or time.monotonic() - worker.since < self._limits.waiting_seconds:
                continue
            if worker.connection.poll():  # it has done its part, and waits until there is room for that
                continue
            worker.process.kill()
            worker.connection.close()
            worker.process.join(1.0)
            if worker.process.exitcode is None:
                self._hung.append(worker.process)
            self._workers.remove(worker)
            culprit = worker.at_work
            died = Died(f"could not be read within {self._limits.waiting_seconds:g} s")
            self._outcomes += [(task, died if at == culprit else Changed()) for at, task in enumerate(worker.tasks)]
        while len(self._workers) < self._count and len(self._hung) < self._count:
            self._workers.append(self._started())

    def _of_a_death(self, task: Task, number: int) -> Outcome:
        if number == signal.SIGPROF:
            return unprepared(self._root, task, f"took more than {self._limits.seconds:g} s to decode")
        if number in CRASHES:
            return unprepared(self._root, task, f"its decoder crashed ({signal.Signals(number).name})")
        how = signal.strsignal(number) if number > 0 else f"exit status {-number}"
        return Died(f"the process that decoded it was ended ({how}), perhaps for want of memory")

    def _replace(self, worker: _Worker) -> None:
        """Another process in its place, with what it had still to do."""
        worker.connection.close()
        worker.process.join()
        exit_code, left, at = worker.process.exitcode or 0, worker.tasks, worker.at_work
        self._workers.remove(worker)
        fresh = self._started()
        self._workers.append(fresh)
        culprit = left[at]
        self._failed[culprit] = self._failed.get(culprit, 0) + 1
        if exit_code == -signal.SIGPROF or self._failed[culprit] == ATTEMPTS:
            del left[at]
            del self._failed[culprit]
            self._outcomes.append((culprit, self._of_a_death(culprit, -exit_code)))
        for task in left:
            self._submit_to(fresh, task)
        self._send(fresh)


def usual_count() -> int:
    """A process for each core, but no more than may meet the largest images at once in three quarters of the memory."""
    by_memory = int(0.75 * preprocess.MEMORY_BYTES) // (preprocess.MAX_DECODING_BYTES + OWN_BYTES)
    return max(1, min(len(os.sched_getaffinity(0)), by_memory))


def _serve(connection: Connection, finished: _Count, root: str, inputs: Sequence[Input], limits: DecodeLimits) -> None:
    """The life of a process: until the other end is closed, by whatever happens there."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C at a terminal goes to all; the daemon ends us
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.signal(signal.SIGIO, signal.SIG_IGN)  # see `edge.files.has_writer`
    gc.freeze()  # what the server has loaded is no garbage: left alone, its memory stays shared
    room = OVERHEAD_BYTES + limits.bytes
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    # A service whose sandbox forbids it has a limit for all of its processes together.
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_AS, (room if most == resource.RLIM_INFINITY else min(room, most), most))
    with contextlib.suppress(EOFError, OSError):
        while True:
            tasks: list[Task] = connection.recv()
            outcomes: list[Outcome] = []
            sent_at, nbytes = time.monotonic(), 0
            for task in tasks:
                # What is done does not wait for what may take long: it would look older than it is when it comes.
                is_long = time.monotonic() - sent_at > SENT_SECONDS or task.stamp.size > QUICK_BYTES
                if outcomes and is_long:
                    connection.send(outcomes)
                    outcomes, sent_at, nbytes = [], time.monotonic(), 0
                # The kernel ends us when the time is up, also from within a decoder that never returns.
                signal.setitimer(signal.ITIMER_PROF, limits.seconds)
                outcome = prepare(root, task, inputs)
                signal.setitimer(signal.ITIMER_PROF, 0)
                if outcomes and nbytes + _nbytes(outcome) > PIXEL_BYTES:
                    connection.send(outcomes)
                    outcomes, sent_at, nbytes = [], time.monotonic(), 0
                finished.value += 1
                outcomes.append(outcome)
                nbytes += _nbytes(outcome)
                del outcome  # it may be large
            connection.send(outcomes)


def _nbytes(outcome: Outcome) -> int:
    return outcome.nbytes if isinstance(outcome, Prepared) else 0


def _cost(task: Task) -> int:
    return task.stamp.size + NAME_COST * len(task.path)
