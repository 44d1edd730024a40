"""The board as its kernel and firmware describe it: this one, or a tree of files that imitates another."""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edge.process.command import Finished, TimedOut, run

COMMAND_SECONDS = 10.0
MAX_BYTES = 1_000_000  # read of one file of the kernel's
# Bits 0 to 3 of `vcgencmd get_throttled` (Raspberry Pi's documentation); 16 bits higher: the same since the start.
UNDER_VOLTAGE = "under-voltage"
THROTTLING = (UNDER_VOLTAGE, "frequency capped", "throttled", "near its heat limit")
_THROTTLED_FILE = "/sys/devices/platform/soc/soc:firmware/get_throttled"


@dataclass(frozen=True)
class Throttling:
    """What a Raspberry Pi's firmware reports of its power supply and speed, in the words of THROTTLING.

    Attributes:
        now: the conditions that hold now.
        earlier: those that held since the start, and do not hold now.
    """

    now: tuple[str, ...]
    earlier: tuple[str, ...]


@dataclass(frozen=True)
class Board:
    """A board's files, and the commands that are run on it.

    Attributes:
        root: folder that stands for / in every path.
        environment: variables of the commands; PATH is where they are looked for.
    """

    root: Path = Path("/")
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))

    @property
    def model(self) -> str | None:
        """The board's name from its device tree, such as "Raspberry Pi 4 Model B Rev 1.4"; None on a PC."""
        return self.text("/proc/device-tree/model") or None

    @property
    def is_raspberry_pi(self) -> bool:
        return (self.model or "").startswith("Raspberry Pi")

    def path(self, absolute: str | Path) -> Path:
        """Where a path of the board really lies: below `root`."""
        return self.root / os.fspath(absolute).lstrip("/")

    def absolute(self, path: Path) -> str:
        """The path on the board of a real path below `root`: the reverse of `path`."""
        return "/" + os.fspath(path.relative_to(self.root))

    def text(self, absolute: str) -> str | None:
        """The content of a small file, without surrounding white space and null bytes; None if it cannot be read."""
        try:
            with open(self.path(absolute), "rb") as file:
                return file.read(MAX_BYTES).decode("utf-8", "surrogateescape").strip("\0\n\t ")
        except OSError:
            return None

    def number(self, absolute: str) -> int | None:
        """The decimal number in a file; None if there is none."""
        try:
            return int(self.text(absolute) or "")
        except ValueError:
            return None

    def names(self, folder: str, pattern: str = "*") -> list[str]:
        """The board's paths of the files in a folder that match a pattern, sorted; empty if it cannot be listed."""
        try:
            found = sorted(self.path(folder).glob(pattern))
        except OSError:
            return []
        return [self.absolute(path) for path in found]

    def run(self, *words: str, seconds: float = COMMAND_SECONDS) -> Finished | None:
        """Run a command to its end; None if it is not installed, cannot be started or takes longer than `seconds`."""
        program = shutil.which(words[0], path=self.environment.get("PATH", os.defpath))
        if program is None:
            return None
        try:
            return run([program, *words[1:]], environment={**self.environment, "LC_ALL": "C"}, seconds=seconds)
        except (OSError, TimedOut):
            return None

    @property
    def celsius(self) -> float | None:
        """The temperature of the hottest thermal zone; None if there is no sensor."""
        zones = [self.number(f"{zone}/temp") for zone in self.names("/sys/class/thermal", "thermal_zone*")]
        return max((value / 1000 for value in zones if value is not None), default=None)

    def throttling(self) -> Throttling | None:
        """What the firmware reports; None on other boards, or if it does not answer."""
        text = self.text(_THROTTLED_FILE)
        if text is None and (done := self.run("vcgencmd", "get_throttled")) is not None and not done.status:
            text = done.output.strip().removeprefix("throttled=")
        try:
            bits = int(text or "", 16)
        except ValueError:
            return None
        now = tuple(name for bit, name in enumerate(THROTTLING) if bits >> bit & 1)
        earlier = tuple(name for bit, name in enumerate(THROTTLING) if bits >> (bit + 16) & 1 and name not in now)
        return Throttling(now, earlier)
