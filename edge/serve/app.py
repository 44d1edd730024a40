"""The application: what answers at which address, and what all of that shares."""

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.responses import Response, StreamingResponse
from starlette.routing import Mount
from starlette.types import Receive, Scope, Send

from edge.serve import api, assets, error_pages, gradio, hub, login, pages
from edge.serve.auth import Auth
from edge.serve.cameras import Cameras
from edge.serve.classification import Classification
from edge.serve.events import Feed
from edge.serve.guard import Guard, Hosts
from edge.serve.history import History
from edge.serve.metrics import Metrics
from edge.serve.problems import Problem
from edge.serve.settings import ServeSettings
from edge.serve.thumbnails import Thumbnails
from edge.serve.uploads import MOST_BYTES_OF_BODY, Uploads

if TYPE_CHECKING:
    from edge.serve.mqtt.publisher import Publisher

MOST_THREADS = 4  # for what blocks: the ledger, status sockets, files
MOST_STREAMS = 64  # lasting answers at the same time

T = TypeVar("T")


@dataclass
class Services:
    """What pages and API use.

    Attributes:
        settings: of the server.
        auth: who may ask.
        classifier: classifies uploads, and makes pictures for pages.
        uploads: the files of the requests.
        own_folder: for files of the server's own, such as the totals; it exists.
        history: the answers in the ledgers. Blocks; see `in_thread`.
        cameras: the running watchers and cameras. Blocks; see `in_thread`.
        metrics: of `history` and `cameras`. Blocks; see `in_thread`.
        thumbnails: small pictures of answers. Blocks; see `in_thread`.
        pictures: larger ones. Blocks; see `in_thread`.
        feed: new answers as they come.
        threads: for what blocks, see `in_thread`.
        stopping: set when the server is to end: lasting answers end then.
        streams: lasting answers at present.
        mqtt: publishes answers to a broker; None if that was not asked for.
    """

    settings: ServeSettings
    auth: Auth
    classifier: Classification
    uploads: Uploads
    own_folder: Path
    history: History
    cameras: Cameras
    metrics: Metrics
    thumbnails: Thumbnails
    pictures: Thumbnails
    feed: Feed
    threads: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(MOST_THREADS, "reader"))
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    streams: int = 0
    mqtt: "Publisher | None" = None

    @property
    def base(self) -> str:
        """What comes before every path of this server in an address: "" or "/a/b"."""
        return self.settings.base_path

    async def in_thread(self, call: Callable[..., T], *arguments: object, **options: object) -> T:
        """The result of a function that may block, called in one of a few threads."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.threads, partial(call, *arguments, **options))

    def lasting(self, pieces: AsyncIterator[bytes]) -> Response:
        """An answer that lasts, of server-sent events; it ends when the server stops.

        Raises:
            Problem: 503, there are too many of them.
        """
        if self.streams >= MOST_STREAMS or self.stopping.is_set():
            raise Problem.later(f"{self.streams} lasting answers at the same time are too many", 10)
        self.streams += 1  # now: what begins later would let more than that in
        return _Lasting(self, pieces)

    def stop(self) -> None:
        """Let lasting answers end. Called in the event loop, once."""
        self.stopping.set()
        self._closing = asyncio.get_running_loop().create_task(self.feed.close())


class _Lasting(StreamingResponse):
    """Server-sent events, which a proxy does not hold back; counted while they last."""

    def __init__(self, services: Services, pieces: AsyncIterator[bytes]) -> None:
        super().__init__(pieces, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})
        self._services, self._pieces = services, pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._services.streams -= 1
            close = getattr(self._pieces, "aclose", None)
            if close is not None:
                await close()


def make_app(settings: ServeSettings, services: Services) -> Starlette:
    """The application, guarded.

    Every answer carries the headers of `edge.serve.guard`; every error is a `edge.serve.problems.Problem`.
    """
    hosts = Hosts(settings.host, settings.allow_host)
    guard = Middleware(
        Guard,
        hosts=hosts,
        auth=services.auth,
        base_path=settings.base_path,
        most_bytes=MOST_BYTES_OF_BODY,
    )
    app = Starlette(
        routes=[
            *api.routes(services),
            *hub.routes(services),
            *gradio.routes(services),
            *login.routes(services),
            Mount("/static", assets.serve, name="static"),
            *pages.routes(services),
        ],
        middleware=[guard],
        exception_handlers={Problem: error_pages.handler, HTTPException: error_pages.handler},
    )
    # Redirections would name the host and the scheme, which may be those of a proxy, and leave out the base path.
    app.router.redirect_slashes = False
    return app
