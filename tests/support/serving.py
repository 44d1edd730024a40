"""A running `edge-detect serve`, in a process of its own, for tests to ask."""

import http.client
import json
import re
import signal
import subprocess
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.conftest import command, environment

PATIENCE = 60.0


@dataclass(frozen=True)
class Answer:
    """An answer of the server."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Serving:
    """A server at 127.0.0.1 at a free port; or at another address.

    Attributes:
        port: where it listens.
        lines: what it has written to stderr.
        printed: what it has written to stdout.
    """

    def __init__(self, home: Path, *options: str | Path, prefix: tuple[str, ...] = (), **variables: str) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self.home = home
        self.lines: list[str] = []
        self.printed: list[str] = []
        self.port = 0
        self._ready = threading.Event()
        self.process = subprocess.Popen(
            [*prefix, *command("serve", "--port", "0", *options)],
            cwd=home,
            env=environment(**{"HOME": str(home)} | variables),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        streams = ((self.process.stderr, self.lines), (self.process.stdout, self.printed))
        self._readers = [threading.Thread(target=self._read, args=pair) for pair in streams]
        for reader in self._readers:
            reader.start()

    def _read(self, stream: Any, lines: list[str]) -> None:
        for line in stream:
            lines.append(line)
            if match := re.search(r"serving at http://\S+:(\d+)", line):
                self.port = int(match[1])
                self._ready.set()
        self._ready.set()

    def ready(self) -> "Serving":
        """Wait until it serves."""
        assert self._ready.wait(PATIENCE), self.lines
        assert self.port, self.lines
        return self

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def token(self) -> str:
        """The token that it has printed."""
        deadline = time.monotonic() + PATIENCE
        while not (found := re.search(r"^    (\S{32})$", "".join(self.printed), re.MULTILINE)):
            assert time.monotonic() < deadline, self.printed
            time.sleep(0.02)
        return found[1]

    def ask(
        self,
        path: str,
        method: str = "GET",
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        *,
        token: str = "",
        seconds: float = PATIENCE,
    ) -> Answer:
        """One request, exactly as it is given."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=seconds)
        try:
            sent = dict(headers or {}) | ({"Authorization": f"Bearer {token}"} if token else {})
            connection.putrequest(method, path, skip_host="Host" in sent, skip_accept_encoding=True)
            for name, value in sent.items():
                connection.putheader(name, value)
            if isinstance(body, bytes) and "Content-Length" not in sent and "Transfer-Encoding" not in sent:
                connection.putheader("Content-Length", str(len(body)))
            elif body is None and method == "POST":
                connection.putheader("Content-Length", "0")
            connection.endheaders(body, encode_chunked=body is not None and "Transfer-Encoding" in sent)
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    def classify(self, image: Path, **options: Any) -> Answer:
        return self.ask(f"/api/v1/classify?name={image.name}", "POST", image.read_bytes(), **options)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, and return the exit status."""
        self.process.send_signal(number)
        status = self.process.wait(PATIENCE)
        self._join()
        return status

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self._join()

    def _join(self) -> None:
        for reader in self._readers:
            reader.join(PATIENCE)
        for stream in (self.process.stdout, self.process.stderr):
            if stream:
                stream.close()


def form(*parts: tuple[str, str | None, bytes], boundary: str = "0123456789abcdef") -> tuple[bytes, dict[str, str]]:
    """The body and the headers of a form.

    Args:
        parts: (name, file name or None, content) of each.
    """
    body = b""
    for name, file_name, content in parts:
        file = "" if file_name is None else f'; filename="{file_name}"'
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'
        body += head.encode("utf-8", "surrogateescape") + content + b"\r\n"
    return body + f"--{boundary}--\r\n".encode(), {"Content-Type": f"multipart/form-data; boundary={boundary}"}


def routes() -> list[tuple[str, str]]:
    """(path with an example in place of each parameter, method) of every route of the server."""
    from unittest.mock import MagicMock

    from starlette.routing import Mount, Route

    from edge.serve.app import make_app
    from edge.serve.auth import Auth
    from edge.serve.settings import ServeSettings

    services = MagicMock(auth=Auth(None, 1), base="")  # nothing of it is used until a request comes
    found = []
    for route in make_app(ServeSettings(router=lambda: None), services).routes:  # type: ignore[arg-type, return-value]
        assert isinstance(route, Route | Mount), "a route of another kind needs tests of its own"
        path = re.sub(r"\{\w+(:\w+)?\}", "0a1b2c3d-1", route.path)
        methods = route.methods if isinstance(route, Route) else {"GET"}
        found += [(path if isinstance(route, Route) else f"{path}/x", method) for method in sorted(methods or ())]
    return found
