"""A board of the fleet: takes images from the queue, classifies them, stores the answers, then acknowledges.

An image leaves the queue only after its answer is stored. Whatever fails before means "not answered": after
`ack_wait` the server gives the image to another board. A second answer to an image is refused by the server.
"""

import asyncio
import contextlib
import hashlib
import json
import logging
import signal
import time
from collections.abc import Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass
from typing import Any

from edge.daemon.systemd import Notifier
from edge.errors import EdgeDetectError, FleetError, printable
from edge.fleet import protocol
from edge.fleet.classification import BoardFaultError, Classification
from edge.fleet.download import download
from edge.fleet.protocol import ANY, FAILED, MAX_TRIES, WORK, Job
from edge.fleet.server import Server, ServerSettings, connected, in_words
from edge.retry import Backoff
from edge.stats import Stats
from edge.verdict import Answer

FETCH_SECONDS = 2.0  # how long a request for images waits at the server; also the delay of the reaction to a signal
FINISH_SECONDS = 20.0  # for what is in hand at SIGTERM; the rest is given back
RETRY_SECONDS = (10.0, 60.0)  # before the second and the third try
PAUSE_SECONDS = 1.0  # after a failed request
FAULT_SECONDS = 30.0  # after which a board that cannot classify tries again
REPORT_SECONDS = 60.0
DOWNLOADS = 2  # at once
HEARTBEAT_SECONDS = 1.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WorkSettings:
    """What a board does.

    Attributes:
        board: its name in answers.
        models: identity of its models.
        hands: number of images that it holds at once, for each of the two queues.
        allowed_urls: prefixes of URLs of images.
        queue_bytes, replicas: of streams that are missing, see `protocol.prepare`.
        ack_seconds: of consumers that are missing.
        once: end when the queues are empty.
        retry_seconds: before the second and the third try of an image.
    """

    board: str
    models: str
    hands: int
    allowed_urls: tuple[str, ...] = ()
    queue_bytes: int = 1_000_000_000
    replicas: int | None = None
    ack_seconds: float = protocol.ACK_SECONDS
    once: bool = False
    retry_seconds: Sequence[float] = RETRY_SECONDS


