"""GET requests to a camera: time limits, redirects, Basic and Digest authentication, by the standard library alone."""

import base64
import contextlib
import hashlib
import http.client
import io
import math
import re
import secrets
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from email.message import Message
from typing import Any
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit, urlunsplit

from edge import redact
from edge.capture.proxy import Proxy, proxy_for
from edge.errors import CameraError, printable, reason_of

REDIRECTS = 5
CHUNK_BYTES = 1 << 16
UNAUTHORIZED = "the user or the password is wrong or missing (401)"

_REDIRECT_STATUSES = (301, 302, 303, 307, 308)
_SAFE = "!$%&'()*+,/:;=?@[]~"  # characters of a path or query that stay as they are
_CHALLENGE = re.compile(r"(?:^|,)\s*(basic|digest)\s+", re.IGNORECASE)
_PARAMETER = re.compile(r'(\w+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,]+))')
_HEADERS = {"User-Agent": "edge-detect", "Accept": "*/*", "Connection": "close"}
_HASHES = {"MD5": "md5", "SHA-256": "sha256"}


class NotHttpError(CameraError):
    """The server answers in another protocol than HTTP, or in a TLS that Python does not speak."""


class Answer:
    """The answer to a request. Its body is read piece by piece.

    Attributes:
        url: where it came from, after redirects.
        status: 200, or 304.
        headers: of the answer.
    """

    def __init__(self, url: str, response: http.client.HTTPResponse, limit: "_TimeLimit", name: str) -> None:
        self.url, self.status, self.headers = url, response.status, response.headers
        self._response, self._limit, self._name = response, limit, name
        if self.type.startswith("multipart/") and not response.chunked:
            response.length = None  # some cameras give one, although the stream has no end

    @property
    def type(self) -> str:
        """The media type in lower case, without parameters; empty if there is none."""
        return str(self.headers.get("Content-Type", "")).partition(";")[0].strip().lower()

    @property
    def has_length(self) -> bool:
        """Whether the body has a known end."""
        return "Content-Length" in self.headers and not self._response.chunked

    def read(self, seconds: float, deadline: float = math.inf) -> bytes:
        """Some bytes of the body, at most CHUNK_BYTES; empty at its end.

        Args:
            seconds: time limit.
            deadline: another one, as time.monotonic().

        Raises:
            CameraError: the connection is lost, or silent for this time.
        """
        self._limit.set(min(seconds, deadline - time.monotonic()))
        try:
            return self._response.read1(CHUNK_BYTES)
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise _error(self._name, error, seconds) from None

    def close(self) -> None:
        self._response.close()


