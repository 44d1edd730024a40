"""The Coral: the device, its driver and library, and the model compiled for it."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec

from edge import resources
from edge.doctor.finding import ABSENT, OK, PROBLEM, WARNING, Finding
from edge.doctor.machine import Machine, ProbeError
from edge.doctor.runtime import is_there
from edge.errors import printable

USB_IDS = ("1a6e:089a", "18d1:9302")  # before and after its first use
PCI_ID = ("0x1ac1", "0x089a")
LIBRARY = "libedgetpu.so.1"
LIBRARY_FOLDERS = ("/usr/lib/aarch64-linux-gnu", "/usr/lib/arm-linux-gnueabihf", "/usr/lib/x86_64-linux-gnu")
SLOW_MEGABITS = 480  # USB 2
NEEDED_PAGE_SIZE = 4096
_INSTALL = "add Google's package source (https://coral.ai/docs/accelerator/get-started), then: sudo apt install libedgetpu1-std"
_DRIVER = "add Google's package source, then: sudo apt install gasket-dkms && sudo modprobe apex"


@dataclass(frozen=True)
class Device:
    """A Coral.

    Attributes:
        node: that a program has to open; "" if its driver made none.
        megabits: a second, of its USB connection; None if it has none, or if it is not known.
    """

    kind: str
    node: str
    megabits: int | None = None


def devices(machine: Machine) -> list[Device]:
    """The Corals that are connected."""
    nodes = machine.names("/dev", "apex_*")
    cards = [
        path
        for path in machine.names("/sys/bus/pci/devices")
        if (machine.text(f"{path}/vendor"), machine.text(f"{path}/device")) == PCI_ID
    ]
    found = [Device("PCIe", node) for node in nodes]
    found += [Device("PCIe", "") for _ in cards[len(nodes) :]]
    for path in machine.names("/sys/bus/usb/devices"):
        if f"{machine.text(f'{path}/idVendor')}:{machine.text(f'{path}/idProduct')}" in USB_IDS:
            bus, number = (machine.number(f"{path}/{name}") or 0 for name in ("busnum", "devnum"))
            found.append(Device("USB", f"/dev/bus/usb/{bus:03}/{number:03}", machine.number(f"{path}/speed")))
    return found


def library(machine: Machine) -> str | None:
    """The path of libedgetpu; None if it is not installed."""
    folders = (*LIBRARY_FOLDERS, "/usr/lib", "/usr/local/lib", "/lib")
    paths = (os.path.join(folder, LIBRARY) for folder in folders)
    return next((path for path in paths if os.path.lexists(machine.path(path))), None)


def coral(machine: Machine) -> Iterator[Finding]:
    """All of it; little is said where there is none."""
    connected = devices(machine)
    for device in connected:
        yield _state_of(machine, device)
    if not connected:
        yield Finding("Coral", ABSENT, "none")
    if any(device.kind == "PCIe" for device in connected) and machine.page_size != NEEDED_PAGE_SIZE:
        found = f"of {machine.page_size} bytes; the Coral's driver needs {NEEDED_PAGE_SIZE}"
        mend = "echo kernel=kernel8.img | sudo tee -a /boot/firmware/config.txt && sudo reboot"
        yield Finding("memory pages", PROBLEM, found, mend)
    yield _library(machine, is_needed=bool(connected))
    yield from _pycoral(machine)
    if connected:
        yield _compiled_model()


def _state_of(machine: Machine, device: Device) -> Finding:
    found = f"{device.kind}, {device.node or 'without a driver'}"
    if not device.node:
        return Finding("Coral", PROBLEM, found, _DRIVER)
    if not machine.path(device.node).exists():
        return Finding("Coral", PROBLEM, f"{found}: no such node", "pull it out and put it in again")
    if not machine.may_use(device.node):
        return Finding("Coral", PROBLEM, f"{found}: permission denied", machine.permission(device.node))
    if device.megabits is not None and device.megabits <= SLOW_MEGABITS:
        return Finding("Coral", WARNING, f"{found}, at USB 2's speed", "put it into a USB 3 socket, which is blue")
    return Finding("Coral", OK, found)


def _library(machine: Machine, *, is_needed: bool) -> Finding:
    path = library(machine)
    if path is None:
        if is_needed:
            return Finding("libedgetpu", PROBLEM, "not installed, but there is a Coral", _INSTALL)
        return Finding("libedgetpu", ABSENT, "not installed; a Coral would need it")
    try:
        told = printable(machine.ask("edgetpu", os.fspath(machine.path(path))))
    except ProbeError as error:
        mend = "sudo apt install --reinstall libedgetpu1-std"
        return Finding("libedgetpu", PROBLEM if is_needed else WARNING, f"{path} does not load: {error}", mend)
    return Finding("libedgetpu", OK, f"{path}, {told}" if told else path)


def _pycoral(machine: Machine) -> Iterator[Finding]:
    """Google's, or the other project of that name, which the package index has."""
    if not is_there("pycoral"):
        return
    specification = find_spec("pycoral")
    folders = list(specification.submodule_search_locations or ()) if specification else []
    if any(os.path.exists(os.path.join(folder, "utils", "edgetpu.py")) for folder in folders):
        yield Finding("pycoral", OK, "Google's; not needed")
    else:
        mend = f"{machine.python} -m pip uninstall pycoral"
        yield Finding("pycoral", WARNING, "another project of that name, about coral reefs; not needed", mend)


def _compiled_model() -> Finding:
    found = sorted(path.name for path in resources.folder("models").glob("*_edgetpu.tflite"))
    if found:
        return Finding("compiled model", OK, ", ".join(map(printable, found)))
    mend = 'python -m convert MODEL.keras --data CIFAKE --out FOLDER --edgetpu, on x86-64; README, "Train and convert"'
    return Finding("compiled model", WARNING, "none came with this edge-detect: the Coral has nothing to run", mend)
