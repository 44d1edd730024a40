"""What runs in a decoding process of `edge.watch.decode_pool`.

The fork server imports this module, so that its processes have the decoders loaded.
"""

import contextlib
import gc
import resource
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

import edge.imaging.png  # loaded before the processes are forked, as the decoder of JPEG is
import edge.imaging.tiff  # noqa: F401
from edge.errors import ModelError, NotInstalledError, RuntimeMissingError, UndecodableImageError, UnreadableFileError
from edge.imaging import preprocess
from edge.imaging.inputs import Input
from edge.imaging.preprocess import Pixels
from edge.process import limits as process_limits
from edge.provenance import trust_list
from edge.verdict import Evidence
from edge.watch import inside
from edge.watch.decode import Attempt, Content, Outcome, Prepared, Task, Unread, decoded, provenance, read
from edge.watch.memory_gate import MemoryGate

if TYPE_CHECKING:
    from edge.inference.router import Router

T = TypeVar("T")

# Outcomes are sent in groups, because one message costs more time than a small image.
SEND_SECONDS = 0.05  # outcomes do not wait longer than this, and for no file of more than QUICK_BYTES
QUICK_BYTES = 100_000
JPEG_START = b"\xff\xd8"
GROUP_BYTES = 1_000_000  # of the contents of a group, which are in memory together
# A message should fit into the socket's buffer. One with all views of a photo does not: it is sent alone, and its
# process waits until it is received.
MESSAGE_PIXEL_BYTES = 200_000

IDLE_SECONDS = 1.0  # without a task, after which a process gives memory back
OVERHEAD_BYTES = 1_000_000_000  # address space that the interpreter, Pillow and numpy map without using it


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


class Position(Protocol):
    """Which task a process is working on, in memory that it shares with the daemon.

    Attributes:
        value: number of the task; the first one that the process received has the number 0.
    """

    value: int


_Numbered = tuple[int, Task, Outcome]  # the number is that of `Position`


