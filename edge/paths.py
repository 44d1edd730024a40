"""Base folders of the account (XDG Base Directory Specification)."""

import os
from collections.abc import Mapping
from pathlib import Path


def xdg_folder(
    variable: str, below_home: str | None = None, environment: Mapping[str, str] = os.environ
) -> Path | None:
    """The base folder that a variable such as XDG_STATE_HOME names; a relative path is ignored, as specified.

    Args:
        below_home: the folder in its place, below the account's home; None: there is no other.

    Returns:
        None if the variable names none and there is no other.
    """
    base = environment.get(variable, "")
    if os.path.isabs(base):
        return Path(base)
    if below_home is None:
        return None
    try:
        return Path.home() / below_home
    except RuntimeError:  # an account without a home
        return None
