"""The HTTP server: uvicorn, with limits for connections, and ended by the daemon's signals."""

import asyncio
import contextlib
import errno
import logging
import socket
from collections.abc import Callable, Iterator
from typing import Any

import h11
from starlette.types import ASGIApp
from uvicorn import Config, Server
from uvicorn.protocols.http.h11_impl import H11Protocol

from edge.errors import ServerError, printable, reason_of

HEAD_SECONDS = 10.0  # for all of a request's head
UNREAD_SECONDS = 10.0  # to send the rest of a body that was refused
KEEP_ALIVE_SECONDS = 15
MOST_CONNECTIONS = 256
MOST_HEAD_BYTES = 16 * 1024
READ_BYTES = 64 * 1024  # at once; a head that comes as a whole is taken, so this limits it as well
GRACEFUL_SECONDS = 3  # for answers under way when the server is stopped


class LimitedProtocol(H11Protocol):
    """Closes connections that are slow to send a head, of which each would take a place for ever.

    uvicorn's own limit of time ends with the first byte of a head.
    """

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # asyncio does this for sockets whose protocol has a number; those of a listener that was made before lack it.
        # Without it the end of an answer waits for 40 ms, until the client has acknowledged the beginning.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        transport.max_size = READ_BYTES  # type: ignore[attr-defined]  # of asyncio's transports of sockets
        if len(self.connections) > MOST_CONNECTIONS:
            # In the place of the one that has waited for its head the longest, or else of this one.
            waiting = [one for one in self.connections if isinstance(one, LimitedProtocol) and one.is_waiting]
            min(waiting, key=lambda one: one.since, default=self).transport.abort()
        self._limit(HEAD_SECONDS)

    @property
    def since(self) -> float:
        """When the present limit of time ends, which is the same time after its beginning for all heads."""
        return self._timer.when() if self._timer else float("inf")

    @property
    def is_waiting(self) -> bool:
        """Whether no request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self.is_waiting:
            self._limit(None)
        elif self._timer is None:
            self._limit(HEAD_SECONDS)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.conn.their_state is h11.SEND_BODY and not self.transport.is_closing():
            self._limit(UNREAD_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        self._limit(None)
        super().connection_lost(exc)

    def timeout_keep_alive_handler(self) -> None:
        self._limit(None)
        super().timeout_keep_alive_handler()

    def _limit(self, seconds: float | None) -> None:
        """Close the connection after some seconds from now; None: not by time."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if seconds is None else self.loop.call_later(seconds, self.transport.abort)


class StoppableServer(Server):
    """A server that is ended by `is_stopping`, and does not touch the handlers of signals."""

    def __init__(self, config: Config, on_tick: Callable[[], bool]) -> None:
        """
        Args:
            on_tick: called about ten times a second in the event loop; returns whether the server is to end.
        """
        super().__init__(config)
        self._is_stopping = on_tick

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def on_tick(self, counter: int) -> bool:
        if self._is_stopping():
            self.should_exit = True
        return await super().on_tick(counter)


def serve(app: ASGIApp, listener: socket.socket, on_tick: Callable[[], bool]) -> None:
    """Serve until `on_tick` returns True."""
    # It reports what clients do wrong, which anybody could fill the log with; what goes wrong here, the guard reports.
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL + 1)
    config = Config(
        app,
        loop="asyncio",
        http=LimitedProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,  # anybody can send them
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACEFUL_SECONDS,
        h11_max_incomplete_event_size=MOST_HEAD_BYTES,
    )
    asyncio.run(StoppableServer(config, on_tick).serve([listener]))


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens at an address.

    Raises:
        ServerError: there is no such address, this account may not use it, or another program does.
    """
    where = f"{printable(host)}:{port}"
    try:
        found: list[Any] = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        is_everywhere = family == socket.AF_INET6 and address[0] == "::"
        listener = socket.create_server(address, family=family, backlog=128, dualstack_ipv6=is_everywhere)
        listener.setblocking(False)
        return listener
    except (OSError, UnicodeError, OverflowError) as error:
        reason = reason_of(error) if isinstance(error, OSError) else "not a host name or address"
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            reason = "another program listens there already; stop it, or choose another --port"
        raise ServerError(f"{where}: cannot listen: {reason}") from error
