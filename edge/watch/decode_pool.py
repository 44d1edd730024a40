"""Processes that read, decode and classify, so that a hostile image harms one of them and not the daemon.

Decoders are large C programs that get any file that lies in the folder. If one crashes or does not come to an end, its
process is killed and replaced, and the image is answered with that error. With a network in each, the processes keep
all cores busy.

The processes come from `multiprocessing`'s fork server, which has loaded the decoders already: a new process takes
milliseconds, and shares its memory with the others.
"""

import contextlib
import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from typing import TYPE_CHECKING

from edge.errors import EdgeDetectError, WorkerError
from edge.imaging import preprocess
from edge.imaging.inputs import Input
from edge.process import limits
from edge.process.forkserver import start_server
from edge.provenance import trust_list
from edge.watch.decode import FileChanged, Outcome, Task, WorkerDied, prepare_without_decoding
from edge.watch.decode_worker import DecodeLimits, Position, nbytes_of, serve
from edge.watch.memory_gate import MemoryGate

if TYPE_CHECKING:
    from edge.inference.router import Router

PRELOADED = "edge.watch.preloaded"  # module that the fork server imports
ROOM_BYTES = 8_000_000  # of the pixels of all images that wait for the network

# Tasks that wait at a process: enough that it is never idle, few enough that a new file does not wait behind minutes of
# work. Their cost is the bytes to read plus NAME_COST for each byte of a name, because names go through the socket.
MAX_DEPTH = 256
MAX_COST = 2_000_000  # if more than MIN_DEPTH tasks wait
MIN_DEPTH = 4
NAME_COST = 30

# Tasks are sent in groups, because one message costs more time than a small image.
TASKS_PER_MESSAGE = 64
GROUP_TASKS, GROUP_COST = 16, 100_000  # of tasks that one process gets, before it is known which has the fewest

ATTEMPTS = 2  # processes that may die at one image; the first may have died for another reason
# Signals by which a decoder crashes; other signals come from outside.
CRASHES = frozenset(
    (signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT, signal.SIGSYS, signal.SIGTRAP)
)
OWN_BYTES = 60_000_000  # memory that a process uses beside decoding
# If the loop has not received outcomes for this long, it was the loop that hung: then no process counts as hung.
LOOP_HUNG_SECONDS = 10.0


@dataclass
class _Worker:
    """A process, and its tasks.

    Attributes:
        position: the task that the process is working on, in memory that it writes to.
        tasks: those whose outcomes were not received yet, in the order of the process.
        unsent: the last of them, which were not sent to the process yet.
        cost: of `tasks`, see MAX_COST.
        received: number of outcomes that were received so far.
        since: time of the last sign of life: when the first task was submitted, or the last outcomes were received.
    """

    process: ForkServerProcess
    connection: Connection
    position: Position
    tasks: deque[Task] = field(default_factory=deque)
    unsent: list[Task] = field(default_factory=list)
    cost: int = 0
    received: int = 0
    since: float = 0.0

    @property
    def current(self) -> int:
        """Index of the task that the process is working on, or of the last one if it has finished all.

        Within bounds even if a decoder has overwritten `position`.
        """
        return max(0, min(len(self.tasks) - 1, self.position.value - self.received))

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
            ModelError, RuntimeMissingError: its models cannot be loaded, or have failed.
        """
        outcomes: list[Outcome] | EdgeDetectError = self.connection.recv()
        if isinstance(outcomes, EdgeDetectError):
            raise outcomes
        self.since = time.monotonic()
        self.received += len(outcomes)
        done = [(self.tasks.popleft(), outcome) for outcome in outcomes]
        self.cost = self.cost - sum(_cost(task) for task, _ in done) if self.tasks else 0
        return done


class DecodePool:
    """Prepares files in a fixed number of processes; the outcomes come in the order in which they finish."""

    def __init__(
        self,
        count: int,
        root: str,
        inputs: Sequence[Input],
        limits: DecodeLimits | None = None,
        make_router: "Callable[[], Router] | None" = None,
    ) -> None:
        """
        Args:
            count: number of processes, at least 1.
            root: real path of the folder in which every file must lie.
            inputs: of the models.
            make_router: makes the models with which each process classifies its images; None: they are only decoded.

        Raises:
            WorkerError: a process cannot be started; `submit` and `outcomes` can raise it, too.
        """
        self._context = multiprocessing.get_context("forkserver")
        self._root, self._inputs, self._limits = root, tuple(inputs), limits or DecodeLimits()
        self._make_router = make_router
        at_once = usual_count()
        self._gate = MemoryGate(at_once, count, preprocess.MEMORY_BYTES) if at_once < count else None
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

    def submit_some(self, tasks: deque[Task]) -> None:
        """Give the first tasks to the processes, as many as there is room for, and remove them.

        Small ones go in groups to the process that has the fewest.
        """
        while tasks:
            worker = min(self._workers, key=lambda worker: (not worker.has_room, len(worker.tasks)))
            count, least_cost = 0, worker.cost
            while tasks and count < GROUP_TASKS and worker.cost - least_cost < GROUP_COST and worker.has_room:
                worker.add(tasks.popleft())
                count += 1
            if not count:
                return

    def send(self) -> None:
        """Send all submitted tasks that still wait for a full message."""
        for worker in self._workers:
            worker.send()

    def outcomes(self, seconds: float = 0.0, room_bytes: int = ROOM_BYTES) -> list[tuple[Task, Outcome]]:
        """The outcomes since the last call; waits up to `seconds` for the first.

        Args:
            room_bytes: about how many bytes of pixels may be returned. The rest stays with the processes, which wait;
                with 0 it does not wait.

        Raises:
            WorkerError: see `__init__`.
            ModelError, RuntimeMissingError: the models of a process cannot be loaded, or have failed.
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
        if self._gate is not None:
            self._gate.close()
            self._gate = None

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
                    position = self._context.RawValue("Q", 0)
                    arguments = (
                        theirs,
                        position,
                        self._root,
                        self._inputs,
                        self._limits,
                        trust_list.used(),
                        self._make_router,
                        self._gate,
                    )
                    process = self._context.Process(target=serve, args=arguments, daemon=True)
                    start_server(PRELOADED)  # the server may have died since the last start
                    process.start()
            except (OSError, EOFError) as error:
                reason = limits.reached(error) or limits.of_memory() or error
                raise WorkerError(f"cannot start a decoding process: {reason}") from error
            undo.pop_all()
        return _Worker(process, ours, position)

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
                done = worker.receive()
                self._outcomes += done
                taken += sum(nbytes_of(outcome) for _, outcome in done)
                if self._deaths:
                    for task, _ in done:
                        self._deaths.pop(task, None)
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


def _cost(task: Task) -> int:
    return task.stamp.size + NAME_COST * len(task.path)
