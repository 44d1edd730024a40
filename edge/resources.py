"""Data folders of the package: `models` and `systemd`."""

from pathlib import Path


def folder(name: str) -> Path:
    """The path of a data folder: inside the installed package, or beside the package in a checkout."""
    installed = Path(__file__).with_name(name)
    return installed if installed.is_dir() else Path(__file__).parent.with_name(name)
