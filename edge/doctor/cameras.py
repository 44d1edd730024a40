"""Cameras, and the libraries that read them."""

import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

from edge.capture.devices import PIPELINE_DRIVERS
from edge.doctor.finding import ABSENT, OK, PROBLEM, WARNING, Finding
from edge.doctor.host import Host, ProbeError
from edge.doctor.runtime import installing, is_there, too_old, version
from edge.errors import printable
from edge.requirements import PACKAGES

PICAMERA_SECONDS = 30.0
_SYSTEM_PICAMERA2 = "/usr/lib/python3/dist-packages/picamera2"


def video(machine: Host) -> Iterator[Finding]:
    """Video4Linux devices, and PyAV, which reads them."""
    nodes = machine.webcams(os.fspath(machine.path("/dev")), os.fspath(machine.path("/sys/class/video4linux")))
    # A node that may not be opened may be one of the board's codecs, which only its name shows.
    nodes = [node for node in nodes if not (node.problem and node.name.startswith(PIPELINE_DRIVERS))]
    for node in nodes:
        source = machine.absolute(Path(node.source))
        found = f"{printable(source)}, {node.name}"
        if not node.problem:
            yield Finding("webcam", OK, found)
        elif not machine.may_use(source):
            yield Finding("webcam", PROBLEM, f"{found}: permission denied", machine.permission(source))
        else:
            fix = f"see which program uses it: sudo fuser -v {shlex.quote(printable(source))}"
            yield Finding("webcam", WARNING, f"{found}: {printable(node.problem)}", fix)
    if not nodes:
        yield Finding("webcam", ABSENT, "none")
    yield _pyav(machine, is_needed=bool(nodes))


def _pyav(machine: Host, *, is_needed: bool) -> Finding:
    package = PACKAGES["av"]
    if not is_there("av"):
        if is_needed:
            return Finding("PyAV", WARNING, "not installed: webcams need it", package.fix)
        return Finding("PyAV", ABSENT, "not installed; webcams and network cameras would need it")
    if old := too_old("PyAV", "av", version("av")):
        return old
    try:
        found: str = machine.ask("video")
    except ProbeError as error:
        fix = installing(machine, "--force-reinstall", package.requirement)
        return Finding("PyAV", PROBLEM, f"{version('av')} does not work: {error}", fix)
    return Finding("PyAV", OK, printable(found))


def pi_camera(machine: Host) -> Iterator[Finding]:
    """Picamera2, and the cameras at the board's own connector."""
    if not is_there("picamera2"):
        yield _without_picamera2(machine)
        return
    if old := too_old("Picamera2", "picamera2", version("picamera2")):
        yield old
        return
    try:
        names: list[str] = machine.ask("picamera2", seconds=PICAMERA_SECONDS)
    except ProbeError as error:
        yield Finding("Picamera2", PROBLEM, f"does not load: {error}", _fix_of(machine, str(error)))
        return
    yield Finding("Picamera2", OK, f"{version('picamera2')}, loads")
    if names:
        yield Finding("Pi camera", OK, ", ".join(map(printable, names)))
    else:
        # libcamera does not list a camera whose node it may not open.
        denied = [path for path in machine.names("/dev", "media*") if not machine.may_use(path)]
        if denied:
            found = f"none found, but {printable(denied[0])}: permission denied"
            yield Finding("Pi camera", PROBLEM, found, machine.permission(denied[0]))
        else:
            yield Finding("Pi camera", ABSENT, "none found; if one is connected, try: rpicam-hello --list-cameras")


def _without_picamera2(machine: Host) -> Finding:
    is_in_system = machine.path(_SYSTEM_PICAMERA2).is_dir()
    configuration = Path(sys.prefix, "pyvenv.cfg")
    if is_in_system and sys.prefix != sys.base_prefix:
        return Finding(
            "Picamera2",
            WARNING,
            "the system has it, but this virtual environment does not see the system's packages",
            f"sed -i 's/^include-system-site-packages.*/include-system-site-packages = true/' '{configuration}'",
        )
    if machine.is_raspberry_pi:
        found = "not installed; the camera at the board's connector would need it"
        return Finding("Picamera2", ABSENT, found, "sudo apt install python3-picamera2")
    return Finding("Picamera2", ABSENT, "not installed; it is for a Raspberry Pi's own camera")


def _fix_of(machine: Host, error: str) -> str:
    if "numpy.dtype size changed" in error or "_ARRAY_API" in error:  # the environment's numpy hides the system's
        return f"{machine.python} -m pip uninstall numpy simplejpeg  (so that the system's are used)"
    return "sudo apt install --reinstall python3-picamera2 python3-libcamera"
