"""The status of running watchers and cameras as JSON over a Unix socket, served from the work loop."""

import contextlib
import hashlib
import json
import os
import socket
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from edge.errors import LedgerError, printable
from edge.paths import xdg_folder
from edge.store.state import default_folder

SUFFIX = ".status"
TIMEOUT_SECONDS = 5.0
SERVICES = Path("/run/edge-detect")  # runtime folder of the systemd units


def runtime_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """The folder of the status sockets: in memory if possible, to spare the SD card.

    Returns:
        The runtime folder of the service (made by systemd), else of the user (XDG Base Directory Specification), else
        the state folder; a path that does not exist if the account has no home.
    """
    if given := environment.get("RUNTIME_DIRECTORY"):
        return Path(given)
    base = xdg_folder("XDG_RUNTIME_DIR", environment=environment)
    if base is not None and os.path.isdir(base):
        return base / "edge-detect"
    try:
        return default_folder()
    except LedgerError:  # no home
        return Path("/nonexistent")


class StatusServer:
    """Sends the status as one line of JSON to every client that connects."""

    def __init__(self, watched: str) -> None:
        """
        Args:
            watched: real path of the watched folder, or name of the camera.
        """
        folder = runtime_folder()
        self._path = folder / f"{os.getpid()}-{hashlib.sha256(os.fsencode(watched)).hexdigest()[:16]}{SUFFIX}"
        self._socket: socket.socket | None = None
        with contextlib.suppress(OSError):  # the folder is read-only, for example: work without a status socket
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            _remove_stale(folder)
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
            try:
                self._path.unlink(missing_ok=True)
                with _short_address(self._path) as address:
                    listener.bind(address)
                listener.listen(8)
            except OSError:
                listener.close()
                raise
            self._socket = listener

    def serve(self, status: Callable[[], dict[str, Any]]) -> None:
        """Answer pending connections without blocking."""
        while self._socket is not None:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            with client, contextlib.suppress(OSError):
                client.setblocking(False)
                client.sendall(json.dumps(status()).encode("ascii") + b"\n")

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)

    def __enter__(self) -> "StatusServer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def ask() -> Iterator[dict[str, Any] | str]:
    """The status of every running watcher and camera; an error as one line for one that cannot be asked.

    It asks those of this account and of the services.
    """
    folders = {runtime_folder(), runtime_folder({}), SERVICES, *_listed(SERVICES)}
    for path in sorted(path for folder in folders for path in _listed(folder) if path.suffix == SUFFIX):
        with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):  # it has just ended, or was killed
            yield _status(path)


def _remove_stale(folder: Path) -> None:
    """Remove the sockets of processes that were killed."""
    for path in _listed(folder):
        if path.suffix == SUFFIX:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client, contextlib.suppress(OSError):
                client.setblocking(False)
                try:
                    with _short_address(path) as address:
                        client.connect(address)
                except ConnectionRefusedError:
                    path.unlink()


def _status(path: Path) -> dict[str, Any] | str:
    """The status from one socket, or the error as one line.

    Raises:
        FileNotFoundError, ConnectionRefusedError: its process has ended.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(TIMEOUT_SECONDS)
        try:
            with _short_address(path) as address:
                client.connect(address)
            with client.makefile("rb") as answer:
                status: dict[str, Any] = json.loads(answer.readline())
                return status
        except PermissionError:
            return f"{printable(path)}: this account has no permission to ask for the status; try sudo"
        except (FileNotFoundError, ConnectionRefusedError):
            raise
        except (OSError, ValueError):  # also if its queue of connections is full, because it hangs
            return f"{printable(path)}: does not answer within {TIMEOUT_SECONDS:g} s"


@contextlib.contextmanager
def _short_address(path: Path) -> Iterator[bytes]:
    """The address of a socket by a descriptor of its folder, because its path may exceed 107 bytes (unix(7))."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield b"/proc/self/fd/%d/%s" % (folder, os.fsencode(path.name))
    finally:
        os.close(folder)


def _listed(folder: Path) -> list[Path]:
    """The entries of a folder that are not regular files; without those that this account cannot see."""
    found = []
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            with contextlib.suppress(OSError):
                if not stat.S_ISREG(path.stat().st_mode):
                    found.append(path)
    return found
