"""What a service consists of: its unit, its settings, and what its work needs to be allowed."""

import glob
import grp
import hashlib
import os
import re
import string
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from edge import redact, resources

WATCH_UNIT = "edge-detect-watch@.service"
CAMERA_UNIT = "edge-detect-camera.service"
SETTINGS_SUFFIX = ".env"
# Who may use a Coral, a camera, and its graphics memory; a board has some of these groups.
CORAL_GROUPS = ("plugdev", "apex", "coral")
CAMERA_GROUPS = ("video", "render", *CORAL_GROUPS)
_HOMES = ("/home/", "/root/", "/run/user/")
_NETWORK = ["PrivateNetwork=no", "RestrictAddressFamilies=AF_UNIX AF_NETLINK AF_INET AF_INET6"]
# The devices as they are; only the sticks may be opened, whose library learns of them from the kernel by netlink.
_CORAL = [
    "PrivateDevices=no",
    "PrivateUsers=no",
    "DevicePolicy=closed",
    "DeviceAllow=char-usb_device rw",
    "RestrictAddressFamilies=AF_UNIX AF_NETLINK",
]
_PLAIN = frozenset((string.ascii_letters + string.digits + ":_.").encode("ascii"))


class Service(Protocol):
    """One thing that systemd runs for us.

    Attributes:
        unit_file: of those that come with us.
        unit: its name; an instance of a template, say.
        settings_name: of its environment file.
        folders: that it needs, absolute.
        writable: those of them that it writes to.
        options: variables of the environment, as its command reads them.
    """

    @property
    def unit_file(self) -> str: ...
    @property
    def unit(self) -> str: ...
    @property
    def settings_name(self) -> str: ...
    @property
    def folders(self) -> tuple[str, ...]: ...
    @property
    def writable(self) -> tuple[str, ...]: ...
    @property
    def options(self) -> Mapping[str, str]: ...
    def allowances(self) -> list[str]:
        """Lines of the unit's section Service, beside those that its file has."""


@dataclass(frozen=True)
class Watch:
    """A folder that is watched.

    Attributes:
        elsewhere: other folders that it writes to, absolute: where it sorts files to, where its log is.
    """

    folder: str
    elsewhere: tuple[str, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)
    unit_file: str = WATCH_UNIT

    @property
    def unit(self) -> str:
        return self.unit_file.replace("@", f"@{escaped(self.folder)}")

    @property
    def settings_name(self) -> str:
        """Plain, for systemd takes backslashes in such a path for a pattern's."""
        readable = re.sub(r"[^A-Za-z0-9._]+", "-", self.folder.strip("/"))[:60]
        return f"watch-{readable}-{hashlib.sha256(os.fsencode(self.folder)).hexdigest()[:8]}{SETTINGS_SUFFIX}"

    @property
    def folders(self) -> tuple[str, ...]:
        return (self.folder, *self.elsewhere)

    @property
    def writable(self) -> tuple[str, ...]:
        return self.folders if "EDGE_DETECT_SORT_INTO" in self.options else self.elsewhere

    def allowances(self) -> list[str]:
        coral = [*_CORAL, *_membership(CORAL_GROUPS), *_coral_on_pci()] if "EDGE_DETECT_TPU" in self.options else []
        return [*_writing(self.writable), *coral, *_commands(self.options)]


@dataclass(frozen=True)
class Camera:
    """The camera.

    Attributes:
        folders: that it writes to, absolute: its snapshots', its log's.
    """

    folders: tuple[str, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)
    unit_file: str = CAMERA_UNIT
    unit: str = CAMERA_UNIT
    settings_name: str = f"camera{SETTINGS_SUFFIX}"

    @property
    def writable(self) -> tuple[str, ...]:
        return self.folders

    def allowances(self) -> list[str]:
        is_remote = "://" in self.options.get("EDGE_DETECT_SOURCE", "")
        network = _NETWORK if is_remote else _commands(self.options)
        return [*_membership(CAMERA_GROUPS), *_coral_on_pci(), *_writing(self.writable), *network]


def escaped(path: str) -> str:
    """A path as the name of a unit's instance: what `systemd-escape --path` makes of it (systemd.unit(5))."""
    parts = [part for part in path.split("/") if part]
    if not parts:
        return "-"
    name = os.fsencode("/".join(parts))
    return "".join(
        "-" if byte == ord("/") else chr(byte) if byte in _PLAIN and (at or byte != ord(".")) else f"\\x{byte:02x}"
        for at, byte in enumerate(name)
    )


def program() -> list[str]:
    """The command that runs this installation."""
    called = os.path.abspath(sys.argv[0])
    return [sys.executable, "-m", "edge"] if os.path.basename(called) == "__main__.py" else [called]


def unit_text(name: str) -> str:
    """A unit that came with us, with this installation's path in it."""
    # A percent sign is doubled, and what holds a space stands in quotes: systemd.unit(5), systemd.service(5).
    words = [f'"{word}"' if " " in word else word for word in (word.replace("%", "%%") for word in program())]
    return (resources.folder("systemd") / name).read_text("utf-8").replace("@EDGE_DETECT@", " ".join(words))


def settings_text(service: Service, *, is_shown: bool = False) -> str:
    """An environment file (systemd.exec(5), EnvironmentFile=).

    Args:
        is_shown: to a person, so without the password of a camera.
    """
    lines = [
        "# Settings of one service: the options of its command, as variables. After a change:",
        f"#   systemctl restart '{service.unit}'",
    ]
    for name, whole in service.options.items():
        value = redact.shown(whole) if is_shown and name == "EDGE_DETECT_SOURCE" else whole
        quoted = value.replace("\\", "\\\\").replace('"', '\\"').replace("`", "\\`").replace("$", "\\$")
        lines.append(f'{name}="{quoted}"')
    return "\n".join(lines) + "\n"


def drop_in_text(service: Service, settings: Path) -> str:
    """What a service has beside its unit: where its settings are, and what its work needs to be allowed."""
    return "\n".join(["[Service]", f"EnvironmentFile={settings}", *service.allowances()]) + "\n"


def _writing(folders: tuple[str, ...]) -> list[str]:
    """Not ReadWritePaths=: each of those is a mount of its own.

    Between two mounts files cannot be moved but only copied, and one on a disk
    hides that the disk was taken out. What the account may write to, its
    permissions say.
    """
    if not folders:
        return []
    in_a_home = any(path.startswith(_HOMES) for path in folders)
    return ["ProtectSystem=full", *(["ProtectHome=no"] if in_a_home else [])]


def _commands(options: Mapping[str, str]) -> list[str]:
    """They may want to tell someone."""
    return _NETWORK if any(name.startswith("EDGE_DETECT_ON_") for name in options) else []


def _coral_on_pci() -> list[str]:
    """By name, for the driver's kind of device cannot be named while there is none."""
    return [f"DeviceAllow={path} rw" for path in sorted(glob.glob("/dev/apex_*"))]


def _membership(groups: tuple[str, ...]) -> list[str]:
    there = [name for name in groups if _has_group(name)]
    return [f"SupplementaryGroups={' '.join(there)}"] if there else []


def _has_group(name: str) -> bool:
    try:
        grp.getgrnam(name)
    except KeyError:
        return False
    return True
