"""Where what must outlive the process is kept."""

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge.errors import BusyError, LedgerError, printable, reason_of
from edge.paths import xdg_folder


def default_folder() -> Path:
    """The state folder that systemd made for the service, else the user's (XDG Base Directory Specification).

    Raises:
        LedgerError: the account has no home.
    """
    if given := os.environ.get("STATE_DIRECTORY"):
        return Path(given)  # one: our unit asks for no more, so a colon belongs to its name
    base = xdg_folder("XDG_STATE_HOME", ".local/state")
    if base is None:
        raise LedgerError("this account has no home folder for the ledger; name a folder with --state")
    return base / "edge-detect"


@contextmanager
def alone(state: Path, watched: str) -> Iterator[None]:
    """Only one process at a time may watch a folder with the same record, else each file would be told of twice.

    Raises:
        BusyError: another one does.
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
