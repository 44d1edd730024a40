"""Where what must outlive the process is kept."""

import os
from pathlib import Path


def default_folder() -> Path:
    """The state folder that systemd made for the service, else the user's (XDG Base Directory Specification)."""
    # systemd separates several folders by colons; ours asks for one.
    if given := os.environ.get("STATE_DIRECTORY"):
        return Path(given.split(":")[0])
    base = os.environ.get("XDG_STATE_HOME", "")
    # The specification: a relative path is to be ignored.
    return (Path(base) if os.path.isabs(base) else Path.home() / ".local" / "state") / "edge-detect"
