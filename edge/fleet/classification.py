"""Classifies images of the queue, by a `edge.watch.job_thread.JobThread`."""

import contextlib
import itertools
import logging
import os
import tempfile
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future

from edge import files
from edge.errors import EdgeDetectError, FleetError, reason_of
from edge.files import FileId
from edge.inference.router import Router
from edge.verdict import Answer, Failure
from edge.watch.decode import Outcome, Prepared, Task
from edge.watch.decode_worker import DecodeLimits
from edge.watch.job_thread import Job, JobThread

PREFIX = "edge-detect-fleet-"  # of folders of images in hand

_log = logging.getLogger(__name__)


class BoardFaultError(FleetError):
    """This board cannot classify now; that is not the image's fault, and no failed try."""


class Classification(JobThread[Answer]):
    """Classifies images of the queue; those that wait for a Coral keep their place."""

    stuck_seconds, close_seconds = 180.0, 5.0  # a file may be read for 120 s

    def __init__(self, router: Router, folder: str, workers: int, limits: DecodeLimits | None = None) -> None:
        """See `JobThread`."""
        self._held: deque[Job[Answer]] = deque()
        self._number = itertools.count(1)  # of files
        super().__init__(router, folder, workers, limits)

    def submit(self, data: bytes, name: str) -> Future[Answer]:
        """Classify an image.

        The future raises BoardFaultError, or another FleetError if the image could not be read or ended its process.

        Args:
            name: the path in its answer.

        Raises:
            BoardFaultError: the image cannot be written to the folder.
        """
        path = os.path.join(self._folder, str(next(self._number)))
        try:
            with open(path, "xb") as file:
                file.write(data)
            stamp = FileId.of(os.stat(path))
        except OSError as error:
            raise BoardFaultError(f"cannot write the image to {self._folder}: {reason_of(error)}") from error
        job = Job[Answer](Task(path, stamp, next(self._count)), name)
        job.result.add_done_callback(lambda _: _remove(path))
        self._add(job)
        return job.result

    def _unfinished(self) -> list[Job[Answer]]:
        return [*super()._unfinished(), *self._held]

    def _interrupted(self, reason: str) -> Exception:
        return BoardFaultError(reason)

    def _resume(self) -> None:
        while self._held and self._network.backoff.is_due:
            job = self._held.popleft()
            if job.prepared is not None:
                self._finish(job, job.prepared)

    def _finish(self, job: Job[Answer], outcome: Outcome) -> None:
        if job.result.cancelled():
            return
        try:
            answer = self._answer(job, outcome)
        except EdgeDetectError as error:
            _set_error(job.result, error if isinstance(error, FleetError) else BoardFaultError(str(error)))
            return
        if answer is None:  # the Coral is away
            job.prepared = outcome if isinstance(outcome, Prepared) else None
            self._held.append(job)
            return
        with contextlib.suppress(Exception):  # cancelled meanwhile
            job.result.set_result(answer)

    def _answer(self, job: Job[Answer], outcome: Outcome) -> Answer | None:
        if not isinstance(outcome, Prepared):
            raise FleetError(getattr(outcome, "reason", "") or "its file has changed while it was read")
        if outcome.pixels is None:
            return Failure(job.name, outcome.reason)
        verdict = self._network.verdict(job.name, outcome.pixels, outcome.size, outcome.seconds, outcome.model)
        if verdict is None:
            return None
        return self._network.with_provenance(verdict, outcome.provenance, outcome.model)


def _set_error(result: Future[Answer], error: EdgeDetectError) -> None:
    with contextlib.suppress(Exception):  # cancelled meanwhile
        result.set_exception(error)


@contextlib.contextmanager
def private_folder() -> Iterator[str]:
    """A folder for images in hand, see `edge.files.private_folder`.

    Raises:
        FleetError: it cannot be created.
    """
    with contextlib.ExitStack() as stack:
        try:
            folder = stack.enter_context(files.private_folder(PREFIX))
        except OSError as error:
            raise FleetError(f"{tempfile.gettempdir()}: cannot create a folder: {reason_of(error)}") from error
        yield str(folder)


def _remove(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)
