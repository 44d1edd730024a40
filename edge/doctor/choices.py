"""What the user chose to check."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Choices:
    """The options of `edge-detect doctor`; None: the default of the other commands.

    Attributes:
        model: a .tflite file to check and run.
        runtime: the LiteRT runtime to run it with.
        state: the state folder.
        settings: reads the settings and describes them in words; raises SettingsError.
    """

    model: Path | None = None
    runtime: str | None = None
    state: Path | None = None
    settings: Callable[[], str] = lambda: "none read"
