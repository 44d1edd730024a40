"""The cameras of this machine: those that libcamera lists, and V4L2 devices that can capture."""

import errno
import fcntl
import os
import re
import struct
from dataclasses import dataclass
from typing import Any

from edge.errors import NotInstalledError, printable, reason_of

# linux/videodev2.h: struct v4l2_capability, VIDIOC_QUERYCAP, V4L2_CAP_*
_CAPABILITY = struct.Struct("16s32s32sIII12x")
_QUERYCAP = 0x80000000 | _CAPABILITY.size << 16 | ord("V") << 8 | 0
_HAS_DEVICE_CAPABILITIES = 0x80000000
_CAN_CAPTURE = 0x00000001
_CAN_OUTPUT = 0x00000002 | 0x00008000  # also from memory to memory: codecs, scalers

# Drivers of a Raspberry Pi whose nodes are not cameras: stages between the sensor and Picamera2, and codecs.
PIPELINE_DRIVERS = ("unicam", "bcm2835-isp", "bcm2835-codec", "rp1-cfe", "pispbe", "rpivid", "rpi-hevc-dec")


@dataclass(frozen=True)
class Found:
    """A camera of this machine, or a device node that may be one.

    Attributes:
        source: the camera's name for `open_camera`.
        name: the name that the camera reports; safe to print.
        problem: why the camera cannot be used; empty if it can.
        is_usb: whether it is a webcam that libcamera lists; it works better as a V4L2 device.
    """

    source: str
    name: str
    problem: str = ""
    is_usb: bool = False

    def __str__(self) -> str:
        return f"{self.source} ({self.name}{f': {self.problem}' if self.problem else ''})"


def found_cameras(picamera2: Any = None) -> list[Found]:
    """All cameras of this machine: the Pi's own, then the V4L2 devices by number. No camera is started.

    Args:
        picamera2: the class to use instead of `picamera2.Picamera2`.
    """
    from edge.capture import picamera  # here: it needs numpy, and V4L2 does not

    try:
        listed = (picamera2 or picamera.library()).global_camera_info()
    except (NotInstalledError, *picamera.ERRORS):
        listed = []
    own = [
        Found(f"picamera2:{number}", printable(str(info.get("Model", "?"))), "", "/usb" in str(info.get("Id", "")))
        for number, info in enumerate(listed)
    ]
    return own + v4l2_devices()


def picamera2_problem() -> str:
    """Why Picamera2 cannot be used; empty if it can."""
    from edge.capture import picamera

    try:
        picamera.library()
    except NotInstalledError as error:
        return str(error)
    return ""


def v4l2_devices(folder: str = "/dev", names: str = "/sys/class/video4linux") -> list[Found]:
    """The devices /dev/video* that can capture; a board's codecs and scalers have such nodes too and are left out.

    Args:
        folder: folder of the device nodes.
        names: sysfs folder that has the names also of devices that may not be opened.
    """
    try:
        entries = [name for name in os.listdir(folder) if re.fullmatch("video[0-9]+", name)]
    except OSError:
        return []
    found = []
    for entry in sorted(entries, key=lambda name: int(name.removeprefix("video"))):
        device = _device(os.path.join(folder, entry), _name(os.path.join(names, entry, "name")))
        if device is not None:
            found.append(device)
    return found


def can_capture(driver: str, capabilities: int, device_capabilities: int) -> bool:
    """Whether a device is a camera.

    Args:
        driver, capabilities, device_capabilities: fields of its answer to VIDIOC_QUERYCAP.
    """
    flags = device_capabilities if capabilities & _HAS_DEVICE_CAPABILITIES else capabilities
    return bool(flags & _CAN_CAPTURE) and not flags & _CAN_OUTPUT and not driver.startswith(PIPELINE_DRIVERS)


def _device(path: str, name: str) -> Found | None:
    answer = bytearray(_CAPABILITY.size)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            fcntl.ioctl(descriptor, _QUERYCAP, answer)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno in (errno.ENOTTY, errno.EINVAL):  # not a V4L2 device
            return None
        hint = "; the user must be in the group video" if error.errno == errno.EACCES else ""
        return Found(path, name, f"{reason_of(error)}{hint}")
    driver, card, _, _, capabilities, device_capabilities = _CAPABILITY.unpack(answer)
    if not can_capture(_text(driver), capabilities, device_capabilities):
        return None
    return Found(path, printable(_text(card)) or name)


def _text(field: bytes) -> str:
    return field.split(b"\0")[0].decode("utf-8", "backslashreplace")


def _name(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return printable(_text(file.read(100)).strip())
    except OSError:
        return "?"
