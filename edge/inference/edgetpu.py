"""Corals of this machine: devices, Google's library for them, names of compiled models.

Nothing here opens a device; `edge.inference.runtime` does. Sources: the "Get
started" pages of coral.ai for the ids, the udev rule and the groups; edgetpu_c.h
of google-coral/libedgetpu.
"""

import grp
import os
import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from edge.errors import CoralError, printable
from edge.inference import edgetpu_fixes
from edge.process.isolated import Crashed, TimedOut, run_isolated

LIBRARY = "libedgetpu.so.1"
USB, PCI = "usb", "pci"
# A stick is 1a6e:089a until the library loads its firmware at the first use, and 18d1:9302 afterwards.
USB_IDS = frozenset((("1a6e", "089a"), ("18d1", "9302")))
PCI_ID = ("0x1ac1", "0x089a")
PAGE_BYTES = 4096  # size of the kernel's memory pages that a card on PCIe needs
COMPILED = "_edgetpu"  # edgetpu_compiler appends it to a model's name
LOADING_SECONDS = 20.0

_DEVICE = re.compile(r"(usb|pci)?(?::?(\d{1,3}))?")

# Prints the path that a library was loaded from, and its version if it has one; else the loader's error.
_LOAD = """
import ctypes, sys
name = sys.argv[1]
try:
    library = ctypes.CDLL(name)
except OSError as error:
    print(error)
    sys.exit(1)
base = name.rpartition("/")[2].partition(".so")[0]
paths = {line.split(None, 5)[5].strip() for line in open("/proc/self/maps") if line.count("/")}
print(min((path for path in paths if path.rpartition("/")[2].startswith(base)), default=name))
if hasattr(library, "edgetpu_version"):
    library.edgetpu_version.restype = ctypes.c_char_p
    print((library.edgetpu_version() or b"").decode())
"""


@dataclass(frozen=True)
class Device:
    """A connected Coral.

    Attributes:
        kind: USB or PCI.
        node: its device node below /dev; None if there is none, because a driver or udev is missing.
        group: whose members may open the node; None if only root may.
        is_ours: whether this process may open the node.
    """

    kind: str
    node: Path | None
    group: str | None
    is_ours: bool


@dataclass(frozen=True)
class Library:
    """Google's library for the Edge TPU, or another in its place.

    Attributes:
        path: where it was loaded from.
        version: as it reports it, such as "RuntimeVersion(14)"; None if it reports none.
    """

    path: str
    version: str | None


def devices(root: Path = Path("/")) -> list[Device]:
    """The connected Corals, those on PCIe first.

    Args:
        root: the folder that holds /sys and /dev.
    """
    nodes: list[Path | None] = [*sorted((root / "dev").glob("apex_*"))]
    cards = [card for card in (root / "sys/bus/pci/devices").glob("*") if _words(card, "vendor", "device") == PCI_ID]
    nodes += [None] * (len(cards) - len(nodes))
    found = [_device(PCI, node) for node in nodes]
    for stick in sorted((root / "sys/bus/usb/devices").glob("*")):
        if _words(stick, "idVendor", "idProduct") in USB_IDS:
            bus, number = _words(stick, "busnum", "devnum")
            node = root / "dev/bus/usb" / bus.zfill(3) / number.zfill(3)
            found.append(_device(USB, node if node.exists() else None))
    return found


def library(name: str = LIBRARY, runtime: str | None = None) -> Library:
    """Google's library as the loader finds it. It is loaded in another process, because it may crash.

    Args:
        name: a name for the loader, or a path.
        runtime: the LiteRT runtime that it must fit, for the fix in errors; None if none is installed.

    Raises:
        CoralError: it is missing or cannot be loaded.
    """
    shown = printable(name)
    try:
        done = run_isolated(_LOAD, name, seconds=LOADING_SECONDS)
    except Crashed as error:
        raise CoralError(f"{shown}: crashes while loading ({error})", edgetpu_fixes.library(runtime)) from error
    except TimedOut as error:
        raise CoralError(
            f"{shown}: does not load within {LOADING_SECONDS:.0f} s", edgetpu_fixes.library(runtime)
        ) from (error)
    lines = done.output.splitlines() or [""]
    if not done.status:
        return Library(lines[0], lines[1] if len(lines) > 1 and lines[1] else None)
    if "/" not in name and "No such file" in lines[0]:
        raise CoralError(f"{shown} is not installed", edgetpu_fixes.library(runtime))
    reason = printable(lines[0].removeprefix(f"{name}: "))
    raise CoralError(f"{shown}: cannot be loaded: {reason}", edgetpu_fixes.loading(reason, runtime))


def page_bytes() -> int:
    """The size of the kernel's memory pages in bytes; 16384 on a Pi 5 by default."""
    return os.sysconf("SC_PAGE_SIZE")


