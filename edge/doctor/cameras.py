"""Cameras, and the libraries that reach them."""

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edge.doctor.finding import ABSENT, OK, PROBLEM, WARNING, Finding
from edge.doctor.machine import Machine, ProbeError
from edge.doctor.runtime import installing, is_there, version
from edge.doctor.system import is_raspberry_pi
from edge.errors import printable

PICAMERA_SECONDS = 30.0
_VIDEO_CAPTURE, _DEVICE_CAPTURES = 0x1, 0x00200001  # V4L2_CAP_VIDEO_CAPTURE; that or V4L2_CAP_META_CAPTURE
_SYSTEM_S_PICAMERA2 = "/usr/lib/python3/dist-packages/picamera2"
# Nodes of the Pi's own decoders and sensors, which libcamera uses and nobody else.
_OF_THE_BOARD = ("bcm2835-", "unicam", "rp1-cfe", "pispbe", "rpi-", "rpivid")


@dataclass(frozen=True)
class VideoNode:
    """A Video4Linux node that gives pictures.

    Attributes:
        may_use: whether the user may open it; if not, what it gives is not known.
    """

    path: str
    name: str
    may_use: bool


def video_nodes(machine: Machine) -> list[VideoNode]:
    """The nodes that capture, without those that belong to the board itself."""
    found = []
    for path in machine.names("/dev", "video*"):
        name = machine.text(f"/sys/class/video4linux/{os.path.basename(path)}/name") or ""
        if name.startswith(_OF_THE_BOARD):
            continue
        may_use = machine.may_use(path)
        try:
            captures = not may_use or _captures(machine.video_capabilities(machine.path(path)))
        except OSError:  # another program has it for itself, say
            captures = True
        if captures:
            found.append(VideoNode(path, printable(name) or "unnamed", may_use))
    return found


def video(machine: Machine) -> Iterator[Finding]:
    """Webcams and what else Video4Linux knows, and PyAV, which reads them."""
    nodes = video_nodes(machine)
    for node in nodes:
        found = f"{printable(node.path)}, {node.name}"
        if node.may_use:
            yield Finding("webcam", OK, found)
        else:
            yield Finding("webcam", PROBLEM, f"{found}: permission denied", machine.permission(node.path))
    if not nodes:
        yield Finding("webcam", ABSENT, "none")
    if is_there("av"):
        try:
            machine.ask("module", "av")
            yield Finding("PyAV", OK, version("av"))
        except ProbeError as error:
            mend = installing(machine, "--force-reinstall", "av>=12")
            yield Finding("PyAV", PROBLEM, f"{version('av')} does not load: {error}", mend)
    elif nodes:
        yield Finding("PyAV", WARNING, "not installed: webcams need it", installing(machine, "av>=12"))
    else:
        yield Finding("PyAV", ABSENT, "not installed; webcams and network cameras would need it")


def pi_camera(machine: Machine) -> Iterator[Finding]:
    """The camera at the board's own connector, through Picamera2."""
    if not is_there("picamera2"):
        yield _without_picamera2(machine)
        return
    try:
        names: list[str] = machine.ask("picamera2", seconds=PICAMERA_SECONDS)
    except ProbeError as error:
        yield Finding("Picamera2", PROBLEM, f"does not load: {error}", _mend_of(machine, str(error)))
        return
    yield Finding("Picamera2", OK, f"{version('picamera2')}, loads")
    if names:
        yield Finding("Pi camera", OK, ", ".join(map(printable, names)))
    else:
        # libcamera lists nothing that it may not open.
        denied = [path for path in machine.names("/dev", "media*") if not machine.may_use(path)]
        if denied:
            found = f"none found, but {printable(denied[0])}: permission denied"
            yield Finding("Pi camera", PROBLEM, found, machine.permission(denied[0]))
        else:
            yield Finding("Pi camera", ABSENT, "none found; if there is one: rpicam-hello --list-cameras")


def _without_picamera2(machine: Machine) -> Finding:
    is_the_systems = machine.path(_SYSTEM_S_PICAMERA2).is_dir()
    configuration = Path(sys.prefix, "pyvenv.cfg")
    if is_the_systems and sys.prefix != sys.base_prefix:
        return Finding(
            "Picamera2",
            WARNING,
            "the system has it, but this virtual environment does not see the system's packages",
            f"sed -i 's/^include-system-site-packages.*/include-system-site-packages = true/' '{configuration}'",
        )
    if is_raspberry_pi(machine):
        found = "not installed; the camera at the board's connector would need it"
        return Finding("Picamera2", ABSENT, found, "sudo apt install python3-picamera2")
    return Finding("Picamera2", ABSENT, "not installed; it is for a Raspberry Pi's own camera")


def _mend_of(machine: Machine, trouble: str) -> str:
    if "numpy.dtype size changed" in trouble or "_ARRAY_API" in trouble:  # the environment's numpy hides the system's
        return f"{machine.python} -m pip uninstall numpy simplejpeg  (so that the system's are used)"
    return "sudo apt install --reinstall python3-picamera2 python3-libcamera"


def _captures(capabilities: int | None) -> bool:
    return capabilities is not None and bool(capabilities & _VIDEO_CAPTURE)
