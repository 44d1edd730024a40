"""Inference threads, which run while the loop reads, records and delivers.

The runtimes let other threads run while they compute; what is left of Python
here is little. Several networks side by side, an image each, do more than one
that computes an image with several threads: these would wait for each other
after each layer.
"""

import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from queue import SimpleQueue

from edge.inference.retrying import RetryingClassifier
from edge.verdict import Verdict
from edge.watch.decode import Prepared, Task

MOST_ROOM = 128  # images that wait
ANNOUNCED_AT_ONCE = 8  # verdicts that are worth waking the loop for, while there is more to do
STUCK_SECONDS = 30.0


@dataclass(frozen=True)
class Classified:
    """A file with its verdict, and which model has given it."""

    task: Task
    read: Prepared
    verdict: Verdict
    model_sha256: str


class InferencePool:
    """Prepared images go in, verdicts come out, of a single network in the same order.

    Attributes:
        in_flight: images whose verdict was not fetched yet.
        nbytes: of their pixels.
        waitable: becomes readable when there are verdicts.
    """

    def __init__(self, networks: Sequence[RetryingClassifier]) -> None:
        """
        Args:
            networks: of the same models, one for each thread.
        """
        self._networks = networks
        self._tasks: SimpleQueue[tuple[Task, Prepared] | None] = SimpleQueue()
        self._done: deque[Classified] = deque()
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._moved_at = time.monotonic()
        self.in_flight = self.nbytes = 0
        self.waitable = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._threads = [
            threading.Thread(target=self._run, args=(network,), name="inference", daemon=True) for network in networks
        ]
        for thread in self._threads:
            thread.start()

    @property
    def trouble(self) -> str:
        """Why no network answers at present; empty if nothing is wrong."""
        return next((network.backoff.reason for network in self._networks if network.backoff.reason), "")

    @property
    def is_stuck(self) -> bool:
        """Whether a submitted image got neither a verdict nor an error for STUCK_SECONDS."""
        is_at_work = self.in_flight > len(self._done)  # the loop may be waiting for something else, and fetch nothing
        return is_at_work and not self.trouble and time.monotonic() - self._moved_at > STUCK_SECONDS

    def submit(self, task: Task, read: Prepared) -> None:
        """
        Args:
            read: with pixels.
        """
        if self.in_flight == len(self._done):
            self._moved_at = time.monotonic()
        self.in_flight += 1
        self.nbytes += read.nbytes
        self._tasks.put((task, read))

    def outcomes(self) -> list[Classified]:
        """What has been classified since.

        Raises:
            ModelError, CoralError: see `RetryingClassifier.verdict`.
        """
        with contextlib.suppress(BlockingIOError):  # nothing was announced; some may be there all the same
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
        """End the thread; what it had not finished is lost. A network that hangs is not waited for."""
        self._stop.set()
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            thread.join(1.0)
        if not any(thread.is_alive() for thread in self._threads):
            os.close(self.waitable)

    def __enter__(self) -> "InferencePool":
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
                self._moved_at = time.monotonic()
                if self._tasks.empty() or len(self._done) >= ANNOUNCED_AT_ONCE:
                    os.eventfd_write(self.waitable, 1)
        except BaseException as error:  # raised again by `outcomes`
            self._error = error
            os.eventfd_write(self.waitable, 1)

    def _verdict(self, network: RetryingClassifier, task: Task, read: Prepared) -> Verdict | None:
        """A verdict; None if `close` was called before there was one."""
        assert read.pixels is not None
        while not self._stop.is_set():
            verdict = network.verdict(task.path, read.pixels, read.size, read.seconds, read.model)
            if verdict is not None:
                return verdict
            self._stop.wait(network.backoff.seconds_left)
        return None
