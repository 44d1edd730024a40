"""What every request passes first: host name, origin, token, and limits of size and time.

Nothing here trusts a header that a proxy might have set (X-Forwarded-*, Forwarded, X-Ingress-Path): anybody can send
them. A request for another host name is refused, because a page of another site can have its own name lead to this
board (DNS rebinding). A request that changes something is refused if a browser sent it for another site's page.
"""

import asyncio
import ipaddress
import logging
import socket
import time
from collections.abc import Iterable
from urllib.parse import quote, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edge.errors import printable
from edge.serve.addresses import LOOPBACK_NAMES, is_loopback_address
from edge.serve.auth import Auth, tokens
from edge.serve.error_pages import answer_to
from edge.serve.problems import Problem

_log = logging.getLogger(__name__)

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; img-src 'self' blob:; style-src 'self'; script-src 'self'; connect-src 'self';"
    " form-action 'self'; frame-ancestors 'none'; base-uri 'none'; manifest-src 'self'"
)
HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",  # with no-referrer browsers would send forms with the origin "null"
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "x-frame-options": "DENY",
}
PUBLIC = ("/healthz", "/login", "/static/")  # reached without a token; the last with all below it
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
IDLE_SECONDS = 20.0  # without a further byte of a body
LEAST_BYTES_PER_SECOND = 2_000  # of a body, on average
SEND_SECONDS = 30.0  # for a client to take what was sent


class Guard:
    """ASGI middleware; see the module."""

    def __init__(self, app: ASGIApp, hosts: "Hosts", auth: Auth, base_path: str, most_bytes: int) -> None:
        """
        Args:
            base_path: "" or "/a/b"; removed from the beginning of the paths of requests. One that a proxy has removed
                already need not be there.
            most_bytes: of a body.
        """
        self._app, self._hosts, self._auth, self._base, self._most = app, hosts, auth, base_path, most_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # a WebSocket
            await send({"type": "websocket.close", "code": 1008})
            return
        answer = _Answer(send)
        try:
            headers = Headers(scope=scope)
            scope = self._below_base(scope)
            self._check(scope, headers)
            await self._app(scope, _Body(receive, headers, self._most).receive, answer.send)
        except Problem as problem:
            await answer.end(problem, scope, receive)
        except asyncio.CancelledError:
            raise
        except OSError as error:  # the client has gone
            _log.info("%s %s: %s", scope["method"], printable(scope["path"]), error)
        except Exception as error:
            _log.exception(
                "%s %s: %s: %s", scope["method"], printable(scope["path"]), type(error).__name__, printable(str(error))
            )
            await answer.end(
                Problem(500, "the server has failed at this request; its log has the reason"), scope, receive
            )

    def _below_base(self, scope: Scope) -> Scope:
        path: str = scope["path"]
        if self._base and (path == self._base or path.startswith(f"{self._base}/")):
            path = path.removeprefix(self._base) or "/"
        return {**scope, "path": path, "root_path": ""}

    def _check(self, scope: Scope, headers: Headers) -> None:
        """
        Raises:
            Problem: the request is refused.
        """
        host = headers.get("host", "")
        if not self._hosts.allow(host, scope.get("server")):
            raise Problem(
                421, "this server does not answer to that host name; `edge-detect serve --allow-host NAME` adds one"
            )
        path: str = scope["path"]
        if "\\" in path or not path.isprintable() or any(part in ("..", ".") for part in path.split("/")):
            raise Problem(404, "there is nothing at this address")
        if scope["method"] not in SAFE_METHODS:
            _require_own_origin(headers, host)
        if self._auth.is_required and not _is_public(path):
            try:
                self._require_token(headers, (scope.get("client") or ("",))[0])
            except Problem as problem:
                is_page = scope["method"] in SAFE_METHODS and "text/html" in headers.get("accept", "")
                if problem.status == 401 and is_page:
                    raise SignInNeeded(self._base, path, scope["query_string"]) from None
                raise

    def _require_token(self, headers: Headers, address: str) -> None:
        cookie = headers.get("cookie", "")
        if cookie and self._auth.is_session(cookie_parser(cookie).get(self._auth.cookie, "")):
            return
        offered = tokens(headers.get("authorization", ""), headers.get("x-hf-authorization", ""))
        if offered:
            require_patience(self._auth, address)
        if any(self._auth.accepts(token, address) for token in offered):
            return
        # A browser that gets `Basic` asks for a password by itself; it is to show the page for signing in.
        schemes = "Bearer" if "text/html" in headers.get("accept", "") else 'Bearer, Basic realm="edge-detect"'
        detail = "that is not the token" if offered else "send the token: Authorization: Bearer TOKEN"
        raise Problem(401, detail, {"WWW-Authenticate": schemes})


