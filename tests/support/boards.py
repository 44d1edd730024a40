"""Boards in a folder: the files that tell them apart, and programs that answer as theirs."""

import os
from pathlib import Path
from typing import Any

from edge.doctor.finding import Finding
from edge.doctor.host import Host

SOMEONE_ELSE = os.geteuid() + 1
PLUGDEV = os.getegid() or 46


class Board:
    """Builds the files of an imitated machine."""

    def __init__(self, root: Path, model: str = "Raspberry Pi 4 Model B Rev 1.4") -> None:
        self.root = root
        self.file("/proc/device-tree/model", f"{model}\0")
        self.file("/etc/os-release", 'ID=debian\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n')
        self.file("/etc/group", f"root:x:0:\nplugdev:x:{PLUGDEV}:\n")
        (root / "bin").mkdir()

    def file(self, path: str, content: str = "", *, mode: int = 0o644, group: int | None = None) -> Path:
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
        file.chmod(mode)
        if group is not None:
            os.chown(file, -1, group)
        return file

    def program(self, name: str, text: str) -> None:
        self.file(f"/bin/{name}", f"#!/bin/sh\n{text}\n", mode=0o755)

    def usb_coral(self, *, mode: int = 0o664, group: int | None = PLUGDEV, megabits: int = 5000) -> None:
        values = {"idVendor": "1a6e", "idProduct": "089a", "busnum": "2", "devnum": "3", "speed": str(megabits)}
        for name, value in values.items():
            self.file(f"/sys/bus/usb/devices/2-1/{name}", f"{value}\n")
        self.file("/dev/bus/usb/002/003", mode=mode, group=group)

    def machine(self, **others: Any) -> Host:
        """The machine as a user without devices and groups sees it, unless given otherwise."""
        values: dict[str, Any] = {
            "environment": {"PATH": str(self.root / "bin"), "USER": "pi", "HOME": str(self.root)},
            "machine": "aarch64",
            "release": "6.6.31+rpt-rpi-v8",
            "bits": 64,
            "page_size": 4096,
            "user": SOMEONE_ELSE,
            "groups": frozenset(),
            "edgetpu": "libnotthere.so.1",
        }
        return Host(self.root, **values | others)


def told(findings: Any) -> dict[str, Finding]:
    """Findings by their names; of two with one name the latter."""
    return {finding.name: finding for finding in findings}
