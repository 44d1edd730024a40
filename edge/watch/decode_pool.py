"""Processes that read and decode, so that a hostile image harms one of them and not the daemon.

Decoders are large C programs that get any file that lies in the folder. If one crashes or does not come to an end, its
process is killed and replaced, and the image is answered with that error. The processes also use all cores beside the
network's threads.

The processes come from `multiprocessing`'s fork server, which has loaded the decoders already: a new process takes
milliseconds, and shares its memory with the others.
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
from edge.watch.decode import FileChanged, Outcome, Prepared, Task, WorkerDied, prepare, prepare_without_decoding

PRELOADED = "edge.watch.decode"  # module that the fork server imports
ROOM_BYTES = 8_000_000  # of the pixels of all images that wait for the network

# Tasks that wait at a process: enough that it is never idle, few enough that a new file does not wait behind minutes of
# work. Their cost is the bytes to read plus NAME_COST for each byte of a name, because names go through the socket.
MAX_DEPTH = 32
MAX_COST = 1_000_000  # if more than MIN_DEPTH tasks wait
MIN_DEPTH = 4
NAME_COST = 30

# Tasks and outcomes are sent in groups, because one message costs more time than a small image.
TASKS_PER_MESSAGE = 16
SEND_SECONDS = 0.02  # outcomes do not wait longer than this, and for no file of more than QUICK_BYTES
QUICK_BYTES = 100_000
# A message should fit into the socket's buffer. One with all views of a photo does not: it is sent alone, and its
# process waits until it is received.
MESSAGE_PIXEL_BYTES = 65_536

ATTEMPTS = 2  # processes that may die at one image; the first may have died for another reason
# Signals by which a decoder crashes; other signals come from outside.
CRASHES = frozenset(
    (signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT, signal.SIGSYS, signal.SIGTRAP)
)
OVERHEAD_BYTES = 1_000_000_000  # address space that the interpreter, Pillow and numpy map without using it
OWN_BYTES = 60_000_000  # memory that a process uses beside decoding
# If the loop has not received outcomes for this long, it was the loop that hung: then no process counts as hung.
LOOP_HUNG_SECONDS = 10.0


@dataclass(frozen=True)
class DecodeLimits:
    """What one image may cost.

    Attributes:
        seconds: processor time for reading and decoding.
        bytes: memory for decoding.
        least_waiting_seconds: lower bound of `waiting_seconds`.
    """

    seconds: float = 30.0
    bytes: int = preprocess.MAX_DECODING_BYTES
    least_waiting_seconds: float = 120.0

    @property
    def waiting_seconds(self) -> float:
        """Time after which a process counts as hung: a read waits forever if the server of a network share is gone."""
        return max(self.least_waiting_seconds, 10 * self.seconds)


class _Count(Protocol):
    """A number in memory that two processes share."""

    value: int


@dataclass
class _Worker:
    """A process, and its tasks.

    Attributes:
        finished: number of tasks that the process has finished so far, in memory that it writes to.
        tasks: those whose outcomes were not received yet, in the order of the process.
        unsent: the last of them, which were not sent to the process yet.
        cost: of `tasks`, see MAX_COST.
        received: number of outcomes that were received so far.
        since: time of the last sign of life: when the first task was submitted, or the last outcomes were received.
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
    def current(self) -> int:
        """Index of the task that the process is working on, or of the last one if it has finished all.

        Within bounds even if a decoder has overwritten `finished`.
        """
        return max(0, min(len(self.tasks) - 1, self.finished.value - self.received))

    @property
    def has_room(self) -> bool:
        return len(self.tasks) < MIN_DEPTH or (len(self.tasks) < MAX_DEPTH and self.cost < MAX_COST)

    def add(self, task: Task) -> None:
        """Add a task; it is sent when there are enough for a message, or by `send`."""
        if not self.tasks:
            self.since = time.monotonic()
        self.tasks.append(task)
        self.unsent.append(task)
        self.cost += _cost(task)
        if len(self.unsent) >= TASKS_PER_MESSAGE:
            self.send()

    def send(self) -> None:
        """Send the unsent tasks to the process."""
        if self.unsent:
            with contextlib.suppress(OSError):  # it has died; that is handled when its outcomes are received
                self.connection.send(self.unsent)
            self.unsent = []

    def receive(self) -> list[tuple[Task, Outcome]]:
        """Receive one message: some tasks with their outcomes.

        Raises:
            EOFError, OSError: the process has died.
        """
        outcomes: list[Outcome] = self.connection.recv()
        self.since = time.monotonic()
        self.received += len(outcomes)
        done = [(self.tasks.popleft(), outcome) for outcome in outcomes]
        self.cost -= sum(_cost(task) for task, _ in done)
        return done


