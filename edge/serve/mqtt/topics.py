"""Names: the topics of a board and of its sources, and what Home Assistant identifies them by."""

import hashlib
import os
import re
from dataclasses import dataclass

from edge.errors import printable

DISCOVERY = "homeassistant"  # Home Assistant's own default
BIRTH = f"{DISCOVERY}/status"  # where it reports that it has started
BOARD, CAMERA, FOLDER = "board", "camera", "folder"
MAX_ID = 40  # characters
MAX_NAME = 80  # characters of a name that is shown
_PLAIN = re.compile(r"[A-Za-z0-9_-]{1,40}", re.ASCII)


@dataclass(frozen=True, order=True)
class Source:
    """What answers come from: a watched folder or a camera.

    Attributes:
        kind: CAMERA or FOLDER.
        name: real path of the folder, or name of the camera, exactly as in the ledger.
    """

    kind: str
    name: str

    @property
    def id(self) -> str:
        """Names the source in topics: letters, digits, _ and - only, at most MAX_ID characters, and not the same for
        two sources: if the name had to be changed for it, its checksum follows."""
        if self.kind == CAMERA and _PLAIN.fullmatch(self.name):
            return self.name
        digest = hashlib.sha256(os.fsencode(self.name)).hexdigest()[:8]
        base = os.path.basename(self.name) if self.kind == FOLDER else self.name
        words = re.sub(r"[^A-Za-z0-9]+", "-", base[:200], flags=re.ASCII).strip("-")[: MAX_ID - 9].rstrip("-")
        return f"{words or self.kind}-{digest}"

    @property
    def title(self) -> str:
        """Names the source to a person."""
        name = os.path.basename(self.name) or self.name if self.kind == FOLDER else self.name
        return printable(name)[:MAX_NAME]


@dataclass(frozen=True, order=True)
class Place:
    """Where a device is published: the board itself, or one of its sources.

    Attributes:
        prefix, node: see `edge.serve.mqtt.settings.MqttSettings`.
        kind: BOARD, CAMERA or FOLDER.
        id: of the source; empty for the board.
    """

    prefix: str
    node: str
    kind: str = BOARD
    id: str = ""

    @property
    def base(self) -> str:
        """What all topics of the device begin with."""
        board = f"{self.prefix}/{self.node}"
        return board if self.kind == BOARD else f"{board}/{self.kind}/{self.id}"

    @property
    def board(self) -> "Place":
        """The place of its board."""
        return Place(self.prefix, self.node)

    def topic(self, name: str) -> str:
        """A topic of the device."""
        return f"{self.base}/{name}"

    @property
    def device(self) -> str:
        """Identifies the device in Home Assistant."""
        return f"edge_detect_{self.node}_{self.kind}{f'_{self.id}' if self.id else ''}"

    @property
    def config(self) -> str:
        """The topic by which Home Assistant discovers the device."""
        return f"{DISCOVERY}/device/{self.device}/config"

    @property
    def retained(self) -> list[str]:
        """Every topic of the device that keeps a message, the one of its discovery first."""
        names = {
            BOARD: ("state", "status"),
            CAMERA: ("state", "snapshot", "status"),
            FOLDER: ("state", "thumbnail", "status"),
        }[self.kind]
        return [self.config, *map(self.topic, names)]
