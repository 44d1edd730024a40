"""The file of authorities whose signatures are accepted beside those of the bundled trust lists, for this process."""

import os
from pathlib import Path

VARIABLE = "EDGE_DETECT_TRUST_LIST"  # of the environment: the file where no other is in use

_used: Path | None = None


def use(path: Path | None) -> None:
    """Use the certificates in a PEM file from now on; None: those of the environment's file, if it names one."""
    global _used
    _used = path and path.absolute()


def used() -> Path | None:
    """The file in use; None if there is none."""
    return _used or (Path(named) if (named := os.environ.get(VARIABLE)) else None)