class DecodePool:
    """Reads and decodes files in a fixed number of processes; the outcomes come in the order in which they finish."""

    def __init__(self, count: int, root: str, inputs: Sequence[Input], limits: DecodeLimits | None = None) -> None:
        """
        Args:
            count: number of processes, at least 1.
            root: real path of the folder in which every file must lie.
            inputs: of the models.

        Raises:
            WorkerError: a process cannot be started; `submit` and `outcomes` can raise it, too.
        """
        self._context = multiprocessing.get_context("forkserver")
        self._root, self._inputs, self._limits = root, tuple(inputs), limits or DecodeLimits()
        self._deaths: dict[Task, int] = {}  # how many processes have died at a task
        self._outcomes: list[tuple[Task, Outcome]] = []
        self._count, self._received_at = count, time.monotonic()
        self._hung: list[ForkServerProcess] = []  # killed, but they wait in the kernel for a disk that does not answer
        self._workers: list[_Worker] = []
        try:
            for _ in range(count):
                self._workers.append(self._start())
        except BaseException:
            self.close()
            raise

    @property
    def in_flight(self) -> int:
        """Number of tasks whose outcome was not returned yet."""
        return sum(len(worker.tasks) for worker in self._workers) + len(self._outcomes)

    @property
    def has_room(self) -> bool:
        """Whether a task can be submitted."""
        return any(worker.has_room for worker in self._workers)

    @property
    def waitables(self) -> Sequence[Connection]:
        """What becomes readable when there is an outcome."""
        return [worker.connection for worker in self._workers if worker.tasks]

    def submit(self, task: Task) -> None:
        """Give a task to the process that has the fewest; there must be room. It may wait for `send`."""
        min(self._workers, key=lambda worker: (not worker.has_room, len(worker.tasks))).add(task)

    def send(self) -> None:
        """Send all submitted tasks that still wait for a full message."""
        for worker in self._workers:
            worker.send()

    def outcomes(self, seconds: float = 0.0, room_bytes: int = ROOM_BYTES) -> list[tuple[Task, Outcome]]:
        """The outcomes since the last call; waits up to `seconds` for the first.

        Args:
            room_bytes: about how many bytes of pixels may be returned. The rest stays with the processes, which wait;
                with 0 it does not wait.
        """
        self.send()
        self._receive_all(0 if self._outcomes else seconds, room_bytes)
        self._replace_hung()
        found, self._outcomes = self._outcomes, []
        return found

    def close(self) -> None:
        """Kill the processes; unfinished tasks are lost."""
        for worker in self._workers:
            worker.connection.close()
            worker.process.kill()
        for worker in self._workers:
            worker.process.join(1.0)  # not longer: a process that waits for a disk in the kernel cannot be killed
        self._workers = []

    def __enter__(self) -> "DecodePool":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self) -> _Worker:
        with contextlib.ExitStack() as undo:
            try:
                ours, theirs = self._context.Pipe()
                undo.callback(ours.close)
                with theirs:
                    finished = self._context.RawValue("Q", 0)
                    arguments = (theirs, finished, self._root, self._inputs, self._limits)
                    process = self._context.Process(target=_serve, args=arguments, daemon=True)
                    start_server(PRELOADED)  # the server may have died since the last start
                    process.start()
            except (OSError, EOFError) as error:
                raise WorkerError(f"cannot start a decoding process: {error}") from error
            undo.pop_all()
        return _Worker(process, ours, finished)

    def _receive_all(self, seconds: float, room_bytes: int) -> None:
        for connection in wait(self.waitables, seconds) if room_bytes > 0 else ():
            worker = next(worker for worker in self._workers if worker.connection is connection)
            room_bytes -= self._receive(worker, room_bytes)
        now = time.monotonic()
        if now - self._received_at > LOOP_HUNG_SECONDS:
            for worker in self._workers:
                worker.since = now
        self._received_at = now

    def _receive(self, worker: _Worker, room_bytes: int) -> int:
        """Receive outcomes of a process until there is no more, or no room; returns the bytes of their pixels."""
        taken = 0
        try:
            while worker.tasks and taken < room_bytes and worker.connection.poll():
                for task, outcome in worker.receive():
                    self._deaths.pop(task, None)
                    self._outcomes.append((task, outcome))
                    taken += _nbytes(outcome)
        except (EOFError, OSError):
            self._replace_dead(worker)
        return taken

    def _replace_hung(self) -> None:
        """Give up files that cannot be read, and kill their processes; none replaces them while too many are hung."""
        self._hung = [process for process in self._hung if process.exitcode is None]
        for worker in list(self._workers):
            if not worker.tasks or time.monotonic() - worker.since < self._limits.waiting_seconds:
                continue
            if worker.connection.poll():  # it has finished tasks, and waits until there is room for their pixels
                continue
            worker.process.kill()
            worker.connection.close()
            worker.process.join(1.0)
            if worker.process.exitcode is None:
                self._hung.append(worker.process)
            self._workers.remove(worker)
            current = worker.current
            died = WorkerDied(f"could not be read within {self._limits.waiting_seconds:g} s")
            self._outcomes += [(task, died if at == current else FileChanged()) for at, task in enumerate(worker.tasks)]
        while len(self._workers) < self._count and len(self._hung) < self._count:
            self._workers.append(self._start())

    def _replace_dead(self, worker: _Worker) -> None:
        """Start another process for the remaining tasks of one that has died.

        The task at which it died is tried once more, unless it has exceeded its time limit.
        """
        worker.connection.close()
        worker.process.join()
        exit_code, tasks, current = worker.process.exitcode or 0, worker.tasks, worker.current
        self._workers.remove(worker)
        fresh = self._start()
        self._workers.append(fresh)
        culprit = tasks[current]
        self._deaths[culprit] = self._deaths.get(culprit, 0) + 1
        if exit_code == -signal.SIGPROF or self._deaths[culprit] == ATTEMPTS:
            del tasks[current]
            del self._deaths[culprit]
            self._outcomes.append((culprit, self._outcome_of_death(culprit, -exit_code)))
        for task in tasks:
            fresh.add(task)
        fresh.send()

    def _outcome_of_death(self, task: Task, number: int) -> Outcome:
        """The outcome of a task at which processes have died.

        Args:
            number: the signal that ended the last one; or its negative exit status.
        """
        if number == signal.SIGPROF:
            return prepare_without_decoding(self._root, task, f"took more than {self._limits.seconds:g} s to decode")
        if number in CRASHES:
            return prepare_without_decoding(self._root, task, f"its decoder crashed ({signal.Signals(number).name})")
        how = signal.strsignal(number) if number > 0 else f"exit status {-number}"
        return WorkerDied(f"the process that decoded it was ended ({how}), perhaps for lack of memory")


