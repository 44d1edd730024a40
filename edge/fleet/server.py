"""The connection to the NATS server: addresses, credentials, TLS, and errors in one line."""

import asyncio
import contextlib
import json
import logging
import os
import re
import ssl
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from edge import requirements
from edge.errors import FleetError, printable, reason_of

LEAST_VERSION = "2.10"  # older servers keep answered images in the queue after a crash
CONNECT_SECONDS = 5
REQUEST_SECONDS = 5.0
CLOSE_SECONDS = 2.0
ATTEMPTS = 4  # to connect, if the connection is cut without a reason
CLUSTER_SECONDS = 20.0  # in which the servers of a cluster find each other and choose a leader
NO_LEADER, TOO_FEW_SERVERS = 10008, 10005  # errors of JetStream while a cluster starts
RECONNECT_SECONDS = 0.5
NO_JETSTREAM = "its JetStream is not enabled: add `jetstream { store_dir: /var/lib/nats }` to the server's settings"
PORT = 4222

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ServerSettings:
    """How to reach and trust the server.

    Attributes:
        servers: addresses such as nats://host:4222, several of a cluster.
        user, password, token: credentials, if they are not in the address.
        creds: file with a user's JWT and key, as nsc and nats make it.
        nkey: file with the seed of an Ed25519 key.
        tls_ca: PEM file of the authority that signed the server's certificate; None: those of the system.
        tls_cert, tls_key: PEM files with this client's certificate and its key.
    """

    servers: tuple[str, ...]
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    creds: Path | None = None
    nkey: Path | None = None
    tls_ca: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None

    @property
    def shown(self) -> str:
        """The addresses without passwords, for people."""
        return ", ".join(_shown(server) for server in self.servers)


