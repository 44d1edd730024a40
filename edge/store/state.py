"""The state folder, which holds the ledger, and its locks."""

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
def alone(state: Path, watched: str) -> Iterator[None]:
    """Hold the lock on a watched folder: a second process with the same ledger would deliver each answer twice.

    Args:
        state: the state folder.
        watched: real path of the watched folder, or name of the camera.

    Raises:
        BusyError: another process holds the lock.
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
        yield
    finally:
        os.close(descriptor)
