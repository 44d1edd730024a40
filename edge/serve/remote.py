"""Another board as a classifier: sends image files to its `edge-detect serve`. Needs nothing but the standard library.

What the server answers is not trusted: lengths and values are checked, so that it can neither fill the memory nor
control the terminal.
"""

import http.client
import json
import math
import os
import ssl
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from edge.errors import ServerError, printable, reason_of
from edge.imaging.preprocess import MAX_BYTES
from edge.verdict import (
    CAPTURED,
    EDITED,
    GENERATED,
    LABELS,
    UNSURE,
    Answer,
    Evidence,
    Failure,
    Place,
    Verdict,
    ViewLogit,
)

TIMEOUT_SECONDS = 60.0
MOST_BYTES = 4 * 1024 * 1024  # of an answer
MOST_CHARACTERS = 500  # of a text in it
MOST_VIEWS = 4096
MOST_EVIDENCE = 100
ATTEMPTS = 10  # while the server is busy
LONGEST_SECONDS = 30.0  # between two of them
_PATH = "/api/v1/classify"
_UPLOAD = "upload: "  # what its errors call an image whose name it was not given


def read_token(path: Path) -> str:
    """The token in a file.

    Raises:
        ServerError: it cannot be read, others may read it, or it holds no token.
    """
    try:
        with open(path, encoding="ascii") as file:
            mode, text = os.fstat(file.fileno()).st_mode, file.read(2048).strip()
    except UnicodeDecodeError:
        mode, text = 0, ""
    except OSError as error:
        raise ServerError(f"{printable(path)}: {reason_of(error)}") from error
    if stat.S_ISREG(mode) and stat.S_IMODE(mode) & 0o077:
        raise ServerError(f"{printable(path)}: other accounts may read it: chmod 600 {printable(path)}")
    if text.startswith("sha256$"):
        raise ServerError(f"{printable(path)}: holds the digest of a token, which only the server can use")
    if not text or not text.isprintable() or " " in text:
        raise ServerError(f"{printable(path)}: holds no token")
    return text


