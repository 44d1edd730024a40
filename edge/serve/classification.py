"""Classifies uploads, by a `edge.watch.job_thread.JobThread`: one network for all requests, and a bounded queue."""

import asyncio
import logging
import os
import threading
from dataclasses import dataclass

from edge.errors import ImageError, UndecodableImageError, UnreadableFileError, reason_of
from edge.files import FileId
from edge.inference.router import Router
from edge.serve.problems import Problem
from edge.stats import Stats
from edge.verdict import Answer, Failure
from edge.watch.decode import Outcome, Prepared, Task
from edge.watch.decode_pool import usual_count
from edge.watch.decode_worker import DecodeLimits
from edge.watch.job_thread import Job, JobThread

_log = logging.getLogger(__name__)

MOST_WAITING = 128  # images that wait or are worked on; further ones are refused
MOST_WAITING_BYTES = 96 * 1024 * 1024  # of their files: of large photos, whose decoding takes long, some twenty
MOST_WORKERS = 2  # decoding processes: a board that serves pages does other work as well
RETRY_SECONDS = 1.0  # after which a client that was refused may try again, if nothing is known better


@dataclass(frozen=True)
class Classified:
    """What became of an image.

    Attributes:
        answer: the verdict, or why there is none.
        display: a JPEG of the image for people, if one was wanted; empty if there is none.
    """

    answer: Answer
    display: bytes = b""


class Classification(JobThread[Classified]):
    """Classifies uploads, and makes the pictures that pages show, so that the server never decodes an image itself.

    Attributes:
        stats: what was answered since the start.
        models: the names of the models.
    """

    def __init__(self, router: Router, folder: str, limits: DecodeLimits | None = None) -> None:
        """See `JobThread`.

        Args:
            folder: real path of the folder of the uploads.
        """
        self.models, self.stats = router.names, Stats()
        self._waiting = self._waiting_bytes = 0
        self._lock = threading.Lock()
        super().__init__(router, folder, min(MOST_WORKERS, usual_count()), limits)

    @property
    def waiting(self) -> int:
        """Number of images that wait or are worked on."""
        return self._waiting

    async def classify(self, path: str, name: str, *, explain: bool = False, display: int = 0) -> Classified:
        """Classify a file in the folder of the uploads; it must not change meanwhile.

        Args:
            name: the path in the answer.
            explain: add the place and logit of each view to a verdict.
            display: longest side in pixels of a picture to be made for people; 0: none.

        Raises:
            Problem: 503, the queue is full, or the network cannot work now.
        """
        return await self._done(self._task(path, "", display, is_classified=True, explain=explain), name)

    async def picture(self, path: str, root: str, longest: int) -> bytes:
        """A JPEG of an image file anywhere, for people: upright, without metadata, at most `longest` pixels a side.

        Args:
            root: a folder; if links lead out of it, the file is not read.

        Raises:
            ImageError: the file cannot be read, or is no image.
            Problem: 503, the queue is full.
        """
        done = await self._done(self._task(path, os.path.realpath(root), longest, is_classified=False), path)
        if isinstance(done.answer, Failure) and not done.display:
            raise UndecodableImageError(path, done.answer.reason)
        return done.display

    def _task(self, path: str, root: str, display: int, *, is_classified: bool, explain: bool = False) -> Task:
        try:
            stamp = FileId.of(os.stat(path))
        except (OSError, ValueError) as error:
            raise UnreadableFileError(path, reason_of(error)) from error
        return Task(path, stamp, next(self._count), root, display, is_classified, explain)

    async def _done(self, task: Task, name: str) -> Classified:
        if self._stop.is_set():
            raise Problem.later("the server is being stopped", RETRY_SECONDS)
        size = task.stamp.size
        if self._waiting >= MOST_WAITING or (self._waiting and self._waiting_bytes + size > MOST_WAITING_BYTES):
            raise Problem.later(f"{self._waiting} images are waiting", RETRY_SECONDS)
        job = Job[Classified](task, name)
        with self._lock:
            self._waiting += 1
            self._waiting_bytes += size
        self._add(job)
        try:
            return await asyncio.wrap_future(job.result)
        finally:
            with self._lock:
                self._waiting -= 1
                self._waiting_bytes -= size

    def _finish(self, job: Job[Classified], outcome: Outcome) -> None:
        if not job.result.set_running_or_notify_cancel():
            return  # nobody waits for it any more
        try:
            job.result.set_result(self._classified(job, outcome))
        except Exception as error:
            if not isinstance(error, Problem | ImageError):
                _log.warning("%s: %s", type(error).__name__, error)
                error = Problem(500, "the model has failed; the server's log has the reason")
            job.result.set_exception(error)

    def _classified(self, job: Job[Classified], outcome: Outcome) -> Classified:
        if not isinstance(outcome, Prepared):
            reason = getattr(outcome, "reason", "") or "the file has changed while it was read"
            answer: Answer = Failure(job.name, reason)
        elif not job.task.is_classified:
            return Classified(Failure(job.name, outcome.reason), outcome.display)
        elif outcome.pixels is None:
            answer = Failure(job.name, outcome.reason)
        else:
            verdict = self._network.verdict(
                job.name, outcome.pixels, outcome.size, outcome.seconds, outcome.model, explain=job.task.explain
            )
            if verdict is None:  # the Coral is away
                backoff = self._network.backoff
                raise Problem.later(f"the network cannot work now: {backoff.reason}", backoff.seconds_left or 1)
            answer = self._network.with_provenance(verdict, outcome.provenance, outcome.model)
        self.stats.count(answer._replace(explain=None) if not isinstance(answer, Failure) else answer)
        return Classified(answer, outcome.display if isinstance(outcome, Prepared) else b"")

    def _interrupted(self, reason: str) -> Exception:
        return Problem.later(reason, RETRY_SECONDS)
