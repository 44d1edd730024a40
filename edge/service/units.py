"""The files of a service: unit, environment file, and a drop-in with the permissions that its work needs."""

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
from edge.serve.addresses import DEFAULT_HOST, DEFAULT_PORT, is_loopback_address

WATCH_UNIT = "edge-detect-watch@.service"
CAMERA_UNIT = "edge-detect-camera.service"
SECRET = ("EDGE_DETECT_SOURCE", "EDGE_DETECT_MQTT")  # addresses that may hold a password
SERVE_UNIT = "edge-detect-serve.service"
TOKEN_FILE = "/var/lib/edge-detect/serve/token"  # in the state folder of SERVE_UNIT, where the server looks for it
UNPRIVILEGED_PORTS = 1024
SETTINGS_SUFFIX = ".env"
# Groups with access to a Coral, to a camera, and to its graphics memory; each board has some of them.
CORAL_GROUPS = ("plugdev", "apex", "coral")
CAMERA_GROUPS = ("video", "render", *CORAL_GROUPS)
_HOMES = ("/home/", "/root/", "/run/user/")
_NETWORK = ["PrivateNetwork=no", "RestrictAddressFamilies=AF_UNIX AF_NETLINK AF_INET AF_INET6"]
# A private /dev would lack the sticks. libedgetpu learns of them from the kernel by netlink.
_CORAL = [
    "PrivateDevices=no",
    "PrivateUsers=no",
    "DevicePolicy=closed",
    "DeviceAllow=char-usb_device rw",
    "RestrictAddressFamilies=AF_UNIX AF_NETLINK",
]
_UNESCAPED = frozenset((string.ascii_letters + string.digits + ":_.").encode("ascii"))


class Service(Protocol):
    """A service to be installed.

    Attributes:
        unit_file: name of the bundled unit file.
        unit: name of the unit; of a template, that of the instance.
        settings_name: name of its environment file.
        folders: absolute paths of the folders that it needs.
        writable: those of them that it writes to.
        options: its environment variables, which set the options of its command.
        token_file: absolute path of a token that it needs; empty if it needs none.
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
    @property
    def token_file(self) -> str: ...
    def allowances(self) -> list[str]:
        """Further lines of the unit's section Service: permissions that its work needs."""


@dataclass(frozen=True)
class Watch:
    """A service that watches a folder.

    Attributes:
        folder: absolute.
        elsewhere: absolute paths of other folders that it writes to: for sorted files, for the log.
    """

    folder: str
    elsewhere: tuple[str, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)
    unit_file: str = WATCH_UNIT
    token_file: str = ""

    @property
    def unit(self) -> str:
        return self.unit_file.replace("@", f"@{escaped(self.folder)}")

    @property
    def settings_name(self) -> str:
        """Letters, digits and dashes: systemd reads a backslash in EnvironmentFile= as part of a pattern."""
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
    """The service that observes a camera.

    Attributes:
        folders: absolute paths of the folders that it writes to: for snapshots, for the log.
    """

    folders: tuple[str, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)
    unit_file: str = CAMERA_UNIT
    unit: str = CAMERA_UNIT
    settings_name: str = f"camera{SETTINGS_SUFFIX}"
    token_file: str = ""

    @property
    def writable(self) -> tuple[str, ...]:
        return self.folders

    def allowances(self) -> list[str]:
        is_remote = "://" in self.options.get("EDGE_DETECT_SOURCE", "")
        network = _NETWORK if is_remote else _commands(self.options)
        return [*_membership(CAMERA_GROUPS), *_coral_on_pci(), *_writing(self.writable), *network]