def has_pycoral() -> bool:
    """Whether Google's pycoral is installed; another project has the same name."""
    found = find_spec("pycoral")  # of the package only: a submodule's would import it
    places = found.submodule_search_locations or [] if found else []
    return any(os.path.exists(os.path.join(place, "utils", "edgetpu.py")) for place in places)


def compiled_path(model: Path) -> Path:
    """The path of a model's compiled form, beside it; of a compiled model, its own path."""
    return model if model.stem.endswith(COMPILED) else model.with_name(f"{model.stem}{COMPILED}{model.suffix}")


def plain_path(model: Path) -> Path:
    """The path of the model that a compiled one was made of, beside it; of another model, its own path."""
    return model.with_name(f"{model.stem.removesuffix(COMPILED)}{model.suffix}")


def device_option(text: str) -> str | None:
    """The library's spelling of a device: "usb", "pci", a number from 0, or "usb:1"; "" for any. None if invalid."""
    match = _DEVICE.fullmatch(text)
    if match is None or (match[1] and match[2] and ":" not in text):
        return None
    return (match[1] or "") + (f":{int(match[2])}" if match[2] else "")


def tpu_choice(value: object) -> str | None:
    """The meaning of `--tpu`: None for the processor, "any", "auto", or a device as `device_option` spells it.

    Raises:
        ValueError: the value is invalid; the text names the valid ones.
    """
    text = str(value).lower()
    if text in ("false", "no", "off", ""):
        return None
    if text in ("any", "true", "yes", "on"):
        return "any"
    device = text if text == "auto" else device_option(text)
    if device is None:
        raise ValueError(f"{value!r} is none of usb, pci, auto, a number from 0 on, or a pair such as usb:1")
    return device


def require_device(option: str = "", found: list[Device] | None = None, pages: int | None = None) -> Device:
    """The device that the library will use.

    Args:
        option: as `device_option` returns it.
        found: the connected devices; None: those of this machine.
        pages: size of the kernel's memory pages in bytes; None: that of this machine.

    Raises:
        CoralError: there is none, or it cannot be opened; the text has the remedy.
    """
    kind, _, number = option.partition(":")
    all_ = devices() if found is None else found
    suitable = [device for device in all_ if kind in ("", device.kind)]
    what = {USB: "Coral on USB", PCI: "Coral on PCIe"}.get(kind, "Coral")
    if not suitable:
        other = f", only one on {'PCIe' if all_[0].kind == PCI else 'USB'}" if all_ else ""
        raise CoralError(f"no {what} is connected{other}")
    place = int(number or 0)
    if place >= len(suitable):
        count = f"{len(suitable)}, number 0 to {len(suitable) - 1}" if len(suitable) > 1 else "one, number 0"
        raise CoralError(f"there is no {what} number {place} here, only {count}")
    device = suitable[place] if number else next((one for one in suitable if one.is_ours), suitable[0])
    _require_usable(device, page_bytes() if pages is None else pages)
    return device


def _require_usable(device: Device, pages: int) -> None:
    if device.node is None:
        if device.kind == PCI:
            fix = edgetpu_fixes.driver(os.uname().release)
            raise CoralError("the Coral on PCIe has no driver (no /dev/apex_0)", fix)
        raise CoralError("the Coral on USB has no node in /dev/bus/usb", "pass that folder on to this container")
    if not device.is_ours:
        remedy = (
            f"sudo usermod -aG {device.group} USER, then log in again"
            if device.group
            else "install the udev rule that comes with libedgetpu1-std, then unplug it and plug it in again"
        )
        raise CoralError(f"{device.node}: this account cannot open the Coral", remedy)
    if device.kind == PCI and pages != PAGE_BYTES:
        raise CoralError(
            f"{device.node}: the Coral on PCIe needs memory pages of {PAGE_BYTES} bytes, this kernel's have {pages}",
            "add kernel=kernel8.img to /boot/firmware/config.txt, and restart",
        )


def _device(kind: str, node: Path | None) -> Device:
    try:
        status = node.stat() if node else None
    except OSError:  # it has just been unplugged
        status = None
    if node is None or status is None:
        return Device(kind, None, None, is_ours=False)
    group = None
    if status.st_mode & 0o060 == 0o060 and status.st_gid:
        try:
            group = grp.getgrgid(status.st_gid).gr_name
        except KeyError:
            group = str(status.st_gid)
    return Device(kind, node, group, os.access(node, os.R_OK | os.W_OK))


def _words(folder: Path, *names: str) -> tuple[str, ...]:
    """The content of some files of sysfs; empty for files that are missing."""
    return tuple(_word(folder / name) for name in names)


def _word(file: Path) -> str:
    try:
        return file.read_text("ascii").strip()
    except (OSError, ValueError):
        return ""
