"""The Coral: the device, its driver and library, and the model compiled for it."""

import os
from collections.abc import Iterator

from edge import resources
from edge.doctor.choices import Choices
from edge.doctor.finding import ABSENT, OK, PROBLEM, STATES, WARNING, Finding
from edge.doctor.host import Host, ProbeError
from edge.doctor.runtime import RUNTIMES, is_there, judged
from edge.errors import CoralError, printable
from edge.inference import edgetpu, edgetpu_fixes

SLOW_MEGABITS = 480  # USB 2
_KINDS = {edgetpu.PCI: "PCIe", edgetpu.USB: "USB"}


def coral(machine: Host, choices: Choices) -> Iterator[Finding]:
    """Devices, kernel pages, libedgetpu, pycoral, compiled models; without a Coral, only what is missing or odd."""
    connected = edgetpu.devices(machine.root)
    devices = [_device(machine, device) for device in connected]
    yield from devices
    if not connected:
        yield Finding("Coral", ABSENT, "none")
    if any(device.kind == edgetpu.PCI for device in connected) and machine.page_size != edgetpu.PAGE_BYTES:
        found = f"{machine.page_size} bytes; the Coral on PCIe needs {edgetpu.PAGE_BYTES}"
        fix = "echo kernel=kernel8.img | sudo tee -a /boot/firmware/config.txt && sudo reboot"
        yield Finding("memory pages", PROBLEM, found, fix)
    runtime = choices.runtime or next((name for name, package in RUNTIMES.items() if is_there(package)), None)
    library = _library(machine, runtime, is_needed=bool(connected))
    yield library
    if edgetpu.has_pycoral():
        yield Finding("pycoral", OK, "Google's; not needed")
    elif is_there("pycoral"):
        fix = f"{machine.python} -m pip uninstall pycoral"
        yield Finding("pycoral", WARNING, "a project of that name about coral reefs, not Google's; not needed", fix)
    if connected:
        states = {library.state, min((finding.state for finding in devices), key=STATES.index)}
        yield from _compiled_model(machine, choices, is_usable=PROBLEM not in states)


def _device(machine: Host, device: edgetpu.Device) -> Finding:
    kind = _KINDS[device.kind]
    if device.node is None:
        if device.kind == edgetpu.PCI:
            return Finding("Coral", PROBLEM, f"{kind}, no driver", edgetpu_fixes.driver(machine.release))
        fix = "unplug it and plug it in again; in a container, pass /dev/bus/usb on to it"
        return Finding("Coral", PROBLEM, f"{kind}, no node in /dev/bus/usb", fix)
    node = machine.absolute(device.node)
    found = f"{kind}, {node}"
    if not machine.may_use(node):
        return Finding("Coral", PROBLEM, f"{found}: permission denied", machine.permission(node))
    if device.kind == edgetpu.USB and (_megabits(machine, node) or SLOW_MEGABITS + 1) <= SLOW_MEGABITS:
        return Finding("Coral", WARNING, f"{found}, at USB 2 speed", "plug it into a USB 3 socket, which is blue")
    return Finding("Coral", OK, found)


def _megabits(machine: Host, node: str) -> int | None:
    """The speed of the USB connection of a node of /dev/bus/usb, Mbit/s; None if unknown."""
    bus, number = (int(part) for part in node.split("/")[-2:])
    for path in machine.names("/sys/bus/usb/devices"):
        if (machine.number(f"{path}/busnum"), machine.number(f"{path}/devnum")) == (bus, number):
            return machine.number(f"{path}/speed")
    return None


def _library(machine: Host, runtime: str | None, *, is_needed: bool) -> Finding:
    try:
        library = edgetpu.library(machine.edgetpu, runtime)
    except CoralError as error:
        if "is not installed" not in error.reason:
            return Finding("libedgetpu", PROBLEM if is_needed else WARNING, error.reason, error.fix)
        if is_needed:
            return Finding("libedgetpu", PROBLEM, "not installed, but a Coral is connected", error.fix)
        return Finding("libedgetpu", ABSENT, "not installed; a Coral would need it")
    found = printable(", ".join(filter(None, (library.path, library.version))))
    if version := _googles_version(machine):
        found += f", Google's package {printable(version)}, which crashes LiteRT runtimes from 2.12 on"
        return Finding("libedgetpu", WARNING, found, edgetpu_fixes.library(runtime))
    return Finding("libedgetpu", OK, found)


def _googles_version(machine: Host) -> str | None:
    """The version of Google's package of libedgetpu; None if it is not installed. Builds of others have "tf" in it."""
    for package in ("libedgetpu1-std", "libedgetpu1-max"):
        done = machine.run("dpkg-query", "--show", "--showformat=${db:Status-Status} ${Version}", package)
        status, _, version = done.output.strip().partition(" ") if done is not None else ("", "", "")
        if status == "installed" and version and "tf" not in version.lower():
            return version
    return None


def _compiled_model(machine: Host, choices: Choices, *, is_usable: bool) -> Iterator[Finding]:
    """Whether there is one, and its answers if the Coral is usable."""
    # The bundled ones by their folder, not by edge.inference.model, which needs numpy.
    ours = sorted(resources.folder("models").glob(f"*{edgetpu.COMPILED}.tflite"))
    compiled = [edgetpu.compiled_path(choices.model)] if choices.model else ours
    if not compiled or not compiled[0].is_file():
        what = printable(compiled[0]) if compiled else "none is bundled with this edge-detect"
        fix = "on x86-64: python -m convert models/compact.keras --data CIFAKE --out FOLDER --edgetpu"
        yield Finding("compiled model", WARNING, f"{what}: the Coral has nothing to run", fix)
        return
    for path in compiled:
        yield Finding("compiled model", OK, printable(path.name))
        if not is_usable:
            continue
        try:
            reply = machine.ask("coral", os.path.abspath(path), choices.runtime or "", machine.edgetpu)
        except ProbeError as error:
            found = f"{printable(path.name)}: fails: {error}"
            yield Finding("Coral inference", PROBLEM, found, error.fix or f"see {edgetpu_fixes.GUIDE}")
        else:
            yield judged("Coral inference", path.name, reply, is_ours=not choices.model)