def require_patience(auth: Auth, address: str) -> None:
    """Refuse an attempt of an address that has sent too many wrong tokens.

    Raises:
        Problem: 429.
    """
    if left := auth.seconds_left(address):
        seconds = str(max(1, round(left)))
        raise Problem(429, f"too many wrong tokens; try again in {seconds} s", {"Retry-After": seconds})


class SignInNeeded(Problem):
    """A browser wants a page and has no session: it is sent to the page for signing in."""

    def __init__(self, base: str, path: str, query: bytes) -> None:
        super().__init__(401, "sign in first")
        wanted = path[1:] + (f"?{query.decode('latin-1')}" if query else "")
        self._location = f"{base}/login" + (f"?next={quote(wanted, safe='')}" if wanted else "")

    def answer(self) -> Response:
        return RedirectResponse(self._location, 303)


class Hosts:
    """The host names and addresses by which this server may be called."""

    def __init__(self, bound: str, more: Iterable[str] = ()) -> None:
        """
        Args:
            bound: the address or name that the server listens at.
            more: further names, also with a port.
        """
        own = socket.gethostname().lower()
        is_loopback = is_loopback_address(bound)
        self._names = {*LOOPBACK_NAMES, bound.lower(), *(name.lower().rstrip(".") for name in more)}
        self._names |= set() if is_loopback else {own, own.partition(".")[0], f"{own.partition('.')[0]}.local"}
        self._any_address = not is_loopback  # nobody can have an address lead elsewhere, unlike a name

    def allow(self, header: str, _server: object = None) -> bool:
        """Whether a header Host names this server."""
        name = host_of(header)
        if not name:
            return False
        if name in self._names or header.lower() in self._names:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return self._any_address or address.is_loopback


def host_of(header: str) -> str:
    """The name or address of a header Host, without port and brackets, in lower case; "" if it is none."""
    try:
        parts = urlsplit(f"//{header}")
        _ = parts.port
    except ValueError:
        return ""
    if parts.path or parts.query or parts.fragment or "@" in parts.netloc or not header.isprintable() or " " in header:
        return ""
    return (parts.hostname or "").rstrip(".")


def _require_own_origin(headers: Headers, host: str) -> None:
    """Refuse what a browser sends for a page of another site. Programs send neither header.

    Raises:
        Problem: 403.
    """
    sender = headers.get("origin") or headers.get("referer")
    if sender is None:
        return
    try:
        parts = urlsplit(sender)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    plain = {"http": 80, "https": 443}.get(parts.scheme)
    if plain is not None and parts.hostname:
        same = {host_and_port(host, plain), host_and_port(host, None)}
        if (parts.hostname.rstrip("."), port or plain) in same:
            return
    raise Problem(403, "this request comes from a page of another site")


def host_and_port(header: str, plain: int | None) -> tuple[str, int | None]:
    """The host of a header Host, and its port; `plain` if it has none."""
    return host_of(header), urlsplit(f"//{header}").port or plain


def _is_public(path: str) -> bool:
    return any(path.startswith(one) if one.endswith("/") else path == one for one in PUBLIC)


class _Body:
    """The body of a request, with limits of size and time."""

    def __init__(self, receive: Receive, headers: Headers, most: int) -> None:
        """
        Raises:
            Problem: 413, its length says that it is too large.
        """
        self._receive, self._most = receive, most
        self._received, self._is_complete, self._began = 0, False, time.monotonic()
        length = headers.get("content-length", "0")
        if not length.isascii() or not length.isdecimal() or len(length) > 15 or int(length) > most:
            raise self._too_large()

    def _too_large(self) -> Problem:
        return Problem(413, f"more than {self._most} bytes")

    async def receive(self) -> Message:
        if self._is_complete:  # only to wait until the client goes
            return await self._receive()
        try:
            async with asyncio.timeout(IDLE_SECONDS):
                message = await self._receive()
        except TimeoutError:
            raise Problem(408, f"nothing of the body came for {IDLE_SECONDS:g} s") from None
        self._received += len(message.get("body", b""))
        self._is_complete = not message.get("more_body", False)
        seconds = time.monotonic() - self._began
        if self._received > self._most:
            raise self._too_large()
        if not self._is_complete and seconds > IDLE_SECONDS + self._received / LEAST_BYTES_PER_SECOND:
            raise Problem(408, f"the body comes too slowly: {self._received} bytes in {seconds:.0f} s")
        return message


class _Answer:
    """Sends an answer with the headers of every answer."""

    def __init__(self, send: Send) -> None:
        self._send, self._has_begun = send, False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._has_begun = True
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
            headers.setdefault("cache-control", "no-store")
        async with asyncio.timeout(SEND_SECONDS):  # its TimeoutError is an OSError: the connection is closed
            await self._send(message)

    async def end(self, problem: Problem, scope: Scope, receive: Receive) -> None:
        """Answer with a problem, unless an answer has begun."""
        if not self._has_begun:
            await answer_to(scope, problem)(scope, receive, self.send)
