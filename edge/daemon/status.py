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
LIVE_SUFFIX = ".live"  # of the sockets of `edge.daemon.live`
TIMEOUT_SECONDS = 5.0
MAX_STATUS_BYTES = 1_000_000
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
        self._path = socket_path(watched, SUFFIX)
        self._socket: socket.socket | None = None
        with contextlib.suppress(OSError):  # the folder is read-only, for example: work without a status socket
            self._socket = listen(self._path)
            self._socket.setblocking(False)

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
    for path in sockets(SUFFIX):
        with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):  # it has just ended, or was killed
            yield status_of(path)


def sockets(suffix: str) -> list[Path]:
    """The sockets of this account and of the services whose names end so, sorted; some may have no process any more."""
    folders = {runtime_folder(), runtime_folder({}), SERVICES, *listed(SERVICES)}
    return sorted(path for folder in folders for path in listed(folder) if path.suffix == suffix)


def socket_path(watched: str, suffix: str) -> Path:
    """The path of this process's socket for a watched folder or camera."""
    return runtime_folder() / f"{os.getpid()}-{source_id(watched)}{suffix}"


def source_id(watched: str) -> str:
    """What names a watched folder or camera in the names of its sockets: 16 hexadecimal digits."""
    return hashlib.sha256(os.fsencode(watched)).hexdigest()[:16]


def listen(path: Path) -> socket.socket:
    """A listening Unix socket at a path, whose folder is made if it is missing; sockets of killed processes go.

    Raises:
        OSError: it cannot be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    _remove_stale(path.parent)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        path.unlink(missing_ok=True)
        with short_address(path) as address:
            listener.bind(address)
        listener.listen(8)
    except OSError:
        listener.close()
        raise
    return listener


def _remove_stale(folder: Path) -> None:
    """Remove the sockets of processes that were killed."""
    for path in listed(folder):
        if path.suffix in (SUFFIX, LIVE_SUFFIX):
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client, contextlib.suppress(OSError):
                client.setblocking(False)
                try:
                    with short_address(path) as address:
                        client.connect(address)
                except ConnectionRefusedError:
                    path.unlink()


def status_of(path: Path, seconds: float = TIMEOUT_SECONDS) -> dict[str, Any] | str:
    """The status from one socket, or the error as one line.

    Args:
        seconds: time limit.

    Raises:
        FileNotFoundError, ConnectionRefusedError: its process has ended.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(seconds)
        try:
            with short_address(path) as address:
                client.connect(address)
            with client.makefile("rb") as answer:
                status: dict[str, Any] = json.loads(answer.readline(MAX_STATUS_BYTES))
                return status
        except PermissionError:
            return f"{printable(path)}: this account has no permission to ask for the status; try sudo"
        except (FileNotFoundError, ConnectionRefusedError):
            raise
        except (OSError, ValueError, RecursionError):  # also if its queue of connections is full, because it hangs
            return f"{printable(path)}: does not answer within {seconds:g} s"


@contextlib.contextmanager
def short_address(path: Path) -> Iterator[bytes]:
    """The address of a socket by a descriptor of its folder, because its path may exceed 107 bytes (unix(7))."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield b"/proc/self/fd/%d/%s" % (folder, os.fsencode(path.name))
    finally:
        os.close(folder)


def listed(folder: Path) -> list[Path]:
    """The entries of a folder that are not regular files; without those that this account cannot see."""
    found = []
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            with contextlib.suppress(OSError):
                if not stat.S_ISREG(path.stat().st_mode):
                    found.append(path)
    return found
