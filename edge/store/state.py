"""The state folder, which holds the ledger, and its locks."""

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge.errors import BusyError, LedgerError, printable, reason_of
from edge.paths import xdg_folder


def default_folder() -> Path:
    """The state folder of the service (made by systemd), or else of the user (XDG Base Directory Specification).

    Raises:
        LedgerError: the account has no home.
    """
    if given := os.environ.get("STATE_DIRECTORY"):
        return Path(given)  # the units name a single folder, so a colon is part of its name
    base = xdg_folder("XDG_STATE_HOME", ".local/state")
    if base is None:
        raise LedgerError("this account has no home folder for the ledger; name a folder with --state")
    return base / "edge-detect"


@contextmanager
def alone(state: Path, watched: str, *, is_recursive: bool = False) -> Iterator[None]:
    """Hold the lock on a watched folder: a second process with the same ledger would deliver each answer twice.

    Two watchers of overlapping folders would share files: each answer, command and move would come from either of them.

    Args:
        state: the state folder.
        watched: real path of the watched folder, or name of the camera.
        is_recursive: whether its sub-folders are watched too.

    Raises:
        BusyError: another process holds the lock, or that of a folder with the same files.
        LedgerError: the state folder cannot be written.
    """
    path = state / f".{hashlib.sha256(os.fsencode(watched)).hexdigest()[:16]}.lock"
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise LedgerError(f"{printable(state)}: cannot write to the state folder: {reason_of(error)}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError(f"{printable(watched)}: is watched already by another edge-detect") from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, (b"r" if is_recursive else b"-") + os.fsencode(watched), 0)
        for other, other_is_recursive in _held(state, path):
            if (other_is_recursive and _lies_in(watched, other)) or (is_recursive and _lies_in(other, watched)):
                raise BusyError(
                    f"{printable(watched)}: overlaps {printable(other)}, which another edge-detect watches; stop that,"
                    " or name another --state"
                )
        yield
    finally:
        os.close(descriptor)


def _held(state: Path, own: Path) -> Iterator[tuple[str, bool]]:
    """(what is watched, whether with its sub-folders) of each lock that another process holds."""
    for path in state.glob(".*.lock"):
        if path == own:
            continue
        with contextlib.suppress(OSError), open(path, "rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                content = file.read()
                if content:
                    yield os.fsdecode(content[1:]), content[:1] == b"r"


def _lies_in(path: str, folder: str) -> bool:
    return path.startswith(folder.rstrip("/") + "/")