def usual_count() -> int:
    """One process per core, but no more than can decode the largest images at once in three quarters of the memory."""
    by_memory = int(0.75 * preprocess.MEMORY_BYTES) // (preprocess.MAX_DECODING_BYTES + OWN_BYTES)
    return max(1, min(len(os.sched_getaffinity(0)), by_memory))


class _Reply:
    """Sends outcomes from a process to the pool, several in a message."""

    def __init__(self, connection: Connection, finished: _Count) -> None:
        self._connection, self._finished = connection, finished
        self._outcomes: list[Outcome] = []
        self._nbytes, self._sent_at = 0, time.monotonic()

    def add(self, outcome: Outcome) -> None:
        """Add an outcome to the message, after sending the present one if both would be too large together."""
        nbytes = _nbytes(outcome)
        if self._outcomes and self._nbytes + nbytes > MESSAGE_PIXEL_BYTES:
            self.send()
        self._finished.value += 1
        self._outcomes.append(outcome)
        self._nbytes += nbytes

    def send_before(self, task: Task) -> None:
        """Send finished outcomes, if they are old or the next task may take long: they do not wait for it."""
        is_long = time.monotonic() - self._sent_at > SEND_SECONDS or task.stamp.size > QUICK_BYTES
        if self._outcomes and is_long:
            self.send()

    def send(self) -> None:
        self._connection.send(self._outcomes)
        self._outcomes, self._nbytes, self._sent_at = [], 0, time.monotonic()


def _serve(connection: Connection, finished: _Count, root: str, inputs: Sequence[Input], limits: DecodeLimits) -> None:
    """The main function of a process: works on tasks until the pool closes the connection or its process ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C at a terminal reaches all processes; the daemon handles it
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.signal(signal.SIGIO, signal.SIG_IGN)  # see `edge.files.has_writer`
    gc.freeze()  # otherwise the garbage collector would write to what the server has loaded, which ends its sharing
    _limit_memory(OVERHEAD_BYTES + limits.bytes)
    with contextlib.suppress(EOFError, OSError):
        while True:
            tasks: list[Task] = connection.recv()
            reply = _Reply(connection, finished)
            for task in tasks:
                reply.send_before(task)
                reply.add(_prepare_in_time(root, task, inputs, limits.seconds))
            reply.send()


def _limit_memory(nbytes: int) -> None:
    """Limit the address space of this process, if that is permitted."""
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    # The sandbox of a service may forbid it; then the service has a limit for all of its processes together.
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_AS, (nbytes if most == resource.RLIM_INFINITY else min(nbytes, most), most))


def _prepare_in_time(root: str, task: Task, inputs: Sequence[Input], seconds: float) -> Outcome:
    """See `prepare`; after `seconds` of processor time the kernel kills this process, even in a decoder that loops."""
    signal.setitimer(signal.ITIMER_PROF, seconds)
    outcome = prepare(root, task, inputs)
    signal.setitimer(signal.ITIMER_PROF, 0)
    return outcome


def _nbytes(outcome: Outcome) -> int:
    return outcome.nbytes if isinstance(outcome, Prepared) else 0


def _cost(task: Task) -> int:
    return task.stamp.size + NAME_COST * len(task.path)
