"""The Coral: the device, its driver and library, and the model compiled for it."""

import os
from collections.abc import Iterator

from edge import resources
from edge.doctor.choices import Chosen
from edge.doctor.finding import ABSENT, OK, PROBLEM, STATES, WARNING, Finding
from edge.doctor.host import Host, ProbeError
from edge.doctor.runtime import is_there, judged
from edge.errors import CoralError, printable
from edge.inference import edgetpu as corals

SLOW_MEGABITS = 480  # USB 2
_SOURCE = "add Google's package source (https://coral.ai/docs/accelerator/get-started), then:"
_LIBRARY = f"{_SOURCE} sudo apt install libedgetpu1-std"
_DRIVER = f"{_SOURCE} sudo apt install gasket-dkms && sudo modprobe apex"
_KINDS = {corals.PCI: "PCIe", corals.USB: "USB"}


def coral(machine: Host, chosen: Chosen) -> Iterator[Finding]:
    """All of it; little is said where there is none."""
    connected = corals.devices(machine.root)
    of_devices = [_state_of(machine, device) for device in connected]
    yield from of_devices
    if not connected:
        yield Finding("Coral", ABSENT, "none")
    if any(device.kind == corals.PCI for device in connected) and machine.page_size != corals.PAGE_BYTES:
        found = f"of {machine.page_size} bytes; the Coral on PCIe needs {corals.PAGE_BYTES}"
        mend = "echo kernel=kernel8.img | sudo tee -a /boot/firmware/config.txt && sudo reboot"
        yield Finding("memory pages", PROBLEM, found, mend)
    of_library = _library(machine, is_needed=bool(connected))
    yield of_library
    if corals.has_pycoral():
        yield Finding("pycoral", OK, "Google's; not needed")
    elif is_there("pycoral"):
        mend = f"{machine.python} -m pip uninstall pycoral"
        yield Finding("pycoral", WARNING, "another project of that name, about coral reefs; not needed", mend)
    if connected:
        states = {of_library.state, min((finding.state for finding in of_devices), key=STATES.index)}
        yield from _compiled_model(machine, chosen, is_usable=PROBLEM not in states)


def _state_of(machine: Host, device: corals.Device) -> Finding:
    kind = _KINDS[device.kind]
    if device.node is None:
        if device.kind == corals.PCI:
            return Finding("Coral", PROBLEM, f"{kind}, without a driver", _DRIVER)
        mend = "pull it out and put it in again; in a container, pass /dev/bus/usb on to it"
        return Finding("Coral", PROBLEM, f"{kind}, without a node in /dev/bus/usb", mend)
    node = machine.absolute(device.node)
    found = f"{kind}, {node}"
    if not machine.may_use(node):
        return Finding("Coral", PROBLEM, f"{found}: permission denied", machine.permission(node))
    if device.kind == corals.USB and (_megabits(machine, node) or SLOW_MEGABITS + 1) <= SLOW_MEGABITS:
        return Finding("Coral", WARNING, f"{found}, at USB 2's speed", "put it into a USB 3 socket, which is blue")
    return Finding("Coral", OK, found)


def _megabits(machine: Host, node: str) -> int | None:
    """A second, of the USB connection of a node of /dev/bus/usb."""
    bus, number = (int(part) for part in node.split("/")[-2:])
    for path in machine.names("/sys/bus/usb/devices"):
        if (machine.number(f"{path}/busnum"), machine.number(f"{path}/devnum")) == (bus, number):
            return machine.number(f"{path}/speed")
    return None


def _library(machine: Host, *, is_needed: bool) -> Finding:
    try:
        library = corals.library(machine.edgetpu)
    except CoralError as error:
        if "is not installed" not in str(error):
            mend = "sudo apt install --reinstall libedgetpu1-std"
            return Finding("libedgetpu", PROBLEM if is_needed else WARNING, str(error), mend)
        if is_needed:
            return Finding("libedgetpu", PROBLEM, "not installed, but there is a Coral", _LIBRARY)
        return Finding("libedgetpu", ABSENT, "not installed; a Coral would need it")
    return Finding("libedgetpu", OK, printable(", ".join(filter(None, (library.path, library.version)))))


def _compiled_model(machine: Host, chosen: Chosen, *, is_usable: bool) -> Iterator[Finding]:
    """Whether there is one, and what answers it gives."""
    # Those that came with us by their place and not by edge.inference.model, which needs numpy.
    ours = sorted(resources.folder("models").glob(f"*{corals.COMPILED}.tflite"))
    compiled = [corals.compiled_path(chosen.model)] if chosen.model else ours
    if not compiled or not compiled[0].is_file():
        what = printable(compiled[0]) if compiled else "none came with this edge-detect"
        mend = "on x86-64: python -m convert models/compact.keras --data CIFAKE --out FOLDER --edgetpu"
        yield Finding("compiled model", WARNING, f"{what}: the Coral has nothing to run", mend)
        return
    for path in compiled:
        yield Finding("compiled model", OK, printable(path.name))
        if not is_usable:
            continue
        try:
            told = machine.ask("coral", os.path.abspath(path), chosen.runtime or "", machine.edgetpu)
        except ProbeError as error:
            found = f"{printable(path.name)}: fails: {error}"
            yield Finding("Coral inference", PROBLEM, found, "plug it in anew, and look again")
        else:
            yield judged("Coral inference", path.name, told, is_ours=not chosen.model)
