"""A thread that classifies images for others: decoding in limited processes, and one network for all.

The decoding processes are those of `watch` (`edge.watch.decode_pool`): whatever a hostile image does to its decoder, it
harms one of them.
"""

import contextlib
import itertools
import logging
import os
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from typing import Any, Generic, Self, TypeVar

from edge.errors import EdgeDetectError, WorkerError
from edge.inference.retrying import RetryingClassifier
from edge.inference.router import Router
from edge.retry import Backoff
from edge.watch.decode import Outcome, Prepared, Task
from edge.watch.decode_pool import ROOM_BYTES, DecodePool
from edge.watch.decode_worker import DecodeLimits

_log = logging.getLogger(__name__)

R = TypeVar("R")


@dataclass
class Job(Generic[R]):
    """An image that waits or is worked on.

    Attributes:
        name: the path in its answer.
        prepared: the decoded image, while it waits for the network.
    """

    task: Task
    name: str
    result: Future[R] = field(default_factory=Future)
    prepared: Prepared | None = None


class JobThread(ABC, Generic[R]):
    """A queue of images, and the thread that works on it.

    Attributes:
        backoff: the present error of the decoding processes, or of the thread.
        stuck_seconds: time without progress after which the thread is not healthy.
    """

    stuck_seconds = 60.0
    close_seconds = 2.0  # to wait for the thread; a network that hangs is left behind

    def __init__(self, router: Router, folder: str, workers: int, limits: DecodeLimits | None = None) -> None:
        """
        Args:
            router: for the thread alone from now on.
            folder: real path of the private folder of the images.
            workers: number of decoding processes.

        Raises:
            WorkerError: a decoding process cannot be started.
        """
        self._network, self._inputs = RetryingClassifier(router, once=False), router.inputs
        self._folder, self._workers, self._limits = folder, workers, limits
        self._incoming: deque[Job[R]] = deque()
        self._jobs: dict[Task, Job[R]] = {}  # with the decoding processes
        self._current: Job[R] | None = None  # with the network
        self._count = itertools.count(1)  # no two tasks are equal, not even of one file
        self._wake, self._stop = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC), threading.Event()
        self._progress_at = time.monotonic()
        self._pool = self._new_pool()
        self.backoff = Backoff("; trying again")
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)
        self._thread.start()

    @property
    def trouble(self) -> str:
        """The present error of the network or of the decoding processes; empty if there is none."""
        return self._network.backoff.reason or self.backoff.reason

    @property
    def is_healthy(self) -> bool:
        """Whether the thread makes progress, or has nothing to do."""
        is_alive = self._thread.is_alive() and not self._stop.is_set()
        return is_alive and (self._is_idle or time.monotonic() - self._progress_at < self.stuck_seconds)

    @property
    def _is_idle(self) -> bool:
        return not (self._incoming or self._jobs or self._current)

    def _add(self, job: Job[R]) -> None:
        if self._is_idle:
            self._progress_at = time.monotonic()
        self._incoming.append(job)
        os.eventfd_write(self._wake, 1)

    def close(self) -> None:
        """End the thread and the processes; unfinished images are cancelled."""
        self._stop.set()
        os.eventfd_write(self._wake, 1)
        self._thread.join(self.close_seconds)
        for job in self._unfinished():
            job.result.cancel()
        if not self._thread.is_alive():
            self._pool.close()
            os.close(self._wake)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def _finish(self, job: Job[R], outcome: Outcome) -> None:
        """Classify a decoded image and set its result. Called in the thread."""

    @abstractmethod
    def _interrupted(self, reason: str) -> Exception:
        """The error of images that are under way when the processes have to be started again."""

    def _resume(self) -> None:
        """Called at the beginning of each round."""

    def _unfinished(self) -> list[Job[R]]:
        return [*self._jobs.values(), *self._incoming]

    def _new_pool(self) -> DecodePool:
        return DecodePool(self._workers, self._folder, self._inputs, self._limits)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._round()
                self.backoff.succeeded()
            except Exception as error:  # whatever it is: the images under way get an error, and the thread goes on
                if not isinstance(error, EdgeDetectError):
                    _log.exception("%s: %s", type(error).__name__, error)
                self.backoff.failed(error)
                self._begin_again(str(error))

    def _round(self) -> None:
        """Wait for something to do, and do it."""
        wait(list[Any]([self._wake, *self._pool.waitables]), 0.5)
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._wake)
        self._resume()
        self._send()
        for task, outcome in self._pool.outcomes(room_bytes=ROOM_BYTES):
            self._current = self._jobs.pop(task)
            try:
                self._finish(self._current, outcome)
            finally:
                self._current = None
            self._progress_at = time.monotonic()
            self._send()  # while the network computes, the processes decode

    def _send(self) -> None:
        while self._incoming and self._pool.has_room:
            job = self._incoming.popleft()
            if not job.result.cancelled():
                self._jobs[job.task] = job
                self._pool.submit(job.task)
        self._pool.send()

    def _begin_again(self, reason: str) -> None:
        """After an error: the images under way get an error, and other processes are started."""
        jobs, self._jobs = self._jobs, {}
        for job in jobs.values():
            with contextlib.suppress(Exception):  # one that has just ended
                job.result.set_exception(self._interrupted(reason))
        self._pool.close()
        while not self._stop.wait(self.backoff.seconds_left):
            try:
                self._pool = self._new_pool()
                return
            except WorkerError as error:
                self.backoff.failed(error)
