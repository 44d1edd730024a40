"""Fetches an image by URL, from places that the board's owner allows."""

import hashlib
import http.client
import ssl
import time
from collections.abc import Sequence
from urllib.parse import SplitResult, unquote, urlsplit

from edge.errors import FleetError, printable, reason_of
from edge.imaging.preprocess import MAX_BYTES

SECONDS = 60.0  # for one image
WAIT_SECONDS = 10.0  # for the next bytes
_PIECE = 65_536


def prefix(text: str) -> str:
    """Check a prefix of URLs, such as https://store/images/; it must end with a slash.

    Raises:
        ValueError: the reason.
    """
    parts = _split(text)
    if not parts.path.endswith("/") or parts.query:
        raise ValueError("a prefix ends with a slash, so that /images/ does not allow /images-of-others/")
    return text


def is_allowed(url: str, prefixes: Sequence[str]) -> bool:
    """Whether a URL lies below one of the prefixes, on the same host and port."""
    try:
        asked = _split(url)
    except ValueError:
        return False
    if ".." in unquote(asked.path).replace("\\", "/").split("/"):
        return False
    return any(_place(asked) == _place(own) and asked.path.startswith(own.path) for own in map(urlsplit, prefixes))


def download(url: str, sha256: str, prefixes: Sequence[str], most: int = MAX_BYTES) -> bytes:
    """Fetch an image. Redirects are not followed.

    Args:
        sha256: that it must have, hexadecimal.
        prefixes: of allowed URLs.
        most: bytes.

    Raises:
        FleetError: not allowed, not there, too large, too slow, or another content.
    """
    shown = printable(url.partition("?")[0])
    if not is_allowed(url, prefixes):
        raise FleetError(f"{shown}: not below a prefix of --allow-url")
    parts, until = urlsplit(url), time.monotonic() + SECONDS
    try:
        connection = _connection(parts)
        try:
            connection.request("GET", parts.path + (f"?{parts.query}" if parts.query else ""))
            answer = connection.getresponse()
            if answer.status != 200:
                raise FleetError(f"{shown}: status {answer.status}")
            data = _body(answer, most, until, shown)
        finally:
            connection.close()
    except (OSError, ValueError) as error:
        raise FleetError(f"{shown}: {printable(reason_of(error))}") from error
    except http.client.HTTPException as error:
        raise FleetError(f"{shown}: not an answer of HTTP: {type(error).__name__}") from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise FleetError(f"{shown}: holds another image than the one that was submitted")
    return data


def _body(answer: http.client.HTTPResponse, most: int, until: float, shown: str) -> bytes:
    if (answer.length or 0) > most:
        raise FleetError(f"{shown}: {answer.length} bytes, more than the limit of {most}")
    data = bytearray()
    while piece := answer.read1(_PIECE):
        data += piece
        if len(data) > most:
            raise FleetError(f"{shown}: more than the limit of {most} bytes")
        if time.monotonic() > until:
            raise FleetError(f"{shown}: took longer than {SECONDS:g} s")
    return bytes(data)


def _connection(parts: SplitResult) -> http.client.HTTPConnection:
    host = str(parts.hostname)
    if parts.scheme == "https":
        context = ssl.create_default_context()
        return http.client.HTTPSConnection(host, parts.port, timeout=WAIT_SECONDS, context=context)
    return http.client.HTTPConnection(host, parts.port, timeout=WAIT_SECONDS)


def _split(url: str) -> SplitResult:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("it must begin with http:// or https://, and a host")
    if parts.username is not None or parts.fragment or not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError("no password, no #, and ASCII only; other characters are written %20")
    _ = parts.port  # raises ValueError
    return parts


def _place(parts: SplitResult) -> tuple[str, str | None, int]:
    return parts.scheme, parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)
