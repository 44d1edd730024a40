"""The status of running watchers and cameras, served over a Unix socket between two steps of the work."""

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
from edge.store.state import default_folder

SUFFIX = ".status"
PATIENCE_SECONDS = 5.0
SERVICES = Path("/run/edge-detect")


def runtime_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Where sockets live that need not outlive the machine's next start: in memory, to spare the SD card."""
    if given := environment.get("RUNTIME_DIRECTORY"):
        return Path(given)
    base = environment.get("XDG_RUNTIME_DIR", "")
    if os.path.isabs(base) and os.path.isdir(base):
        return Path(base) / "edge-detect"
    try:
        return default_folder()
    except LedgerError:  # no home: nobody looks there, and nothing can be made
        return Path("/nonexistent")


class StatusServer:
    """Answers everyone who connects with one line of JSON."""

    def __init__(self, watched: str) -> None:
        """
        Args:
            watched: the real path of what is watched.
        """
        folder = runtime_folder()
        self._path = folder / f"{os.getpid()}-{hashlib.sha256(os.fsencode(watched)).hexdigest()[:16]}{SUFFIX}"
        self._socket: socket.socket | None = None
        # Without it we can work as well: the folder is read-only, say.
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            _remove_deserted(folder)
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
            try:
                self._path.unlink(missing_ok=True)
                with _short(self._path) as address:
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
                asker, _ = self._socket.accept()
            except OSError:
                return
            with asker, contextlib.suppress(OSError):
                asker.setblocking(False)
                asker.sendall(json.dumps(status()).encode("ascii") + b"\n")

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
    """The status of every watcher that we may ask; a line instead for one that is there and does not answer."""
    folders = {runtime_folder(), runtime_folder({}), SERVICES, *_listed(SERVICES)}
    for path in sorted(path for folder in folders for path in _listed(folder) if path.suffix == SUFFIX):
        with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):  # it has ended just now, or was killed
            yield _asked(path)


def _remove_deserted(folder: Path) -> None:
    """The sockets of processes that were killed."""
    for path in _listed(folder):
        if path.suffix == SUFFIX:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asker, contextlib.suppress(OSError):
                asker.setblocking(False)
                try:
                    with _short(path) as address:
                        asker.connect(address)
                except ConnectionRefusedError:
                    path.unlink()


def _asked(path: Path) -> dict[str, Any] | str:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asker:
        asker.settimeout(PATIENCE_SECONDS)
        try:
            with _short(path) as address:
                asker.connect(address)
            with asker.makefile("rb") as answer:
                status: dict[str, Any] = json.loads(answer.readline())
                return status
        except PermissionError:
            return f"{printable(path)}: may not be asked by this account; try sudo"
        except (FileNotFoundError, ConnectionRefusedError):
            raise
        except (OSError, ValueError):  # too many wait already, say: then it hangs
            return f"{printable(path)}: does not answer within {PATIENCE_SECONDS:g} s"


@contextlib.contextmanager
def _short(path: Path) -> Iterator[bytes]:
    """The address of a socket by its folder's descriptor: of a path of its own it may have 107 bytes only (unix(7))."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield b"/proc/self/fd/%d/%s" % (folder, os.fsencode(path.name))
    finally:
        os.close(folder)


def _listed(folder: Path) -> list[Path]:
    """What lies in a folder and is no regular file; nothing of what may not be seen, or has just gone."""
    found = []
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            with contextlib.suppress(OSError):
                if not stat.S_ISREG(path.stat().st_mode):
                    found.append(path)
    return found