@dataclass(frozen=True)
class Serve:
    """The service with the pages and the API."""

    options: Mapping[str, str] = field(default_factory=dict)
    unit_file: str = SERVE_UNIT
    unit: str = SERVE_UNIT
    settings_name: str = f"serve{SETTINGS_SUFFIX}"
    folders: tuple[str, ...] = ()
    writable: tuple[str, ...] = ()

    @property
    def is_local(self) -> bool:
        """Whether it listens at an address that can be reached from this machine alone."""
        return is_loopback_address(self.options.get("EDGE_DETECT_HOST", DEFAULT_HOST))

    @property
    def token_file(self) -> str:
        is_served_by_proxy = "EDGE_DETECT_ALLOW_HOST" in self.options
        return "" if self.is_local and not is_served_by_proxy else TOKEN_FILE

    def allowances(self) -> list[str]:
        coral = [*_CORAL, *_membership(CORAL_GROUPS), *_coral_on_pci()] if "EDGE_DETECT_TPU" in self.options else []
        port = int(self.options.get("EDGE_DETECT_PORT", DEFAULT_PORT))
        low = "CAP_NET_BIND_SERVICE" if 0 < port < UNPRIVILEGED_PORTS else ""
        binding = ["PrivateUsers=no", f"CapabilityBoundingSet={low}", f"AmbientCapabilities={low}"] if low else []
        is_alone = self.is_local and "EDGE_DETECT_MQTT" not in self.options  # a broker is usually another machine
        return [*(["IPAddressDeny=any", "IPAddressAllow=localhost"] if is_alone else []), *coral, *binding]


def escaped(path: str) -> str:
    """The instance name for a path, as `systemd-escape --path` prints it (systemd.unit(5))."""
    parts = [part for part in path.split("/") if part]
    if not parts:
        return "-"
    name = os.fsencode("/".join(parts))
    return "".join(
        "-" if byte == ord("/") else chr(byte) if byte in _UNESCAPED and (at or byte != ord(".")) else f"\\x{byte:02x}"
        for at, byte in enumerate(name)
    )


def program() -> list[str]:
    """The words that start this installation of `edge-detect`."""
    called = os.path.abspath(sys.argv[0])
    return [sys.executable, "-m", "edge"] if os.path.basename(called) == "__main__.py" else [called]


def unit_text(name: str) -> str:
    """A bundled unit file with the path of this installation filled in."""
    # Percent signs are doubled, and words with a space are quoted: systemd.unit(5), systemd.service(5).
    words = [f'"{word}"' if " " in word else word for word in (word.replace("%", "%%") for word in program())]
    return (resources.folder("systemd") / name).read_text("utf-8").replace("@EDGE_DETECT@", " ".join(words))


def settings_text(service: Service, *, is_shown: bool = False) -> str:
    """The environment file of a service (systemd.exec(5), EnvironmentFile=).

    Args:
        is_shown: leave out the passwords of the camera and the MQTT broker.
    """
    lines = [
        "# Settings of one service: the options of its command, as variables. After a change:",
        f"#   systemctl restart '{service.unit}'",
    ]
    for name, whole in service.options.items():
        value = redact.shown(whole) if is_shown and name in SECRET else whole
        quoted = value.replace("\\", "\\\\").replace('"', '\\"').replace("`", "\\`").replace("$", "\\$")
        lines.append(f'{name}="{quoted}"')
    return "\n".join(lines) + "\n"


def drop_in_text(service: Service, settings: Path) -> str:
    """The drop-in of a unit: its environment file, and the permissions that its work needs."""
    return "\n".join(["[Service]", f"EnvironmentFile={settings}", *service.allowances()]) + "\n"


def _writing(folders: tuple[str, ...]) -> list[str]:
    """Permission to write to some folders.

    Not by ReadWritePaths=, which makes each folder a mount of its own: between
    two mounts a file cannot be renamed but only copied, and such a mount hides
    that its disk was removed. The account's file permissions are the limit.
    """
    if not folders:
        return []
    in_a_home = any(path.startswith(_HOMES) for path in folders)
    return ["ProtectSystem=full", *(["ProtectHome=no"] if in_a_home else [])]


def _commands(options: Mapping[str, str]) -> list[str]:
    """Network access for the user's commands, which may send messages."""
    return _NETWORK if any(name.startswith("EDGE_DETECT_ON_") for name in options) else []


def _coral_on_pci() -> list[str]:
    """By path: the driver's device class cannot be named while there is no such device."""
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