class RemoteClassifier:
    """Classifies by the server at an address. For one thread."""

    def __init__(self, address: str, token: str | None = None, sleep: Callable[[float], None] = time.sleep) -> None:
        """
        Args:
            address: such as http://pi4.local:8642 or https://example.org/edge.
            sleep: waits for some seconds while the server is busy.

        Raises:
            ServerError: the address is invalid.
        """
        try:
            parts = urlsplit(address)
            port = parts.port
        except ValueError as error:
            raise ServerError(f"{printable(address)}: {error}") from error
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ServerError(f"{printable(address)}: not an address such as http://pi4.local:8642")
        if parts.username is not None:
            raise ServerError("the server's address must not hold the token; use --token-file")
        self.address = printable(f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}")
        self._host, self._port, self._is_secure = parts.hostname, port, parts.scheme == "https"
        self._path = parts.path.rstrip("/") + _PATH
        if not self._path.isascii() or not self._path.isprintable() or " " in self._path:
            raise ServerError(f"{self.address}: invalid path")
        self._headers = {"Content-Type": "application/octet-stream", "Accept": "application/json"}
        self._headers |= {"Authorization": f"Bearer {token}"} if token else {}
        self._sleep = sleep
        self._connection: http.client.HTTPConnection | None = None

    def answer(self, path: str, *, explain: bool = False) -> Answer:
        """The server's verdict on an image file, or why there is none.

        Raises:
            ServerError: the server cannot be reached, refuses us, or does not answer as `edge-detect serve` does.
        """
        try:
            with open(path, "rb", opener=_opener) as file:
                status = os.fstat(file.fileno())
                if not stat.S_ISREG(status.st_mode):
                    return Failure(path, "not a regular file")
                if status.st_size > MAX_BYTES:
                    return Failure(path, f"more than {MAX_BYTES} bytes")
                code, body = self._answered(file, status.st_size, explain=explain)
        except OSError as error:
            return Failure(path, reason_of(error))
        if code == 200:
            return self._verdict(path, body)
        detail = self._detail(body)
        if code in (413, 422):
            return Failure(path, detail.removeprefix(_UPLOAD))
        if code == 401:
            raise ServerError(f"{self.address}: refuses the token, or needs one: --token-file FILE")
        if code in (400, 403, 408, 421, 429, 500, 503):
            raise ServerError(f"{self.address}: {detail or f'status {code}'}")
        if 300 <= code < 400:
            raise ServerError(f"{self.address}: answers with a redirection; use the address to which it leads")
        raise self._foreign(f"status {code}")

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _answered(self, file: BinaryIO, size: int, *, explain: bool) -> tuple[int, bytes]:
        """The status and body of the answer; waits while the server is busy.

        Raises:
            ServerError: it cannot be reached.
        """
        wait = 1.0
        for attempt in range(ATTEMPTS):
            code, asked, body = self._exchange(file, size, explain=explain)
            if code != 503 or attempt == ATTEMPTS - 1:
                break
            seconds = float(asked) if asked.isascii() and asked.isdecimal() and len(asked) < 6 else 0.0
            self._sleep(min(max(wait, seconds), LONGEST_SECONDS))
            wait *= 2
        return code, body

    def _exchange(self, file: BinaryIO, size: int, *, explain: bool) -> tuple[int, str, bytes]:
        """One request: status, Retry-After, body. A kept connection that the server has closed is opened again.

        Raises:
            ServerError: the server cannot be reached.
        """
        is_kept = self._connection is not None
        try:
            return self._ask(file, size, explain=explain)
        except ssl.SSLCertVerificationError as error:
            self.close()
            raise ServerError(f"{self.address}: its certificate is not trusted: {error.verify_message}") from error
        except (ConnectionError, http.client.HTTPException, TimeoutError, ssl.SSLError, OSError) as error:
            self.close()
            if is_kept and isinstance(error, ConnectionError | http.client.BadStatusLine):
                return self._exchange(file, size, explain=explain)
            raise self._unreachable(error) from error

    def _ask(self, file: BinaryIO, size: int, *, explain: bool) -> tuple[int, str, bytes]:
        if self._connection is None:
            if self._is_secure:
                context = ssl.create_default_context()
                self._connection = http.client.HTTPSConnection(
                    self._host, self._port, timeout=TIMEOUT_SECONDS, context=context
                )
            else:
                self._connection = http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT_SECONDS)
        connection = self._connection
        connection.connect() if connection.sock is None else None
        file.seek(0)
        headers = self._headers | {"Content-Length": str(size)}
        was_refused = False
        try:
            connection.request("POST", f"{self._path}{'?explain=true' if explain else ''}", file, headers)
        except (BrokenPipeError, ConnectionResetError):
            was_refused = True  # it may have answered before it had read everything
        response = connection.getresponse()
        body = response.read(MOST_BYTES + 1)
        if len(body) > MOST_BYTES:
            raise self._foreign(f"more than {MOST_BYTES} bytes")
        if was_refused or response.will_close:
            self.close()
        return response.status, response.headers.get("Retry-After", ""), body

    def _unreachable(self, error: Exception) -> ServerError:
        if isinstance(error, http.client.HTTPException):
            return self._foreign(type(error).__name__)
        reason = "no answer in time" if isinstance(error, TimeoutError) else _reason(error)
        return ServerError(f"{self.address}: cannot reach the server: {reason}")

    def _foreign(self, what: str) -> ServerError:
        return ServerError(f"{self.address}: does not answer as `edge-detect serve` does: {what}")

    def _detail(self, body: bytes) -> str:
        """The reason in an answer that is an error; empty if there is none."""
        try:
            detail = json.loads(body)["detail"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return ""
        return printable(detail[:MOST_CHARACTERS]) if isinstance(detail, str) else ""

    def _verdict(self, path: str, body: bytes) -> Verdict:
        """
        Raises:
            ServerError: the body is not a verdict.
        """
        try:
            return verdict_of(json.loads(body), path)
        except (ValueError, KeyError, TypeError, RecursionError, OverflowError) as error:
            raise self._foreign("its answer is no verdict") from error


def verdict_of(fields: Any, path: str) -> Verdict:
    """A verdict from the JSON fields of `Verdict.as_json`.

    Raises:
        ValueError, KeyError, TypeError: they are not.
    """
    label = fields["label"]
    if label not in (*LABELS, UNSURE):
        raise ValueError("unknown label")
    evidence, views = fields["provenance"], fields.get("explain")
    if len(evidence) > MOST_EVIDENCE or (views is not None and len(views) > MOST_VIEWS):
        raise ValueError("too much of it")
    score = _number(fields["score"], 0, 1)
    return Verdict(
        path,
        label,
        label == LABELS[1] if label != UNSURE else score > 0.5,
        score,
        _number(fields["confidence"], 0, 1),
        None if fields["outside"] is None else _text(fields["outside"]),
        _number(fields["elapsed_ms"], 0, 1e9) / 1000,
        _text(fields["model"] or ""),
        None if views is None else tuple(_view(one) for one in views),
        tuple(_evidence(one) for one in evidence),
    )


def _view(fields: Any) -> ViewLogit:
    left, top, width, height = (_number(fields[name], -1, 2) for name in ("left", "top", "width", "height"))
    return ViewLogit(Place(left, top, width, height, 0), _number(fields["logit"], -1e6, 1e6))


def _evidence(fields: Any) -> Evidence:
    says, verified, prompt = fields["says"], fields["verified"], fields.get("prompt")
    if says not in (GENERATED, EDITED, CAPTURED) or verified not in (None, True, False):
        raise ValueError("unknown evidence")
    return Evidence(
        _text(fields["kind"]),
        says,
        _text(fields["program"] or ""),
        _text(fields["detail"] or ""),
        verified,
        None if prompt is None else _text(prompt, 20 * MOST_CHARACTERS),
    )


def _text(value: Any, most: int = MOST_CHARACTERS) -> str:
    if not isinstance(value, str):
        raise TypeError("no text")
    return printable(value[:most])


def _number(value: Any, least: float, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError("no number")
    if not least <= value <= most:
        raise ValueError("number out of range")
    return float(value)


def _reason(error: Exception) -> str:
    text = reason_of(error) if isinstance(error, OSError) else str(error)
    return printable(" ".join(text.split()))[:MOST_CHARACTERS] or type(error).__name__


def _opener(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)  # a FIFO would be waited for