class Worker:
    """Works on the queue until it is stopped.

    Attributes:
        stats: of the answers that this board has stored.
        ended_by: the signal that stopped it; None if none did.
    """

    def __init__(self, server: ServerSettings, settings: WorkSettings, classification: Classification) -> None:
        self._address, self._settings, self._classification = server, settings, classification
        self._stop = asyncio.Event()
        self._in_hand: dict[asyncio.Task[None], Any] = {}  # tasks and their messages
        self._downloads = asyncio.Semaphore(DOWNLOADS)
        self._notifier, self._was_connected = Notifier(), False
        self._trouble = Backoff("; trying again")  # of all requests to the server
        self._fault = Backoff("; trying again")  # of this board
        self.stats = Stats()
        self.ended_by: int | None = None

    def stop(self, number: int) -> None:
        """A signal has come: finish what is in hand, and end."""
        self.ended_by = self.ended_by or number
        self._stop.set()

    async def run(self) -> None:
        """Work until stopped, through losses of the server.

        Raises:
            FleetError: the first connection failed for a reason that waiting does not mend, such as wrong credentials.
            NotInstalledError: a package is missing.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.stop, number)
        backoff, beating = Backoff("; trying again"), asyncio.create_task(self._beat())
        try:
            while not self._stop.is_set():
                try:
                    await self._work(backoff)
                    if self._settings.once:
                        break
                except FleetError as error:
                    if not self._was_connected and not _may_pass(error):
                        raise
                    backoff.failed(error)
                await self._pause(backoff.seconds_left)
        finally:
            beating.cancel()
            self._notifier.stopping()

    async def _work(self, backoff: Backoff) -> None:
        """One connection."""
        settings = self._settings
        async with connected(self._address, f"edge-detect {settings.board}") as server:
            await protocol.prepare(server, settings.queue_bytes, settings.replicas)
            queues = [ANY, settings.models]
            waits = [await protocol.consumer(server, models, settings.ack_seconds) for models in queues]
            backoff.succeeded()
            if not self._was_connected:
                _log.info("%s: %s works with models %s", server.shown, printable(settings.board), settings.models)
            self._was_connected = True
            self._notifier.ready()
            alive = asyncio.create_task(self._keep(min(waits) / 3))
            takers = [asyncio.create_task(self._take(server, models)) for models in queues]
            try:
                await asyncio.gather(*takers)
                await self._finish()
            finally:
                for task in (*takers, alive, *self._in_hand):
                    task.cancel()
                await asyncio.gather(*takers, alive, *self._in_hand, return_exceptions=True)
                self._in_hand.clear()

    async def _take(self, server: Server, models: str) -> None:
        """Fetch as many images as hands are free, and start a task for each."""
        hands = asyncio.Semaphore(self._settings.hands)
        name = protocol.consumer_name(models)
        queue = await server.stream.pull_subscribe_bind(name, WORK)
        try:
            while not self._stop.is_set() and server.is_open:
                free = await self._free(hands)
                if not free:
                    continue
                try:
                    messages = await queue.fetch(free, timeout=FETCH_SECONDS)
                    self._trouble.succeeded()
                except TimeoutError:
                    messages = []
                    if self._settings.once and not self._in_hand and await self._is_empty(server, models):
                        return
                except Exception as error:
                    messages = []
                    self._trouble.failed(in_words(error, server.shown))
                    await self._pause(PAUSE_SECONDS)
                for message in messages:
                    task = asyncio.create_task(self._handle(server, message))
                    self._in_hand[task] = message
                    task.add_done_callback(lambda done: self._in_hand.pop(done, None))
                    task.add_done_callback(lambda _: hands.release())
                for _ in range(free - len(messages)):
                    hands.release()
        finally:
            with contextlib.suppress(Exception):
                await queue.unsubscribe()

    async def _free(self, hands: asyncio.Semaphore) -> int:
        """Take all free hands; waits a while for the first one."""
        try:
            await asyncio.wait_for(hands.acquire(), FETCH_SECONDS)
        except TimeoutError:
            return 0
        free = 1
        while not hands.locked():
            await hands.acquire()
            free += 1
        return free

    async def _is_empty(self, server: Server, models: str) -> bool:
        try:
            found = await server.request(f"CONSUMER.INFO.{WORK}.{protocol.consumer_name(models)}")
        except FleetError:
            return False
        return not found.get("num_pending", 1) and not found.get("num_ack_pending", 1)

    async def _handle(self, server: Server, message: Any) -> None:
        """Answer one image; whatever fails, it stays in the queue."""
        name = message.subject
        try:
            job = Job.of(message.subject, message.headers)
            name = job.name
            if message.metadata.num_delivered > 1 and await protocol.is_answered(server, job.key):
                await self._acknowledge(message)
                return
            data = await self._content(job, message)
            answer = await self._classified(data, job.name)
            await self._store(server, message, job, answer)
        except (asyncio.CancelledError, CancelledError):
            await self._give_back(message)
            raise
        except Exception as error:
            if not isinstance(error, EdgeDetectError):
                _log.warning("%s: %s: %s", printable(name), type(error).__name__, printable(str(error)))
            await self._failed(server, message, name, str(error))

    async def _classified(self, data: bytes, name: str) -> Answer:
        """Classify an image; while this board cannot, it keeps its images and takes no more than its hands hold.

        Giving them back would cost each a try, until a board with a fault had made the whole queue dead.
        """
        while True:
            try:
                answer = await asyncio.wrap_future(self._classification.submit(data, name))
                self._fault.succeeded()
                return answer
            except BoardFaultError as error:
                self._fault.failed(error)
                await self._pause(min(self._fault.seconds_left, FAULT_SECONDS))
                if self._stop.is_set():
                    raise asyncio.CancelledError from error

    async def _content(self, job: Job, message: Any) -> bytes:
        if job.url:
            async with self._downloads:
                return await asyncio.to_thread(download, job.url, job.sha256, self._settings.allowed_urls)
        data = bytes(message.data)
        if hashlib.sha256(data).hexdigest() != job.sha256:
            raise FleetError(f"{printable(job.name)}: its message holds another image than the one that was submitted")
        return data

    async def _store(self, server: Server, message: Any, job: Job, answer: Answer) -> None:
        """Store an answer, for as long as that takes; then acknowledge the image."""
        body = protocol.packed(answer, job, self._settings.board)
        while True:
            try:
                is_new = await protocol.publish_answer(server, job.key, body)
                break
            except FleetError as error:
                self._trouble.failed(error)
                if not server.is_open:
                    raise
                await asyncio.sleep(PAUSE_SECONDS)
        self._trouble.succeeded()
        if is_new:
            self.stats.count(answer)
        await self._acknowledge(message)

    async def _acknowledge(self, message: Any) -> None:
        for _ in range(3):
            with contextlib.suppress(Exception):
                await message.ack_sync(timeout=2.0)
                return
        # Delivered again later, it is found to be answered.

    async def _failed(self, server: Server, message: Any, name: str, reason: str) -> None:
        """A try has failed: note why, and let the image be tried again later, perhaps by another board."""
        with contextlib.suppress(Exception):
            number = message.metadata.num_delivered
            _log.warning("%s: try %d of %d failed: %s", printable(name), number, MAX_TRIES, printable(reason))
            note = {"board": self._settings.board, "reason": reason[:2000]}
            subject = message.subject.replace("edge.work.", "edge.failed.", 1)
            with contextlib.suppress(Exception):
                await server.stream.publish(subject, json.dumps(note).encode(), stream=FAILED)
            waits = self._settings.retry_seconds
            await message.nak(delay=waits[min(number, len(waits)) - 1])

    async def _give_back(self, message: Any) -> None:
        with contextlib.suppress(Exception):
            await message.nak()

    async def _finish(self) -> None:
        """Wait for what is in hand; what takes too long is given back."""
        if self._in_hand:
            _, late = await asyncio.wait(list(self._in_hand), timeout=FINISH_SECONDS)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=2.0)

    async def _keep(self, seconds: float) -> None:
        """Tell the server every so many seconds that the images in hand are being worked on."""
        while True:
            await asyncio.sleep(seconds)
            for message in list(self._in_hand.values()):
                with contextlib.suppress(Exception):
                    await message.in_progress()

    async def _beat(self) -> None:
        """Heartbeats to systemd, and a line of the log every minute in which something was answered."""
        reported, reported_at = 0, time.monotonic()
        while True:
            self.stats.sample()
            if self._classification.is_healthy:
                waits = "" if self._was_connected else "; waiting for the server"
                self._notifier.alive(self._classification.trouble or f"{self.stats.answered} answered{waits}")
            if time.monotonic() - reported_at > REPORT_SECONDS:
                reported_at = time.monotonic()
                if self.stats.answered != reported:
                    reported = self.stats.answered
                    _log.info("%s so far", ", ".join(self.stats.parts))
            await asyncio.sleep(HEARTBEAT_SECONDS)

    async def _pause(self, seconds: float) -> None:
        """Wait, but no longer than until the board is stopped."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), seconds)


def _may_pass(error: FleetError) -> bool:
    """Whether a first connection is tried again: a server that starts later, but not one that refuses."""
    text = str(error)
    return any(
        words in text
        for words in ("refused", "unreachable", "no route", "in time", "no answer", "resolution", "no leader")
    )
