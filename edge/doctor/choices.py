"""What the user chose to check."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edge.fleet.server import ServerSettings
    from edge.serve.mqtt.settings import MqttSettings


@dataclass(frozen=True)
class Choices:
    """The options of `edge-detect doctor`; None: the default of the other commands.

    Attributes:
        model: a .tflite file to check and run.
        runtime: the LiteRT runtime to run it with.
        state: the state folder.
        fleet: returns how to reach the server of `edge-detect fleet`; None if the settings name none.
        settings: reads the settings and describes them in words; raises SettingsError.
        mqtt: reads the settings of the MQTT broker of `serve`; None if none is set. Raises SettingsError, ServerError.
    """

    model: Path | None = None
    runtime: str | None = None
    state: Path | None = None
    settings: Callable[[], str] = lambda: "none read"
    fleet: "Callable[[], ServerSettings | None]" = lambda: None
    mqtt: Callable[[], "MqttSettings | None"] = lambda: None