class _Timer:
    """Lets the kernel kill this process when an image takes too much processor time, even in a decoder that loops.

    It is set again after a tenth of that time, so that several small images share it: one may take a tenth longer.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds, self._again = 1.1 * seconds, 0.1 * seconds
        self._set_at: float | None = None

    def start(self) -> None:
        """Allow the next image its time."""
        now = time.monotonic()  # passes at least as fast as this thread's processor time
        if self._set_at is None or now - self._set_at > self._again:
            signal.setitimer(signal.ITIMER_PROF, self._seconds)
            self._set_at = now

    def limits(self, call: Callable[[], T]) -> Callable[[], T]:
        """Stop the timer, and return a function that starts it for the length of a call."""
        self.stop()

        def limited() -> T:
            self.start()
            try:
                return call()
            finally:
                self.stop()

        return limited

    def stop(self) -> None:
        """Allow this process any time."""
        signal.setitimer(signal.ITIMER_PROF, 0)
        self._set_at = None


class _Work:
    """Works on tasks in groups: small files together, a large one alone.

    The files of a group are read in a row, then decoded in a row, then classified in a row if there is a router: the
    steps of one file would displace each other from the processor's caches.
    """

    def __init__(
        self,
        connection: Connection,
        position: Position,
        root: str,
        inputs: Sequence[Input],
        timer: _Timer,
        router: "Router | None",
        gate: MemoryGate | None,
    ) -> None:
        self._connection, self._position, self._root, self._inputs = connection, position, root, inputs
        self._timer, self._router, self._gate = timer, router, gate
        self._number = 0  # of the group's first task, see `Position`
        self._prepared: list[_Numbered] = []  # files whose outcomes are to be sent
        self._nbytes, self._since = 0, 0.0  # bytes of their pixels, and the time of the first
        self._keeps_memory = False

    def on(self, tasks: Sequence[Task]) -> None:
        """Work on tasks, and send all outcomes."""
        for group in _in_groups(tasks):
            contents = self._read(group)
            self._keep_memory(contents)
            says = self._provenance(group, contents)
            for number, (task, evidence) in enumerate(zip(group, says, strict=True), self._number):
                # Nothing else refers to the content, so its memory is free before the network runs.
                self._add(number, task, self._decoded(number, task, contents.popleft(), evidence))
            self._finish()
            self._number += len(group)

    def _read(self, group: Sequence[Task]) -> deque[Attempt]:
        self._timer.start()
        position, contents = self._position, deque[Attempt]()
        for position.value, task in enumerate(group, self._number):
            contents.append(read(self._root, task))
        return contents

    def _keep_memory(self, contents: Sequence[Attempt]) -> None:
        """From the first large image on, other than a JPEG, of which little is decoded: see `edge.process.heap`."""
        if not self._keeps_memory and any(
            isinstance(one, Content) and len(one.data) > QUICK_BYTES and not one.data.startswith(JPEG_START)
            for one in contents
        ):
            from edge.process import heap  # here: the main process does not need it

            heap.keep()
            self._keeps_memory = True

    def _provenance(self, group: Sequence[Task], contents: deque[Attempt]) -> list[tuple[Evidence, ...]]:
        position, says = self._position, []
        for position.value, (task, content) in enumerate(zip(group, contents, strict=True), self._number):
            self._timer.start()
            says.append(provenance(task, content))
        return says

    def _decoded(self, number: int, task: Task, content: Attempt, says: tuple[Evidence, ...]) -> Outcome:
        if self._prepared and time.monotonic() - self._since > SEND_SECONDS:
            self._finish()
        router, timer = self._router, self._timer
        self._position.value = number
        timer.start()
        outcome = decoded(task, content, self._inputs, says, lazily=router is not None)
        if router and isinstance(outcome, Prepared) and outcome.further is not None:
            del content
            outcome = classified(router, task, outcome, timer.limits(outcome.further))
        if self._gate is not None:
            self._gate.leave()
        return outcome

    def _add(self, number: int, task: Task, outcome: Outcome) -> None:
        """Add a file to those that are sent together, after sending them if all would be too large together."""
        nbytes = nbytes_of(outcome)
        if self._prepared and self._nbytes + nbytes > MESSAGE_PIXEL_BYTES:
            self._finish()
        if not self._prepared:
            self._since = time.monotonic()
        self._prepared.append((number, task, outcome))
        self._nbytes += nbytes

    def _finish(self) -> None:
        """Classify the images that are not classified yet, and send the outcomes."""
        if not self._prepared:
            return
        self._timer.stop()
        position, router, outcomes = self._position, self._router, []
        for position.value, task, outcome in self._prepared:
            outcomes.append(classified(router, task, outcome) if router else outcome)
        self._connection.send(outcomes)
        self._prepared, self._nbytes = [], 0


def classified(router: "Router", task: Task, outcome: Outcome, further: Callable[[], Pixels] | None = None) -> Outcome:
    """A prepared image with its verdict instead of its pixels; other outcomes as they are.

    Args:
        further: see `edge.inference.classifier.Classifier.judge`.
    """
    if not isinstance(outcome, Prepared) or outcome.pixels is None:
        return outcome
    digest, pixels, size, model, seconds = outcome.sha256, outcome.pixels, outcome.size, outcome.model, outcome.seconds
    try:
        verdict = router.verdict(task.path, pixels, size, seconds, model=model, further=further)
    except UndecodableImageError as error:
        return Prepared(digest, None, (0, 0), error.reason, seconds)
    except UnreadableFileError as error:
        return Unread(error.reason)
    if outcome.provenance:
        verdict = router.with_provenance(verdict, outcome.provenance, model)
    return Prepared(digest, None, size, "", seconds, model, verdict=verdict, model_sha256=router.sha256(model))


def _in_groups(tasks: Sequence[Task]) -> Iterator[Sequence[Task]]:
    """Tasks that are worked on together: small files, or a single one."""
    start = nbytes = 0
    for at, task in enumerate(tasks):
        if at > start and (task.stamp.size > QUICK_BYTES or nbytes + task.stamp.size > GROUP_BYTES):
            yield tasks[start:at]
            start, nbytes = at, 0
        nbytes += task.stamp.size
    if tasks:
        yield tasks[start:]


def serve(
    connection: Connection,
    position: Position,
    root: str,
    inputs: Sequence[Input],
    limits: DecodeLimits,
    trust_list_file: Path | None,
    make_router: "Callable[[], Router] | None" = None,
    gate: MemoryGate | None = None,
) -> None:
    """The main function of a process: works on tasks until the pool closes the connection or its process ends.

    Args:
        trust_list_file: see `edge.provenance.trust_list`.
        make_router: makes the models that classify the images at once; None: they are only decoded.
        gate: where to wait before a large image is decoded.
    """
    from edge.process import heap  # here: the main process does not need it

    if gate is not None:
        preprocess.before_decoding = gate.wait
    trust_list.use(trust_list_file)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C at a terminal reaches all processes; the daemon handles it
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    gc.freeze()  # otherwise the garbage collector would write to what the server has loaded, which ends its sharing
    _limit_memory(OVERHEAD_BYTES + limits.bytes)
    with contextlib.suppress(EOFError, OSError), _sent_to(connection):
        router = _loaded(make_router) if make_router else None
        work = _Work(connection, position, root, inputs, _Timer(limits.seconds), router, gate)
        while True:
            if not connection.poll(IDLE_SECONDS):
                heap.give_back()
            work.on(connection.recv())
            inside.release()


def _loaded(make_router: "Callable[[], Router]") -> "Router":
    """The models, of which the first is loaded.

    Raises:
        ModelError, RuntimeMissingError: it cannot be loaded; also if numpy cannot, or if there is too little memory.
    """
    try:
        router = make_router()
        router.classifier(0)
    except (MemoryError, ImportError, NotInstalledError, RuntimeMissingError) as error:
        if reason := process_limits.reached(error):
            raise RuntimeMissingError(reason) from error
        if isinstance(error, NotInstalledError):
            raise RuntimeMissingError(str(error)) from error
        raise
    return router


@contextlib.contextmanager
def _sent_to(connection: Connection) -> Iterator[None]:
    """Send an error of the models to the pool, which raises it there."""
    try:
        yield
    except (ModelError, RuntimeMissingError) as error:
        connection.send(error)


def _limit_memory(nbytes: int) -> None:
    """Limit the address space of this process, if that is permitted."""
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    # The sandbox of a service may forbid it; then the service has a limit for all of its processes together.
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_AS, (nbytes if most == resource.RLIM_INFINITY else min(nbytes, most), most))


def nbytes_of(outcome: Outcome) -> int:
    """Bytes of an outcome's pixels."""
    return outcome.nbytes if isinstance(outcome, Prepared) else 0
