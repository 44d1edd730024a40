"""Puts images into the queue: any number of files, a few in memory at a time."""

import asyncio
import contextlib
import hashlib
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from edge.errors import FleetError, ImageError, UnreadableFileError, reason_of
from edge.files import FileId
from edge.fleet import protocol
from edge.fleet.journal import Journal
from edge.fleet.protocol import ANY, EXPECTED, FULL, INLINE_BYTES, MESSAGE_ID, NO_STORAGE, TOO_LARGE, WORK, Job
from edge.fleet.server import Server, in_words
from edge.imaging import preprocess
from edge.sources.files import entries
from edge.sources.filters import Names, UnreadFormats
from edge.verdict import Failure

IN_FLIGHT = 16  # images that wait for the server's confirmation
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.25, 5.0
NAME_CHARACTERS = "/"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """A file to submit.

    Attributes:
        below: the folder that was named, or the file's own folder: URLs are relative to it.
    """

    path: str
    below: str


@dataclass
class Counts:
    """What became of the files.

    Attributes:
        queued: put into the queue now.
        known: in the queue or answered already, by their content.
        skipped: submitted by an earlier run, by their path, size and time.
        failed: could not be submitted.
    """

    queued: int = 0
    known: int = 0
    skipped: int = 0
    failed: int = 0

    def __str__(self) -> str:
        return (
            f"{self.queued} queued, {self.known} known by their content, {self.skipped} submitted before,"
            f" {self.failed} failed"
        )


@dataclass(frozen=True)
class SubmitSettings:
    """How to submit.

    Attributes:
        models: identity of the models that must answer, or ANY.
        url: prefix of the URLs under which the files can be fetched; None: there is none.
        state: folder of the journal.
        is_again: submit what the journal knows, too.
        queue_bytes, replicas: of streams that are missing, see `protocol.prepare`.
        ack_seconds: of a consumer that is missing.
    """

    state: Path
    models: str = ANY
    url: str | None = None
    is_again: bool = False
    queue_bytes: int = 1_000_000_000
    replicas: int | None = None
    ack_seconds: float = protocol.ACK_SECONDS


def sources(paths: Iterable[str], recursive: bool, failed: Callable[[Failure], None]) -> Iterator[Source]:
    """The named files, and the images in the named folders, in the order of the disk: no list of them is kept.

    Args:
        failed: gets folders that cannot be listed.
    """
    unread = UnreadFormats()
    for path in paths:
        if not os.path.isdir(path):
            yield Source(path, os.path.dirname(path) or ".")
            continue
        waiting = [path]
        while waiting:
            folder = waiting.pop()
            try:
                for inner, is_folder in entries(folder, recursive, Names(), path, unread):
                    if is_folder:
                        waiting.append(inner)
                    elif inner:
                        yield Source(inner, path)
            except OSError as error:
                failed(Failure(folder, reason_of(error)))
    if line := unread.line():
        _log.info("%s", line)


