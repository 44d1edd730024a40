"""The folders that travel with the package: `models` and `systemd`."""

from pathlib import Path


def folder(name: str) -> Path:
    """Where a folder of ours lies: inside the installed package, or beside it in a checkout."""
    installed = Path(__file__).with_name(name)
    return installed if installed.is_dir() else Path(__file__).parent.with_name(name)
