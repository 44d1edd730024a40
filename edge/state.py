"""Where what must outlive the process is kept."""

import os
from pathlib import Path

from edge.errors import LedgerError


def default_folder() -> Path:
    """The state folder that systemd made for the service, else the user's (XDG Base Directory Specification).

    Raises:
        LedgerError: the account has no home.
    """
    if given := os.environ.get("STATE_DIRECTORY"):
        return Path(given)  # one: our unit asks for no more, so a colon belongs to its name
    base = os.environ.get("XDG_STATE_HOME", "")
    if os.path.isabs(base):  # the specification: a relative path is to be ignored
        return Path(base) / "edge-detect"
    try:
        return Path.home() / ".local" / "state" / "edge-detect"
    except RuntimeError as error:
        raise LedgerError("this account has no home folder to remember in; name a folder with --state") from error
