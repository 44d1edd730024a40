"""What the user's options choose."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Chosen:
    """What shall be looked at; None is what the other commands would take.

    Attributes:
        settings: reads the settings and returns what was read, in words; raises SettingsError.
    """

    model: Path | None = None
    runtime: str | None = None
    state: Path | None = None
    settings: Callable[[], str] = lambda: "none read"