class Server:
    """An open connection; `connected` makes it.

    Attributes:
        client: of nats-py.
        stream: its JetStream interface.
        shown: the addresses without passwords.
        denied: the last thing that the server did not permit, in its words; empty if there was none. A request that
            is not permitted gets no other answer.
    """

    def __init__(self, client: Any, shown: str) -> None:
        self.client, self.shown, self.denied = client, shown, ""
        self.stream = client.jetstream(timeout=REQUEST_SECONDS)

    @property
    def info(self) -> dict[str, Any]:
        """What the server says of itself: version, name, cluster."""
        return dict(self.client._server_info)

    @property
    def version(self) -> str:
        return printable(str(self.info.get("version", "")))

    @property
    def is_cluster(self) -> bool:
        return bool(self.info.get("cluster"))

    @property
    def is_open(self) -> bool:
        """Whether it is connected, or is trying to be again."""
        return not self.client.is_closed

    async def request(self, subject: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """A call of JetStream's API; the answer may hold an `error`.

        It is repeated for CLUSTER_SECONDS while the cluster is not complete, as when everything gets power at once.

        Raises:
            FleetError: the server does not answer, or its cluster is not complete.
        """
        payload = json.dumps(body).encode() if body is not None else b""
        until = time.monotonic() + (CLUSTER_SECONDS if self.is_cluster else 0.0)
        while True:
            try:
                answer = await self.client.request(f"$JS.API.{subject}", payload, timeout=REQUEST_SECONDS)
                found = json.loads(answer.data)
                error_code = found.get("error", {}).get("err_code") if isinstance(found, dict) else None
                if error_code == NO_LEADER:
                    problem = FleetError(f"{self.shown}: its cluster has no leader")
                elif error_code == TOO_FEW_SERVERS:
                    reason = printable(str(found["error"].get("description")))
                    problem = FleetError(f"{self.shown}: too few servers of its cluster have room or answer: {reason}")
                else:
                    return found if isinstance(found, dict) else {}
            except Exception as error:
                problem = in_words(error, self.shown)
            if self.denied:
                raise FleetError(f"{self.shown}: {self.denied}")
            if time.monotonic() > until or not self.is_open:
                raise problem
            await asyncio.sleep(RECONNECT_SECONDS)

    async def clock_skew(self) -> float | None:
        """Seconds by which this board's clock is ahead of the server's; None if the server does not send its time."""
        from edge.fleet.protocol import WORK

        before = time.time()
        found = await self.request(f"STREAM.INFO.{WORK}")
        after = time.time()
        try:
            sent = datetime.fromisoformat(re.sub(r"(\.\d{6})\d*", r"\1", str(found["ts"])).replace("Z", "+00:00"))
        except (KeyError, ValueError):
            return None
        return (before + after) / 2 - sent.timestamp()


@contextlib.asynccontextmanager
async def connected(settings: ServerSettings, name: str) -> AsyncIterator[Server]:
    """Connect to the server; a connection that is lost later is made again, for as long as that takes.

    Args:
        name: of this client, for the server's lists of its connections.

    Raises:
        FleetError: it cannot be reached, refuses, is not trusted or is too old; or a file cannot be read.
        NotInstalledError: a package is missing.
    """
    nats = requirements.load("nats")
    logging.getLogger("nats").setLevel(logging.CRITICAL)  # it writes tracebacks
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # it warns of a detail of nats-py's TLS
    errors: list[Exception] = []

    async def failed(error: Exception) -> None:
        errors[:] = [*errors[-4:], error]
        text = printable(str(error).removeprefix("nats: "))[:500]
        if "permissions violation" in text.lower() and text != server.denied:
            server.denied = text
            _log.warning("%s: %s", settings.shown, text)

    async def lost() -> None:
        if not client.is_closed:
            _log.warning("%s: lost the connection; connecting again", settings.shown)

    async def again() -> None:
        _log.info("%s: connected again", settings.shown)

    options = _options(settings) | {
        "name": name,
        "error_cb": failed,
        "disconnected_cb": lost,
        "reconnected_cb": again,
        "connect_timeout": CONNECT_SECONDS,
        "reconnect_time_wait": RECONNECT_SECONDS,
        "max_reconnect_attempts": 1,
        "allow_reconnect": False,  # else it would ask a server that refuses for ever
        "ping_interval": 10,
    }
    for attempt in range(ATTEMPTS):
        client = nats.NATS()
        server = Server(client, settings.shown)
        try:
            await asyncio.wait_for(client.connect(**options), CONNECT_SECONDS * (1 + 2 * len(settings.servers)))
            break
        except Exception as error:
            await _close(client)
            cause = next((one for one in errors if type(one).__name__ == "AuthorizationError"), (errors or [error])[-1])
            # A server that refuses also closes the connection, and its reason may be lost.
            is_cut = isinstance(cause, ConnectionResetError | BrokenPipeError) or "EOF" in type(cause).__name__
            if not is_cut or attempt == ATTEMPTS - 1:
                raise in_words(cause, settings.shown) from error
    client.options |= {"allow_reconnect": True, "max_reconnect_attempts": -1}
    try:
        if requirements.is_older(server.version, LEAST_VERSION):
            raise FleetError(
                f"{settings.shown}: nats-server {server.version} is too old; {LEAST_VERSION} or later is needed"
            )
        if not server.info.get("jetstream"):
            raise FleetError(f"{settings.shown}: {NO_JETSTREAM}")
        yield server
    finally:
        await _close(client)


def in_words(error: BaseException, shown: str) -> FleetError:
    """An error of nats-py, of the network or of TLS in one line."""
    if isinstance(error, FleetError):
        return error
    name = type(error).__name__
    if isinstance(error, ssl.SSLCertVerificationError):
        reason = f"its certificate is not trusted: {error.verify_message or error}"
        if "not yet valid" in reason or "expired" in reason:
            reason += f"; this board's clock says {time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC"
        else:
            reason += "; name the authority that signed it with --tls-ca"
    elif isinstance(error, ssl.SSLError):
        reason = f"TLS fails: {error.reason or error}"
    elif name == "AuthorizationError" or "authorization violation" in str(error).lower():
        reason = "the server refuses these credentials"
    elif "NoResponders" in name or "NoStreamResponse" in name or "ServiceUnavailable" in name:
        reason = f"no answer from JetStream; the server is starting, its cluster has no leader, or {NO_JETSTREAM}"
    elif isinstance(error, TimeoutError):
        reason = "does not answer in time"
    elif isinstance(error, OSError):
        # asyncio's own text names the address in Python's way
        reason = os.strerror(error.errno).lower() if error.errno and error.errno > 0 else reason_of(error)
    elif code := getattr(error, "err_code", None):
        reason = f"{getattr(error, 'description', '')} (error {code})"
    else:
        reason = str(error).removeprefix("nats: ") or name
    return FleetError(f"{shown}: {printable(' '.join(reason.split()))}")


async def _close(client: Any) -> None:
    """Close a connection; after a failed TLS handshake asyncio may wait for ever (Python 3.11)."""
    with contextlib.suppress(Exception):
        await asyncio.wait_for(client.close(), CLOSE_SECONDS)
    writer = getattr(client._transport, "_io_writer", None)
    if writer is not None:  # nats-py leaves it open where the server refused
        writer.transport.abort()
        await asyncio.sleep(0)


def _options(settings: ServerSettings) -> dict[str, Any]:
    """The arguments of nats-py's `connect`."""
    user, password, token = settings.user, settings.password, settings.token
    plain, is_tls = [], any((settings.tls_ca, settings.tls_cert, settings.tls_key))
    for server in settings.servers:
        try:
            parts = urlsplit(server)
            host, port = parts.hostname, parts.port or PORT
        except ValueError as error:
            raise FleetError(f"{_shown(server)}: invalid address: {error}") from error
        if parts.scheme not in ("nats", "tls") or not host or parts.path.strip("/") or not server.isprintable():
            raise FleetError(f"{_shown(server)}: invalid address; write nats://host:{PORT}, or tls://host:{PORT}")
        is_tls = is_tls or parts.scheme == "tls"
        if parts.username and parts.password is not None:
            user, password = user or unquote(parts.username), password or unquote(parts.password)
        elif parts.username:
            token = token or unquote(parts.username)
        plain.append(f"nats://{f'[{host}]' if ':' in host else host}:{port}")
    options: dict[str, Any] = {"servers": plain}
    for key, value in (("user", user), ("password", password), ("token", token)):
        if value:
            options[key] = value
    for key, path in (("user_credentials", settings.creds), ("nkeys_seed", settings.nkey)):
        if path is not None:
            _require_readable(path)
            requirements.load("nkeys")
            options[key] = str(path)
    if is_tls:
        options["tls"] = _tls(settings)
    return options


def _tls(settings: ServerSettings) -> ssl.SSLContext:
    for path in (settings.tls_ca, settings.tls_cert, settings.tls_key):
        if path is not None:
            _require_readable(path)
    try:
        context = ssl.create_default_context(cafile=settings.tls_ca)
    except ssl.SSLError as error:
        raise FleetError(f"{printable(settings.tls_ca or '')}: holds no certificate in PEM") from error
    if settings.tls_cert is not None:
        try:
            context.load_cert_chain(settings.tls_cert, settings.tls_key)
        except ssl.SSLError as error:
            files = " and ".join(printable(path) for path in (settings.tls_cert, settings.tls_key) if path is not None)
            raise FleetError(f"{files}: not a certificate and its key in PEM") from error
    elif settings.tls_key is not None:
        raise FleetError(f"{printable(settings.tls_key)}: a key needs its certificate: --tls-cert")
    return context


def _require_readable(path: Path) -> None:
    try:
        with path.open("rb") as file:
            file.read(1)
    except OSError as error:
        raise FleetError(f"{printable(path)}: {reason_of(error)}") from error


def _shown(server: str) -> str:
    """An address without user and password."""
    scheme, separator, rest = server.partition("://")
    if not separator:
        return printable(server.rpartition("@")[2])
    return printable(f"{scheme}://{rest.rpartition('@')[2]}")
