"""What is kept between the requests of Gradio's clients: uploads, sessions with their messages, single requests.

Everything has a limit of number and of time; what is oldest goes first.
"""

import asyncio
import contextlib
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any

from edge.serve.problems import Problem
from edge.serve.uploads import Upload, Uploads
from edge.verdict import Failure

FOLDER = "edge-detect"  # the beginning of the names of uploads; there is no such folder
KEPT_SECONDS = 600.0
UNUSED_SECONDS = 60.0  # after which an upload that was never used makes room for others
MOST_UPLOADS = 32
MOST_BYTES = 96 * 1024 * 1024  # of the uploads that are kept
MOST_SESSIONS = 64
MOST_MESSAGES = 64  # of a session, that nobody has fetched
MOST_SINGLES = 64
# For which the last answer of a session is held back. It ends the stream, and a client that sends another request at
# that moment still counts on the stream.
GATHER_SECONDS = 0.1

Outcome = Coroutine[Any, Any, dict[str, Any]]


@dataclass
class _Kept:
    """An upload.

    Attributes:
        users: number of requests that use it now.
        is_used: whether it was used.
    """

    upload: Upload
    since: float
    users: int = 0
    is_used: bool = False


@dataclass
class _Session:
    """A client's session.

    Attributes:
        pending: number of its requests that are being answered.
    """

    since: float
    messages: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=MOST_MESSAGES))
    pending: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def is_answered(self) -> bool:
        """Whether all of its requests are answered, and the last of these answers was not fetched yet."""
        return not self.pending and len(self.messages) == 1


def message_of(failure: Failure) -> str:
    """Why an image got no verdict."""
    return f"not classified: {failure.reason}"


