"""Whether the compressed image data of a file are all there, where its decoder does not check it.

A copy that was interrupted leaves a file that is short or, if its size was set
beforehand, one that ends in zeros, as compressed data hardly do by themselves.
The decoders of WebP, HEIC and AVIF show something nevertheless, and libheif
leaves out the tiles of an iPhone's photo that are missing. Zeros in uncompressed
files (BMP, TIFF) are black pixels: those files are only refused if they are
short. PNG has checksums, see `edge.imaging.png`; for JPEG see `edge.imaging.jpeg`;
Pillow refuses a GIF in which data are missing.
"""

import struct
from collections.abc import Iterable, Iterator
from io import BytesIO

from PIL import Image

from edge.records import dataclass, field

# Zeros at the end of compressed data that only an interrupted copy explains.
_ZEROS = 64

_MOST_EXTENTS = 1 << 16  # of the items of a file; a real one has one for each tile

_SHORT = "image file is truncated: its image data end too early"
_REST_IS_ZEROS = "damaged image data: they end in zeros, as after an interrupted copy"


def require_webp(data: bytes) -> None:
    """Check the first frame of a WebP file.

    Fast encoders write long runs of zeros for an area of one colour. If the data
    end in zeros, the frame is therefore decoded without the last of them, which
    fails if the picture needs them.

    Raises:
        ValueError: its image data end in zeros that are not part of the picture.
    """
    at, end = 12, len(data)  # WebP container specification: chunks of type, size, content, and a byte of padding
    while at + 8 <= end:
        kind, size = struct.unpack_from("<4sI", data, at)
        if kind in (b"VP8L", b"VP8 "):
            frame = data[at + 8 : min(at + 8 + size, end)]
            if not any(frame[-_ZEROS:]) and _is_decodable(kind, frame[: -_ZEROS // 2]):
                raise ValueError(_REST_IS_ZEROS)
            return
        at += 24 if kind == b"ANMF" else 8 + size + (size & 1)  # the first frame of an animation follows its header


def _is_decodable(kind: bytes, frame: bytes) -> bool:
    chunk = struct.pack("<4sI", kind, len(frame)) + frame + bytes(len(frame) & 1)
    file = BytesIO(struct.pack("<4sI4s", b"RIFF", 4 + len(chunk), b"WEBP") + chunk)
    try:
        with Image.open(file, formats=("WEBP",)) as image:
            image.load()
    except (OSError, EOFError, ValueError, SyntaxError):
        return False
    return True


def require_strips(data: bytes, offsets: Iterable[int], lengths: Iterable[int]) -> None:
    """Check the last strip or tile of a compressed TIFF.

    Args:
        offsets, lengths: of all strips or tiles, in bytes.

    Raises:
        ValueError: it ends in zeros.
    """
    start, length = max(zip(offsets, lengths, strict=False), default=(0, 0))
    _require_no_zeros(data, start, start + length)


def require_heif(data: bytes) -> None:
    """Check all parts of the primary image of a HEIC or AVIF file. A file with an unusual structure is not checked.

    Raises:
        ValueError: one of them lies beyond the end of the file, or ends in zeros.
    """
    try:
        items = Items()
        for kind, start, end in boxes(data, 0, len(data)):
            if kind == b"meta":
                items.read(data, start + 4, end)
                break
    except (struct.error, IndexError):
        return
    for start, end in items.of_primary():
        if end > len(data):
            raise ValueError(_SHORT)
        _require_no_zeros(data, start, end)


def _require_no_zeros(data: bytes, start: int, end: int) -> None:
    """Refuse data that end in _ZEROS zeros, or consist of fewer."""
    tail = data[max(start, end - _ZEROS) : end]
    if tail and not any(tail):
        raise ValueError(_REST_IS_ZEROS)


def boxes(data: bytes, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """The boxes of ISO/IEC 14496-12, section 4.2: type, and start and end of the content; the last may be cut short."""
    while at + 8 <= end:
        size, kind = struct.unpack_from(">I4s", data, at)
        start = at + 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, start)
            start += 8
        at = end if size == 0 else max(start, at + size)
        yield kind, start, min(at, end)


@dataclass()
class Items:
    """The items of a `meta` box (ISO/IEC 14496-12, section 8.11), by their number.

    Attributes:
        parts: of derived images, such as a grid: the images that it consists of.
        extents: (start, end) in the file of each item's data.
        inner_extents: (start, end) in the `idat` box of the data of those items that lie there.
    """

    primary: int = 0
    parts: dict[int, list[int]] = field(default_factory=dict)
    extents: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    inner_extents: dict[int, list[tuple[int, int]]] = field(default_factory=dict)

    def of_primary(self) -> Iterator[tuple[int, int]]:
        """The extents of the primary image and of all images that it consists of."""
        waiting, seen = [self.primary], set()
        while waiting:
            item = waiting.pop()
            if item not in seen:
                seen.add(item)
                waiting += self.parts.get(item, ())
                yield from self.extents.get(item, ())

    def read(self, data: bytes, at: int, end: int) -> None:
        """Read the content of a `meta` box.

        Raises:
            struct.error, IndexError: it is cut short, or has more extents than a real one.
        """
        for kind, start, stop in boxes(data, at, end):
            if kind == b"pitm":
                (self.primary,) = struct.unpack_from(">H" if data[start] == 0 else ">I", data, start + 4)
            elif kind == b"iref":
                number = "H" if data[start] == 0 else "I"
                for reference, first, _ in boxes(data, start + 4, stop):
                    if reference == b"dimg":
                        item, count = struct.unpack_from(f">{number}H", data, first)
                        offset = first + struct.calcsize(f">{number}H")
                        self.parts[item] = list(struct.unpack_from(f">{count}{number}", data, offset))
            elif kind == b"iloc":
                self._read_places(data, start, stop)

    def _read_places(self, data: bytes, at: int, end: int) -> None:
        version, sizes = data[at], struct.unpack_from(">BB", data, at + 4)
        offset_size, length_size, base_size = sizes[0] >> 4, sizes[0] & 15, sizes[1] >> 4
        index_size = sizes[1] & 15 if version else 0
        number_size = 4 if version == 2 else 2
        at += 6

        left = _MOST_EXTENTS

        def number(size: int) -> int:
            nonlocal at
            if at + size > end:
                raise IndexError
            at += size
            return int.from_bytes(data[at - size : at], "big")

        for _ in range(number(number_size)):
            item = number(number_size)
            method = number(2) & 15 if version else 0
            number(2)  # which file
            base = number(base_size)
            for _ in range(number(2)):
                left -= 1
                if left < 0:
                    raise IndexError
                number(index_size)
                start = base + number(offset_size)
                length = number(length_size)
                if method == 0:  # in the file, not in the `meta` box
                    self.extents.setdefault(item, []).append((start, start + length if length else len(data)))
                elif method == 1:
                    self.inner_extents.setdefault(item, []).append((start, start + length))
