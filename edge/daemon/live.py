"""The live picture of a camera over a Unix socket: made when a client connects, and at no other time."""

import contextlib
import json
import os
import signal
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge.daemon.status import LIVE_SUFFIX, listen, short_address, socket_path

SEND_SECONDS = 2.0  # for one client, after which the next one is served
MAX_HEADER_BYTES = 65_536
MAX_PICTURE_BYTES = 4_000_000
Picture = Callable[[], tuple[dict[str, Any], bytes]]


class LiveServer:
    """Sends to every client that connects one line of JSON and the bytes of a picture, in a thread of its own.

    The thread waits in the kernel while nobody connects. The field "bytes" of the JSON is the picture's length, 0 if
    there is none.
    """

    def __init__(self, name: str, picture: Picture) -> None:
        """
        Args:
            name: of the camera.
            picture: returns the JSON fields and the picture; called in the thread, for every client.
        """
        self._path, self._picture = socket_path(name, LIVE_SUFFIX), picture
        self._socket: socket.socket | None = None
        with contextlib.suppress(OSError):  # the folder is read-only, for example: work without
            self._socket = listen(self._path)
        self._thread = threading.Thread(target=self._serve, name="live", daemon=True)

    def close(self) -> None:
        """End the thread, after the client that is being served."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)  # wakes the thread
            self._thread.join(SEND_SECONDS)
            self._socket.close()
            self._socket = None

    def __enter__(self) -> "LiveServer":
        if self._socket is not None:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _serve(self) -> None:
        assert self._socket is not None
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # they are for the main thread
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            with client, contextlib.suppress(OSError):
                client.settimeout(SEND_SECONDS)
                fields, picture = self._picture()
                header = json.dumps(fields | {"bytes": len(picture)}).encode("ascii") + b"\n"
                client.sendall(header + picture)


def receive(path: Path, seconds: float) -> tuple[dict[str, Any], bytes]:
    """Ask for the picture of a camera.

    Args:
        path: of the socket.
        seconds: time limit of each step.

    Returns:
        The JSON fields and the picture; the latter is empty if the camera has none now.

    Raises:
        OSError: the camera is gone, does not answer in time, or this account has no permission to ask it.
        ValueError: it does not follow the protocol.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as client:
        client.settimeout(seconds)
        with short_address(path) as address:
            client.connect(address)
        with client.makefile("rb") as answer:
            header = answer.readline(MAX_HEADER_BYTES)
            if not header.endswith(b"\n"):
                raise ConnectionResetError(f"{os.fspath(path)}: the camera has closed the connection")
            try:
                fields = json.loads(header)
            except RecursionError as error:
                raise ValueError("nested too deeply") from error
            length = fields.get("bytes") if isinstance(fields, dict) else None
            if not isinstance(length, int) or not 0 <= length <= MAX_PICTURE_BYTES:
                raise ValueError("invalid length of a picture")
            picture = answer.read(length)
    if len(picture) != length:
        raise ConnectionResetError(f"{os.fspath(path)}: the camera has closed the connection")
    return fields, picture
