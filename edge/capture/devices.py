"""Which cameras there are: what libcamera sees, and the V4L2 devices that a picture can be had from."""

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
_CAN_OUTPUT = 0x00000002 | 0x00008000  # and memory to memory: codecs, scalers

# Drivers of a Raspberry Pi's that capture something, but no picture: parts of the way from the sensor to Picamera2.
PARTS = ("unicam", "bcm2835-isp", "bcm2835-codec", "rp1-cfe", "pispbe", "rpivid", "rpi-hevc-dec")


@dataclass(frozen=True)
class Found:
    """One camera, or what may be one.

    Attributes:
        source: as it is named to `open_camera`.
        name: as it calls itself; safe to print.
        problem: why it cannot be used; empty if nothing speaks against it.
        is_usb: seen by libcamera, but better used as a V4L2 device.
    """

    source: str
    name: str
    problem: str = ""
    is_usb: bool = False

    def __str__(self) -> str:
        return f"{self.source} ({self.name}{f': {self.problem}' if self.problem else ''})"


def found_cameras(picamera2: Any = None) -> list[Found]:
    """All cameras, the Pi's own first, then the V4L2 devices by number; without opening a camera for good.

    Args:
        picamera2: the class, in place of `picamera2.Picamera2`.
    """
    from edge.capture import picamera  # which needs numpy; V4L2 does not

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
    """The devices /dev/video0 ... that can capture; not a board's codecs and scalers, which have such names too."""
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


def captures(driver: str, capabilities: int, device_capabilities: int) -> bool:
    """Whether a device that says so of itself is a camera to us."""
    flags = device_capabilities if capabilities & _HAS_DEVICE_CAPABILITIES else capabilities
    return bool(flags & _CAN_CAPTURE) and not flags & _CAN_OUTPUT and not driver.startswith(PARTS)


def _device(path: str, name: str) -> Found | None:
    answer = bytearray(_CAPABILITY.size)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            fcntl.ioctl(descriptor, _QUERYCAP, answer)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno in (errno.ENOTTY, errno.EINVAL):  # no V4L2 device at all
            return None
        hint = "; the user must be in the group video" if error.errno == errno.EACCES else ""
        return Found(path, name, f"{reason_of(error)}{hint}")
    driver, card, _, _, capabilities, device_capabilities = _CAPABILITY.unpack(answer)
    if not captures(_text(driver), capabilities, device_capabilities):
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
