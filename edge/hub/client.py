"""GET requests to a hub: limits of size and time, and redirects that may not leave HTTPS."""

import contextlib
import hashlib
import http.client
import ipaddress
import json
import os
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar
from urllib.parse import urlsplit

from edge import __version__
from edge.errors import HubError, printable, reason_of
from edge.paths import xdg_folder

ENDPOINT = "https://huggingface.co"
SILENCE_SECONDS = 30.0
REDIRECTS = 5
CHUNK_BYTES = 1 << 16
_MOST_TOKEN_BYTES = 1000

T = TypeVar("T")


@dataclass(frozen=True)
class Fetched:
    """A file that was downloaded.

    Attributes:
        size: in bytes.
        sha256: hexadecimal.
    """

    size: int
    sha256: str


class Hub:
    """A hub, or a mirror of one.

    Attributes:
        endpoint: its address, without a slash at the end.
        is_protected: whether nobody on the way can read or change what is sent: by TLS, or because it stays on this
            machine.
    """

    def __init__(self, endpoint: str = ENDPOINT, token: str | None = None, seconds: float = 1800.0) -> None:
        """
        Args:
            endpoint: http:// or https:// and a host.
            token: for private repositories; it is sent to this host alone, and only if the way is protected.
            seconds: time limit of one file.

        Raises:
            HubError: the address is invalid.
        """
        self.endpoint, self._seconds = endpoint.rstrip("/"), seconds
        self._origin = _origin(self.endpoint)
        scheme, host, _ = self._origin
        if scheme not in ("http", "https") or not host or urlsplit(self.endpoint).username is not None:
            raise HubError(f"{_shown(endpoint)}: invalid address of a hub; it is https:// and a host")
        self.is_protected = scheme == "https" or _is_loopback(host)
        self._token = token if self.is_protected else None
        self._opener = _opener(self._origin, self._authorization())

    def _authorization(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._token}"} if self._token else {}

    def content(self, path: str, most: int) -> bytes:
        """The content of a file.

        Args:
            path: of the address, beginning with a slash.
            most: limit of its size, bytes.

        Raises:
            HubError: see `save`.
        """
        pieces: list[bytes] = []
        self._fetch(path, most, pieces.append)
        return b"".join(pieces)

    def json(self, path: str, most: int) -> Any:
        """The content of a JSON file, see `content`.

        Raises:
            HubError: see `save`; or it is not JSON.
        """
        content = self.content(path, most)
        try:
            return json.loads(content)
        except (ValueError, RecursionError):
            raise HubError(f"{self.endpoint}{path}: the answer is not JSON; is this a hub?") from None

    def save(self, path: str, target: Path, most: int) -> Fetched:
        """Download a file and write it to disk.

        Args:
            path, most: see `content`.
            target: it is overwritten.

        Raises:
            HubError: the hub cannot be reached, refuses, redirects elsewhere than to HTTPS, sends more than `most`
                bytes or fewer than announced, or takes too long; the text has no token.
            OSError: the file cannot be written.
        """
        with open(target, "wb") as file:
            fetched = self._fetch(path, most, file.write)
            file.flush()
            os.fsync(file.fileno())
        return fetched

    def _fetch(self, path: str, most: int, write: Callable[[bytes], object]) -> Fetched:
        url = self.endpoint + path
        request = urllib.request.Request(url, headers={"User-Agent": f"edge-detect/{__version__}"})
        for name, value in self._authorization().items():
            request.add_unredirected_header(name, value)

        def fetch() -> Fetched:
            try:
                with self._opener.open(request, timeout=SILENCE_SECONDS) as response:
                    return _copied(response, url, most, write, time.monotonic() + self._seconds)
            except urllib.error.HTTPError as error:
                error.close()
                raise HubError(f"{url}: {_refusal(error.code, has_token=bool(self._token))}") from None
            except urllib.error.URLError as error:
                raise HubError(f"cannot reach {self.endpoint}: {_reason(error.reason)}") from None
            except http.client.HTTPException as error:
                raise HubError(f"{url}: invalid answer: {_reason(error)}") from None
            except (TimeoutError, ConnectionError, ssl.SSLError) as error:
                raise HubError(f"{url}: the connection was lost: {_reason(error)}") from None

        return _within(self._seconds, fetch, f"{url}: not complete after {self._seconds:g} s")


