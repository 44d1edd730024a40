"""The thread of a network on a Coral, which runs while the loop reads, records and delivers.

A Coral has one user, so the decoding processes send their pixels here. The runtimes release Python's global lock while
the Coral computes.
"""

import contextlib
import os
import threading
import time
from collections import deque
from dataclasses import dataclass
from queue import SimpleQueue

from edge.inference.retrying import RetryingClassifier
from edge.verdict import Verdict
from edge.watch.decode import Prepared, Task

MAX_WAITING = 128  # images that wait for a verdict
WAKE_COUNT = 8  # verdicts for which the loop is woken although more images wait
STUCK_SECONDS = 30.0  # without a verdict, after which a network counts as stuck


@dataclass(frozen=True)
class Classified:
    """A file, its verdict, and the SHA-256 digest of the model that gave it."""

    task: Task
    read: Prepared
    verdict: Verdict
    model_sha256: str


class InferenceThread:
    """Classifies prepared images, in their order.

    Attributes:
        in_flight: number of submitted images whose verdict was not fetched yet.
        nbytes: bytes of their pixels.
        waitable: a descriptor that becomes readable when there are verdicts.
    """

    def __init__(self, network: RetryingClassifier | None) -> None:
        """
        Args:
            network: None: the decoding processes have networks, and there is nothing to do here.
        """
        self._network = network
        self._tasks: SimpleQueue[tuple[Task, Prepared] | None] = SimpleQueue()
        self._done: deque[Classified] = deque()
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._progress_at = time.monotonic()
        self.in_flight = self.nbytes = 0
        self.waitable = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._thread = threading.Thread(target=self._run, args=(network,), name="inference", daemon=True)
        if network is not None:
            self._thread.start()

    @property
    def trouble(self) -> str:
        """The present error of the network; empty if there is none."""
        return self._network.backoff.reason if self._network else ""

    @property
    def is_stuck(self) -> bool:
        """Whether a submitted image got neither a verdict nor an error for STUCK_SECONDS."""
        is_working = self.in_flight > len(self._done)  # otherwise the loop has not fetched the verdicts
        return is_working and not self.trouble and time.monotonic() - self._progress_at > STUCK_SECONDS

    def submit(self, task: Task, read: Prepared) -> None:
        """Give an image to the network.

        Args:
            read: the image, which must have pixels.
        """
        if self.in_flight == len(self._done):
            self._progress_at = time.monotonic()
        self.in_flight += 1
        self.nbytes += read.nbytes
        self._tasks.put((task, read))

    def outcomes(self) -> list[Classified]:
        """The verdicts since the last call, without waiting.

        Raises:
            ModelError, CoralError: see `RetryingClassifier.verdict`; after all verdicts before the error.
        """
        with contextlib.suppress(BlockingIOError):  # the loop was not woken; there may be verdicts nevertheless
            os.eventfd_read(self.waitable)
        found = []
        while self._done:
            found.append(self._done.popleft())
        self.in_flight -= len(found)
        self.nbytes -= sum(one.read.nbytes for one in found)
        if not found and self._error is not None:
            raise self._error
        return found

    def close(self) -> None:
        """End the thread; unfinished images are lost. It does not wait for a network that hangs."""
        self._stop.set()
        self._tasks.put(None)
        if self._network is not None:
            self._thread.join(1.0)
        if not self._thread.is_alive():
            os.close(self.waitable)

    def __enter__(self) -> "InferenceThread":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, network: RetryingClassifier) -> None:
        try:
            while (item := self._tasks.get()) is not None and not self._stop.is_set():
                task, read = item
                verdict = self._verdict(network, task, read)
                if verdict is None:
                    return
                self._done.append(Classified(task, read, verdict, network.model_sha256))
                self._progress_at = time.monotonic()
                if self._tasks.empty() or len(self._done) >= WAKE_COUNT:
                    os.eventfd_write(self.waitable, 1)
        except BaseException as error:  # raised again by `outcomes`
            self._error = error
            os.eventfd_write(self.waitable, 1)

    def _verdict(self, network: RetryingClassifier, task: Task, read: Prepared) -> Verdict | None:
        """Classify an image, with retries; None if `close` is called first."""
        assert read.pixels is not None
        while not self._stop.is_set():
            verdict = network.verdict(task.path, read.pixels, read.size, read.seconds, read.model)
            if verdict is not None:
                return network.with_provenance(verdict, read.provenance, read.model)
            self._stop.wait(network.backoff.seconds_left)
        return None