class HttpClient:
    """Requests to one address; used by one thread, except `interrupt`.

    Attributes:
        name: the address without its password.
    """

    def __init__(self, address: str) -> None:
        """
        Args:
            address: http:// or https://, with user and password before the host if they are needed.

        Raises:
            CameraError: the address is invalid.
        """
        scheme = redact.scheme(address)
        self.name = redact.shown(address)
        self.url = scheme + address[len(scheme) :]
        self._userinfo, at, _ = _split(self.url, self.name).netloc.rpartition("@")
        user, _, password = self._userinfo.partition(":")
        self._login = (unquote(user), unquote(password)) if at else None
        self._challenge: _Challenge | None = None
        self._socket: socket.socket | None = None
        self._is_interrupted = threading.Event()

    def get(self, seconds: float, url: str | None = None, headers: Mapping[str, str] | None = None) -> Answer:
        """Send a request, and follow redirects within HTTP.

        The password is sent only to the host of the address, and not without TLS if the address has TLS.

        Args:
            seconds: time limit until the head of the answer is complete.
            url: None: the address itself.
            headers: of the request, such as If-None-Match.

        Raises:
            NotHttpError: the answer is none of HTTP.
            CameraError: the server cannot be reached or does not answer in time, or it refuses; the text has no
                password.
        """
        deadline = time.monotonic() + seconds
        url, attempts = url or self.url, 0
        for _ in range(2 * REDIRECTS):
            parts = _split(url, self.name)
            left = deadline - time.monotonic()
            if left <= 0:
                raise CameraError(f"{self.name}: no answer for {seconds:g} s")
            proxy = proxy_for(url)
            try:
                response, limit = self._send(parts, proxy, left, dict(headers or {}) | self._authorization(parts))
            except (OSError, ValueError, http.client.HTTPException) as error:
                hint = f"; by {proxy}" if proxy else redact.hint(self.url)
                raise _error(self.name, error, seconds, hint) from None
            if response.status in (200, 206, 304):
                return Answer(url, response, limit, self.name)
            response.close()
            location = response.headers.get("Location")
            if response.status in _REDIRECT_STATUSES and location:
                url = _redirected(url, location, self.name)
                attempts = 0
            elif response.status == 401 and not attempts and self._may_log_in(parts):
                attempts += 1
                self._challenge = _challenge(response.headers)
                if self._challenge is None:
                    raise CameraError(f"{self.name}: asks for the password in an unsupported way")
            elif response.status == 401:
                raise CameraError(f"{self.name}: {UNAUTHORIZED}{redact.hint(self.url)}")
            else:
                reason = f"{response.status} {response.reason}".strip().lower()
                raise CameraError(f"{self.name}: server returned {printable(reason)}")
        raise CameraError(f"{self.name}: redirects too often")

    def with_login(self, url: str) -> str:
        """An address with the user and password, if they may be sent there."""
        parts = _split(url, self.name)
        if not self._may_log_in(parts) or "@" in parts.netloc:
            return url
        return urlunsplit(parts._replace(netloc=f"{self._userinfo}@{parts.netloc}"))

    def interrupt(self) -> None:
        """End the present request, from any thread; no later one succeeds."""
        self._is_interrupted.set()
        connected = self._socket
        if connected is not None:
            with contextlib.suppress(OSError):  # it may be closed already
                # Not the method of an SSLSocket, which would take its TLS state away from the reading thread.
                socket.socket.shutdown(connected, socket.SHUT_RDWR)

    def _send(
        self, parts: SplitResult, proxy: Proxy | None, seconds: float, headers: dict[str, str]
    ) -> "tuple[http.client.HTTPResponse, _TimeLimit]":
        connection: http.client.HTTPConnection
        host, port = (proxy.host, proxy.port) if proxy else (parts.hostname or "", parts.port)
        target = _target(parts)
        if parts.scheme == "https":
            connection = http.client.HTTPSConnection(host, port, timeout=seconds, context=_tls_context())
            if proxy:
                connection.set_tunnel(parts.hostname or "", parts.port or 443, proxy.headers)
        else:
            connection = http.client.HTTPConnection(host, port, timeout=seconds)
            if proxy:
                target = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{target}"
                headers = headers | proxy.headers
        began = time.monotonic()
        try:
            connection.connect()
            self._socket = connected = connection.sock
            if self._is_interrupted.is_set():
                raise ConnectionAbortedError
            limit = _TimeLimit(connected)
            limit.set(seconds - (time.monotonic() - began))
            connection.response_class = limit.response  # type: ignore[assignment]  # is called only
            connection.request("GET", target, headers=_HEADERS | headers)
            response = connection.getresponse()
        except BaseException:
            connection.close()
            raise
        connected.close()  # the response keeps it open for itself
        return response, limit

    def _may_log_in(self, parts: SplitResult) -> bool:
        own = urlsplit(self.url)
        has_tls = parts.scheme == "https" or own.scheme == "http"
        return self._login is not None and parts.hostname == own.hostname and has_tls

    def _authorization(self, parts: SplitResult) -> dict[str, str]:
        if self._login is None or self._challenge is None or not self._may_log_in(parts):
            return {}
        return {"Authorization": self._challenge.answer(*self._login, _target(parts))}


class _TimeLimit:
    """A time limit for everything that is read from a socket until it is set again.

    The socket's own time limit begins again with each byte, so that a server that sends one a second would never
    reach it.
    """

    def __init__(self, connected: socket.socket) -> None:
        self._socket, self._deadline = connected, 0.0

    def set(self, seconds: float) -> None:
        self._deadline = time.monotonic() + seconds

    def response(self, _: socket.socket, **options: Any) -> http.client.HTTPResponse:
        return http.client.HTTPResponse(self, **options)  # type: ignore[arg-type]  # only makefile is called

    def makefile(self, _: str) -> io.BufferedReader:
        raw, limit = self._socket.makefile("rb", buffering=0), self

        class Limited(io.RawIOBase):
            def readable(self) -> bool:
                return True

            def readinto(self, buffer: Any) -> int | None:
                left = limit._deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError
                limit._socket.settimeout(left)
                return raw.readinto(buffer)

            def close(self) -> None:
                raw.close()
                super().close()

        return io.BufferedReader(Limited())