class Submission:
    """One run of `fleet submit`.

    Attributes:
        counts: what became of the files so far.
    """

    def __init__(self, server: Server, settings: SubmitSettings, failed: Callable[[Failure], None]) -> None:
        """
        Args:
            failed: gets each file that could not be submitted.
        """
        self._server, self._settings, self._report = server, settings, failed
        self.counts, self._is_full = Counts(), False

    async def run(self, files: Iterable[Source], stop: asyncio.Event) -> None:
        """Submit files until there are no more, or until `stop` is set.

        Raises:
            FleetError: the streams cannot be created, or the journal cannot be used.
        """
        settings = self._settings
        await protocol.prepare(self._server, settings.queue_bytes, settings.replicas)
        await protocol.consumer(self._server, settings.models, settings.ack_seconds)
        under_way: set[asyncio.Task[None]] = set()
        iterator = iter(files)
        with Journal(settings.state, f"{await self._created()} {settings.models}") as journal:
            try:
                while not stop.is_set() and (source := await asyncio.to_thread(next, iterator, None)) is not None:
                    under_way.add(asyncio.create_task(self._submit(source, journal)))
                    if len(under_way) >= IN_FLIGHT:
                        under_way = await self._settled(under_way, asyncio.FIRST_COMPLETED)
                if under_way and not stop.is_set():
                    await self._settled(under_way, asyncio.ALL_COMPLETED)
            finally:
                for task in under_way:
                    task.cancel()
                await asyncio.gather(*under_way, return_exceptions=True)

    async def _settled(self, tasks: set[asyncio.Task[None]], when: str) -> set[asyncio.Task[None]]:
        done, rest = await asyncio.wait(tasks, return_when=when)
        for task in done:
            task.result()
        return rest

    async def _created(self) -> str:
        """When the queue was created: the journal of another queue does not count."""
        found = await self._server.request(f"STREAM.INFO.{WORK}")
        return str(found.get("created", ""))

    async def _submit(self, source: Source, journal: Journal) -> None:
        try:
            path = os.path.abspath(source.path)
            try:
                stamp = FileId.of(os.stat(path))
            except (OSError, ValueError) as error:
                raise UnreadableFileError(source.path, reason_of(error)) from error
            if not self._settings.is_again and journal.has(path, stamp):
                self.counts.skipped += 1
                return
            data = await asyncio.to_thread(preprocess.read, source.path)
            is_new = await self._queue(source, data)
        except ImageError as error:
            self.counts.failed += 1
            self._report(Failure(source.path, error.reason))
            return
        self.counts.queued += is_new
        self.counts.known += not is_new
        journal.add(path, stamp)

    async def _queue(self, source: Source, data: bytes) -> bool:
        """Put an image into the queue; returns False if it is there, or was answered.

        Raises:
            UnreadableFileError: it is too large for a message and has no URL.
        """
        url, most = "", min(INLINE_BYTES, self._server.client.max_payload - protocol.HEADER_BYTES)
        if len(data) > most:
            url = self._url(source, len(data), most)
        job = Job(self._settings.models, hashlib.sha256(data).hexdigest(), source.path, url)
        if await protocol.is_answered(self._server, job.key):
            return False
        headers = job.headers | {MESSAGE_ID: job.key, EXPECTED: "0"}
        wait_seconds = FIRST_WAIT_SECONDS
        while True:
            try:
                done = await self._server.stream.publish(f"edge.work.{job.key}", b"" if url else data, headers=headers)
                self._is_full = False
                return not done.duplicate
            except Exception as error:
                code = getattr(error, "err_code", None)
                if code == protocol.WRONG_SEQUENCE:
                    return False
                if code == TOO_LARGE or type(error).__name__ == "MaxPayloadError":
                    raise UnreadableFileError(source.path, "more than the server's limit of a message") from error
                if self._server.denied:
                    raise FleetError(f"{self._server.shown}: {self._server.denied}") from error
                self._waits(error, code)
                if not self._server.is_open:
                    raise in_words(error, self._server.shown) from error
            await asyncio.sleep(wait_seconds)
            wait_seconds = min(2 * wait_seconds, LONGEST_WAIT_SECONDS)

    def _waits(self, error: Exception, code: int | None) -> None:
        """Log once that the submission waits, until the next image is taken."""
        if not self._is_full:
            is_full = code in (FULL, NO_STORAGE)
            reason = "the queue is full" if is_full else str(in_words(error, self._server.shown))
            _log.info("%s; waiting", reason)
        self._is_full = True

    def _url(self, source: Source, size: int, most: int) -> str:
        if self._settings.url is None:
            reason = f"{size} bytes, more than the {most} that a message holds; serve the folder by HTTP, and add --url"
            raise UnreadableFileError(source.path, reason)
        relative = os.path.relpath(source.path, source.below)
        url = self._settings.url + quote(os.fsencode(relative), safe=NAME_CHARACTERS)
        if len(url) > protocol.URL_BYTES:
            raise UnreadableFileError(source.path, "its URL is too long")
        return url


async def submit(
    server: Server,
    settings: SubmitSettings,
    files: Iterable[Source],
    failed: Callable[[Failure], None],
    stop: asyncio.Event,
) -> Counts:
    """Submit files; see `Submission`.

    Raises:
        FleetError: see `Submission.run`.
    """
    submission = Submission(server, settings, failed)
    working = asyncio.create_task(submission.run(files, stop))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not working.done():  # a full queue may keep it waiting
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(working), 2.0)
        working.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await working
    return submission.counts


__all__ = ["Counts", "FleetError", "Source", "Submission", "SubmitSettings", "sources", "submit"]
