"""The feed of new answers, for server-sent events."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

from edge.errors import LedgerError
from edge.store.feed import last_id, newer
from edge.store.history import Item, ledger_name

POLL_SECONDS = 1.0
REPLAYED = 100  # answers of a ledger that a listener has missed and gets when it comes back; the newest ones
QUEUE = 200  # answers that wait for one listener; one that does not take them is dropped
MAX_LISTENERS = 64
MAX_ID_CHARACTERS = 2000
_CURSOR = re.compile(r"([0-9a-f]{8})-([0-9]{1,18})", re.ASCII)


class TooManyListenersError(Exception):
    """MAX_LISTENERS listen already."""


@dataclass(frozen=True)
class Event:
    """A new answer.

    Attributes:
        id: what the listener sends as Last-Event-ID when it comes back: the last answer of every ledger.
    """

    id: str
    item: Item


class _Listener:
    def __init__(self) -> None:
        self.queue: asyncio.Queue[Item | None] = asyncio.Queue(QUEUE + 1)  # None: the end

    def put(self, item: Item) -> bool:
        """Pass an answer on; False if too many wait already."""
        if self.queue.qsize() >= QUEUE:
            return False
        self.queue.put_nowait(item)
        return True

    def end(self) -> None:
        with contextlib.suppress(asyncio.QueueFull):
            self.queue.put_nowait(None)


class Feed:
    """Passes the new answers of all ledgers to any number of listeners.

    One task reads the ledgers every POLL_SECONDS while anybody listens. All methods are for the thread of one event
    loop; the ledgers are read in other threads.
    """

    def __init__(self, ledgers: Callable[[], list[Path]], *, poll_seconds: float = POLL_SECONDS) -> None:
        """
        Args:
            ledgers: returns the ledgers that exist, see `edge.serve.history.History.ledgers`.
        """
        self._ledgers, self._poll_seconds = ledgers, poll_seconds
        self._listeners: set[_Listener] = set()
        self._task: asyncio.Task[None] | None = None
        self._cursors: dict[Path, int | None] = {}  # last id; None: not known yet
        self._is_closed = False

    @property
    def listeners(self) -> int:
        """Number of listeners."""
        return len(self._listeners)

    async def listen(self, last_event_id: str = "", keep_alive_seconds: float = 15.0) -> AsyncIterator[Event | None]:
        """New answers, the oldest first, until the feed is closed or the listener is too slow.

        Args:
            last_event_id: what the client sent as Last-Event-ID: first come the answers that it has missed. Text that
                is no such id is ignored.
            keep_alive_seconds: without an answer for this time, None comes: to be sent as a comment.

        Raises:
            TooManyListenersError: at the first step.
        """
        if len(self._listeners) >= MAX_LISTENERS or self._is_closed:
            raise TooManyListenersError
        listener = _Listener()
        if not self._listeners:
            self._cursors = {}
        self._listeners.add(listener)
        try:
            await self._started()
            now = {ledger_name(path): (path, id_) for path, id_ in self._cursors.items() if id_ is not None}
            missed = {name: id_ for name, id_ in parsed(last_event_id).items() if name in now and id_ <= now[name][1]}
            sent = {name: missed.get(name, id_) for name, (_, id_) in now.items()}
            for name in missed:
                for item in await asyncio.to_thread(_newer, now[name][0], missed[name]):
                    sent[name] = item.recorded.id
                    yield Event(_event_id(sent), item)
            while True:
                try:
                    new = await asyncio.wait_for(listener.queue.get(), keep_alive_seconds)
                except TimeoutError:
                    yield None
                    continue
                if new is None:
                    return
                name, id_ = ledger_name(new.ledger), new.recorded.id
                if name in missed and id_ <= sent[name]:
                    continue  # it came with the missed ones
                sent[name] = max(id_, sent.get(name, 0))
                yield Event(_event_id(sent), new)
        finally:
            self._listeners.discard(listener)
            if not self._listeners and self._task is not None:
                self._task.cancel()
                self._task = None

    async def close(self) -> None:
        """End all listeners."""
        self._is_closed = True
        for listener in self._listeners:
            listener.end()
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _started(self) -> None:
        """Let the task run, and wait until it knows the present ends of the ledgers."""
        if self._task is None or self._task.done():
            self._cursors = await asyncio.to_thread(_ends, self._ledgers())
            if self._task is None or self._task.done():
                self._task = asyncio.create_task(self._poll())

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(self._poll_seconds)
            for path in await asyncio.to_thread(self._ledgers):
                before = self._cursors.get(path, 0)  # of a ledger that is new, all answers are
                items, self._cursors[path] = await asyncio.to_thread(_since, path, before)
                for item in items:
                    for listener in list(self._listeners):
                        if not listener.put(item):
                            self._listeners.discard(listener)
                            listener.end()


def parsed(last_event_id: str) -> dict[str, int]:
    """The last answer of each ledger, by ledger name, of an `Event.id`; empty for any other text."""
    if len(last_event_id) > MAX_ID_CHARACTERS:
        return {}
    matches = [_CURSOR.fullmatch(part) for part in last_event_id.split(".")]
    return {match[1]: int(match[2]) for match in matches if match} if all(matches) else {}


def _event_id(cursors: dict[str, int]) -> str:
    return ".".join(f"{name}-{id_}" for name, id_ in sorted(cursors.items()))


def _ends(ledgers: list[Path]) -> dict[Path, int | None]:
    """The last id of each ledger; None of one that cannot be read now."""
    return {path: _since(path, None)[1] for path in ledgers}


def _newer(path: Path, id_: int) -> list[Item]:
    try:
        return newer(path, id_, REPLAYED)
    except LedgerError:
        return []


def _since(path: Path, before: int | None) -> tuple[list[Item], int | None]:
    """The answers after an id, and the last id now; of a ledger that was replaced, all answers.

    Args:
        before: None: it is not known, and no answers are returned.
    """
    try:
        end = last_id(path)
        if before is None or end == before:
            return [], end
        return newer(path, before if before < end else 0, QUEUE), end
    except LedgerError:
        return [], before