class Sessions:
    """See the module. For one event loop."""

    def __init__(self, uploads: Uploads) -> None:
        self._uploads = uploads
        self._kept: OrderedDict[str, _Kept] = OrderedDict()  # by the name that the client got
        self._sessions: OrderedDict[str, _Session] = OrderedDict()
        self._singles: OrderedDict[str, asyncio.Task[dict[str, Any]]] = OrderedDict()
        self._tasks: set[asyncio.Task[Any]] = set()

    def keep(self, upload: Upload) -> str:
        """Keep an upload; returns the name by which it can be used.

        Raises:
            Problem: 503, too many are kept that have not been used yet.
        """
        self._tidy()
        self._make_room(upload.size)
        name = f"{FOLDER}/{secrets.token_hex(16)}/{_plain(upload.name)}"
        self._kept[name] = _Kept(upload, time.monotonic())
        asyncio.get_running_loop().call_later(KEPT_SECONDS, self._tidy)
        return name

    def has(self, name: str) -> bool:
        """Whether an upload has that name."""
        return name in self._kept

    @contextlib.contextmanager
    def used(self, name: str) -> Iterator[Upload | None]:
        """The upload with a name, which is kept until the block ends; None if there is none."""
        kept = self._kept.get(name)
        if kept is None:
            yield None
            return
        kept.users, kept.is_used = kept.users + 1, True
        try:
            yield kept.upload
        finally:
            kept.users -= 1
            if name not in self._kept and not kept.users:
                self._uploads.remove(kept.upload)

    def begin(self, session: str | None, outcome: Outcome) -> str:
        """Begin to answer a request.

        Args:
            session: the name of its session; None: it has none, see `single`.
            outcome: becomes the output of the message `process_completed`.

        Returns:
            The request's name.

        Raises:
            Problem: 503, too many requests are being answered.
        """
        is_full = len(self._tasks) >= MOST_SINGLES
        if not is_full and session is not None:
            is_full = self._of(session).pending >= MOST_MESSAGES // 4
        if is_full:
            outcome.close()
            raise Problem.later("too many requests at the same time", 2)
        event = secrets.token_hex(16)
        task: asyncio.Task[Any]
        if session is None:
            task = self._singles[event] = asyncio.create_task(outcome)
            while len(self._singles) > MOST_SINGLES:
                self._singles.popitem(last=False)
            asyncio.get_running_loop().call_later(KEPT_SECONDS, self._singles.pop, event, None)
        else:
            found = self._of(session)
            found.pending += 1
            found.messages.append({"msg": "process_starts", "event_id": event, "eta": None})
            found.changed.set()
            task = asyncio.create_task(self._answer(found, event, outcome))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return event

    def single(self, event: str) -> "asyncio.Task[dict[str, Any]] | None":
        """The task of a request without a session; None if there is none, or if it was fetched already."""
        return self._singles.pop(event, None)

    async def messages(
        self, name: str, keep_alive_seconds: float, until: float, stopping: asyncio.Event
    ) -> AsyncIterator[dict[str, Any]]:
        """The messages of a session, until all of its requests are answered.

        Args:
            keep_alive_seconds: without a message, after which a heartbeat comes.
            until: time.monotonic() until which the first request may come.
        """
        session, is_over = self._of(name), False
        while not (is_over or stopping.is_set()):
            session.changed.clear()
            is_last = session.is_answered
            seconds = GATHER_SECONDS if is_last else keep_alive_seconds
            if not is_last and session.messages:
                yield session.messages.popleft()
                continue
            if not is_last and not session.pending:  # nothing was asked yet
                is_over = time.monotonic() >= until
                seconds = 1.0
            try:
                await asyncio.wait_for(session.changed.wait(), seconds)
            except TimeoutError:
                if is_last:
                    is_over = True
                    while session.messages:
                        yield session.messages.popleft()
                elif session.pending:
                    yield {"msg": "heartbeat"}
        if self._sessions.get(name) is session and not session.pending:
            del self._sessions[name]
        yield {"msg": "close_stream", "event_id": None}

    async def _answer(self, session: _Session, event: str, outcome: Outcome) -> None:
        output: dict[str, Any] = {"error": "the request was not answered"}
        try:
            output = await outcome
        finally:
            session.pending -= 1
            done = {"msg": "process_completed", "event_id": event, "output": output, "success": "data" in output}
            session.messages.append(done)
            session.changed.set()

    def _of(self, name: str) -> _Session:
        """The session of a name, which is made if it is new; the oldest is forgotten if there are too many."""
        session = self._sessions.get(name)
        if session is None:
            session = self._sessions[name] = _Session(time.monotonic())
            while len(self._sessions) > MOST_SESSIONS:
                self._sessions.popitem(last=False)
        self._sessions.move_to_end(name)
        return session

    def _tidy(self) -> None:
        """Remove the uploads that are too old."""
        until = time.monotonic() - KEPT_SECONDS + 1
        for name in [name for name, kept in self._kept.items() if kept.since < until]:
            self._drop(name)

    def _make_room(self, nbytes: int) -> None:
        """Remove uploads that were used, or are unused for long, until there is room for another.

        Raises:
            Problem: 503, there are none.
        """
        nbytes += sum(kept.upload.size for kept in self._kept.values())
        until = time.monotonic() - UNUSED_SECONDS
        free = [name for name, kept in self._kept.items() if not kept.users and (kept.is_used or kept.since < until)]
        while len(self._kept) >= MOST_UPLOADS or nbytes > MOST_BYTES:
            if not free:
                raise Problem.later("too many uploads at the same time", 5)
            nbytes -= self._kept[free[0]].upload.size
            self._drop(free.pop(0))

    def _drop(self, name: str) -> None:
        kept = self._kept.pop(name)
        if not kept.users:  # else it is removed with the last of them
            self._uploads.remove(kept.upload)


def _plain(name: str) -> str:
    """A file's name with nothing that has a meaning in a path or an address."""
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "-_.") else "_" for c in name)[-80:].lstrip(".")
    return kept or "image"