def token(environment: Mapping[str, str] = os.environ) -> str | None:
    """The token of the account, from where huggingface_hub keeps it: $HF_TOKEN, else a file; None if there is none."""
    if given := (environment.get("HF_TOKEN") or "").strip():
        return given if given.isascii() and given.isprintable() else None
    cache = xdg_folder("XDG_CACHE_HOME", ".cache", environment)
    home = Path(environment["HF_HOME"]) if environment.get("HF_HOME") else cache and cache / "huggingface"
    path = environment.get("HF_TOKEN_PATH") or (home and home / "token")
    with contextlib.suppress(OSError, ValueError):
        if path:
            with open(path, encoding="ascii") as file:
                found = file.read(_MOST_TOKEN_BYTES).strip()
                return found if found.isprintable() and found else None
    return None


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to HTTPS, or within the hub's own scheme, host and port, where the token is sent again."""

    max_redirections = REDIRECTS

    def __init__(self, origin: tuple[str, str, int | None], headers: Mapping[str, str]) -> None:
        self._origin, self._headers = origin, headers

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        origin = _origin(newurl)
        if origin[0] != "https" and origin != self._origin:
            fp.close()
            raise HubError(f"{req.full_url}: redirects to {_shown(newurl)}, which is not HTTPS")
        redirected = super().redirect_request(req, fp, code, msg, headers, newurl)
        if redirected is not None and origin == self._origin:
            for name, value in self._headers.items():
                redirected.add_unredirected_header(name, value)
        return redirected


def _opener(origin: tuple[str, str, int | None], headers: Mapping[str, str]) -> urllib.request.OpenerDirector:
    """An opener for HTTP and HTTPS alone: neither files nor FTP."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
        _Redirects(origin, headers),
    ):
        opener.add_handler(handler)
    return opener


def _copied(response: Any, url: str, most: int, write: Callable[[bytes], object], deadline: float) -> Fetched:
    """Copy the body of an answer, and check its length."""
    announced = response.headers.get("Content-Length", "")
    expected = int(announced) if announced.isascii() and announced.isdecimal() and len(announced) < 19 else None
    digest, size = hashlib.sha256(), 0
    while True:
        if (expected or 0) > most or size > most:
            raise HubError(f"{url}: larger than the limit of {most} bytes")
        if time.monotonic() > deadline:
            raise HubError(f"{url}: not complete in time")
        piece = response.read1(CHUNK_BYTES)
        if not piece:
            break
        digest.update(piece)
        size += len(piece)
        write(piece)
    if expected is not None and size != expected:
        raise HubError(f"{url}: cut off after {size} of {expected} bytes; try again")
    return Fetched(size, digest.hexdigest())


def _within(seconds: float, call: Callable[[], T], text: str) -> T:
    """The result of a call in a thread that is abandoned after a time.

    A server that sends a byte now and then keeps within the limit of each single wait.

    Raises:
        HubError: it took too long, with this text.
    """
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(call())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, name="hub", daemon=True)
    thread.start()
    thread.join(seconds)
    for error in errors:
        raise error
    if not results:
        raise HubError(text)
    return results[0]


def _refusal(status: int, *, has_token: bool) -> str:
    """What a status means."""
    if 300 <= status < 400:
        return f"redirects in a circle, more than {REDIRECTS} times, or to an address which is not HTTPS"
    if status in (401, 403):
        fix = "the token may not read it" if has_token else "a private one needs a token, in HF_TOKEN"
        return f"refused ({status}): no such repository, or {fix}"
    known = {404: "not there", 429: "too many requests; try again later"}
    return f"{known.get(status, 'the hub has failed; try again later' if status >= 500 else 'refused')} ({status})"


def _reason(error: object) -> str:
    text = reason_of(error) if isinstance(error, OSError | ValueError) else str(error)
    return printable(" ".join(text.split())[:300]) or type(error).__name__


def _origin(url: str) -> tuple[str, str, int | None]:
    """(scheme, host, port) of an address; empty texts if it is invalid."""
    try:
        parts = urlsplit(url)
        port = parts.port or {"https": 443, "http": 80}.get(parts.scheme)
        return parts.scheme.lower(), (parts.hostname or "").lower(), port
    except ValueError:
        return "", "", None


def _is_loopback(host: str) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def _shown(url: str) -> str:
    """An address without user, password, query and unprintable characters."""
    scheme, host, port = _origin(url)
    if not host:
        return printable(url[:100].rpartition("@")[2])
    default = {"https": 443, "http": 80}.get(scheme)
    return printable(f"{scheme}://{host}{'' if port in (None, default) else f':{port}'}"[:200])
