"""JPEG files without an end marker: whether their picture is complete.

What a browser shows whole is read: a file that lacks only its end marker (EOI),
with or without padding. A picture that is cut short, or whose rest consists of
zeros because its copying was interrupted, is refused. Pillow judges neither:
it accepts some padded files, shortened or not, and refuses others.
"""

import re
import zlib
from io import BytesIO

from PIL import JpegImagePlugin

END = b"\xff\xd9"
_START = b"\xff\xd8\xff"
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # markers that begin a frame, SOF0 to SOF15
_START_OF_SCAN = 0xDA
_RESTART_INTERVAL = b"\xff\xdd"
_RESTARTS = range(0xD0, 0xD8)
# Read as further image data where some are missing; without 0xFF, which begins a marker. Missing data are read as
# zeros, so these begin with a one.
_OTHER_DATA = bytes((37 * index * index + 11 * index + 0xA6) % 251 for index in range(1024))
_ROWS_AT_ONCE = 64


def without_end(data: bytes) -> bytes | None:
    """The content of a JPEG that has no end marker, without padding; None if it has one, or no image data."""
    if data.endswith(END):
        return None
    scan = _scan(data)
    if scan is None or data.rfind(END, scan) >= 0:
        return None
    kept = data.rstrip(b"\0")
    if kept.endswith(b"\xff") and len(kept) < len(data):
        return kept + b"\0"  # the byte 0xFF of image data is stored as 0xFF 0x00
    return kept.rstrip(b"\xff")  # padding, or the first half of the end marker


def sample_bits(data: bytes) -> int | None:
    """The bits of a sample, by the header of a JPEG; None if there is no header, or another format."""
    at = _segment(data, _FRAMES) if data.startswith(_START) else None
    return data[at] if at is not None and at < len(data) else None


def _scan(data: bytes) -> int | None:
    """The position of the first start-of-scan marker; None if the segments before it are damaged."""
    content = _segment(data, frozenset((_START_OF_SCAN,)))
    return None if content is None else data.rfind(b"\xff", 0, content - 2)


def _segment(data: bytes, kinds: frozenset[int]) -> int | None:
    """Where the content of the first segment of these kinds begins, behind its length; None if there is none."""
    at = 2
    while marker := re.compile(rb"\xff+([^\xff])").match(data, at):
        if marker[1][0] in kinds:
            return marker.end() + 2
        at = marker.end() + int.from_bytes(data[marker.end() : marker.end() + 2], "big")
    return None


def require_whole(kept: bytes) -> None:
    """Check that a JPEG without an end marker has all of its image data.

    It is decoded at its full size with its end, and again with other data before
    the end: they change the pixels only if image data are missing.

    Args:
        kept: what `without_end` returned.

    Raises:
        OSError: the picture is cut short.
    """
    whole = _digest(kept + END)
    if any(_digest(kept + other + END) != whole for other in _others(kept)):
        raise OSError("image file is truncated: its image data end too early")


def _others(kept: bytes) -> list[bytes]:
    """What may follow the data of a JPEG that is cut short. With restart markers, it may be cut before one of them."""
    scan = _scan(kept) or 0
    if _RESTART_INTERVAL not in kept[:scan]:
        return [_OTHER_DATA]
    latest = max(kept.rfind(bytes((0xFF, code)), scan) for code in _RESTARTS)
    following = _RESTARTS[(kept[latest + 1] + 1) % 8] if latest >= 0 else _RESTARTS[0]
    return [prefix + _OTHER_DATA for prefix in (b"", bytes((0xFF, following)), bytes((0xFF, _RESTARTS[0])))]


def _digest(data: bytes) -> int:
    """A checksum of the pixels, computed in strips, which are not all copied at once."""
    with JpegImagePlugin.JpegImageFile(BytesIO(data)) as image:
        image.load()
        digest = 0
        for top in range(0, image.height, _ROWS_AT_ONCE):
            rows = image.crop((0, top, image.width, min(top + _ROWS_AT_ONCE, image.height)))
            digest = zlib.crc32(rows.tobytes(), digest)
        return digest