class _Challenge:
    """What a server asks for (RFC 7617, RFC 7616)."""

    def __init__(self, scheme: str, parameters: Mapping[str, str]) -> None:
        self._scheme, self._parameters = scheme, parameters
        self._count = 0

    @property
    def is_supported(self) -> bool:
        qualities = self._parameters.get("qop", "auth").replace(" ", "").split(",")
        return self._scheme == "basic" or (self._hash in _HASHES and "auth" in qualities)

    @property
    def is_basic(self) -> bool:
        return self._scheme == "basic"

    @property
    def _algorithm(self) -> str:
        return self._parameters.get("algorithm", "MD5").upper()

    @property
    def _hash(self) -> str:
        return self._algorithm.removesuffix("-SESS")

    def answer(self, user: str, password: str, target: str) -> str:
        """The header Authorization of a GET request."""
        if self.is_basic:
            return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
        self._count += 1
        given = self._parameters
        realm, nonce = given.get("realm", ""), given.get("nonce", "")
        count, own_nonce = f"{self._count:08x}", secrets.token_hex(8)

        def digest(*parts: str) -> str:
            return hashlib.new(_HASHES[self._hash], ":".join(parts).encode(), usedforsecurity=False).hexdigest()

        secret = digest(user, realm, password)
        if self._algorithm.endswith("-SESS"):
            secret = digest(secret, nonce, own_nonce)
        request = digest("GET", target)
        quoted = {"username": user, "realm": realm, "nonce": nonce, "uri": target}
        plain = {"algorithm": given["algorithm"]} if "algorithm" in given else {}
        if "opaque" in given:
            quoted["opaque"] = given["opaque"]
        if "qop" in given:
            quoted |= {"cnonce": own_nonce, "response": digest(secret, nonce, count, own_nonce, "auth", request)}
            plain |= {"qop": "auth", "nc": count}
        else:
            quoted["response"] = digest(secret, nonce, request)
        fields = [f'{name}="{_escaped(value)}"' for name, value in quoted.items()]
        return "Digest " + ", ".join(fields + [f"{name}={value}" for name, value in plain.items()])


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _challenge(headers: Message) -> _Challenge | None:
    """The strongest supported one that an answer 401 offers; None if there is none."""
    offered = []
    for header in headers.get_all("WWW-Authenticate", []):
        pieces = _CHALLENGE.split(str(header))
        for scheme, text in zip(pieces[1::2], pieces[2::2], strict=True):
            parameters = {
                found[1].lower(): re.sub(r"\\(.)", r"\1", found[2]) if found[2] is not None else found[3]
                for found in _PARAMETER.finditer(text)
            }
            offered.append(_Challenge(scheme.lower(), parameters))
        if not pieces[1:] and str(header).strip().lower() == "basic":
            offered.append(_Challenge("basic", {}))
    return min((one for one in offered if one.is_supported), key=lambda one: one.is_basic, default=None)


def _split(url: str, name: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port
        if not parts.hostname:
            raise ValueError
    except ValueError:
        raise CameraError(f"{name}: not an address; its host or port is invalid{redact.hint(url)}") from None
    return parts


def _target(parts: SplitResult) -> str:
    """The path and query of a request."""
    query = f"?{quote(parts.query, _SAFE)}" if parts.query else ""
    return (quote(parts.path, _SAFE) or "/") + query


def _redirected(url: str, location: str, name: str) -> str:
    try:
        target = urljoin(url, location)
        scheme = urlsplit(target).scheme
    except ValueError:
        scheme = ""
    if scheme not in ("http", "https"):
        raise CameraError(f"{name}: redirects to an address that is not of HTTP")
    return target


def _tls_context() -> ssl.SSLContext:
    """TLS without a check of the certificate: cameras sign their own. FFmpeg does not check it either."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _error(name: str, error: Exception, seconds: float, hint: str = "") -> CameraError:
    """A CameraError whose text has nothing of the address that may be a password.

    Args:
        hint: appended if the host may be a wrong one.
    """
    if isinstance(error, TimeoutError):
        return CameraError(f"{name}: no answer for {round(seconds, 1):g} s{hint}")
    if isinstance(error, http.client.IncompleteRead | http.client.RemoteDisconnected | ConnectionResetError):
        return CameraError(f"{name}: the connection broke off")
    if isinstance(error, http.client.InvalidURL | UnicodeError):
        return CameraError(f"{name}: not an address; its host or path is invalid{hint}")
    if isinstance(error, http.client.HTTPException | ssl.SSLError):
        return NotHttpError(f"{name}: does not answer by HTTP")
    if str(error).startswith("Tunnel connection failed"):  # http.client's words for the answer of a proxy
        return CameraError(f"{name}: {printable(str(error).lower())}{hint}")
    if isinstance(error, OSError) and error.strerror:
        return CameraError(f"{name}: {reason_of(error)}{hint}")
    return CameraError(f"{name}: the connection broke off")
