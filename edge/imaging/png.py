"""PNG files: the chunks that decide the pixels, with right checksums, as a file that Pillow opens.

Pillow refuses a picture because of its metadata: a checksum that is wrong in any
chunk before the pixels, a text or a colour profile of more than a megabyte. It
does not check the checksums of the pixels themselves. Here it is the other way
round (PNG specification, third edition, sections 5.3 and 13.2): IHDR, PLTE, tRNS
and IDAT must be intact; of the other chunks, only those that may hold the
orientation are read, and ignored if they are damaged or large. A compressed text
is never inflated beyond MOST_METADATA bytes.

An animation is read as the picture that programs without animations show.
"""

import bisect
import itertools
import struct
import zlib
from collections.abc import Sequence
from io import BytesIO

from PIL import Image, PngImagePlugin

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MOST_METADATA = 1 << 20  # bytes of a metadata chunk, inflated; Pillow itself refuses more
_MOST_COPIED = 1 << 20  # bytes; copying a small file is faster than reading it in pieces
_HEAD = struct.Struct(">I4s")  # of a chunk: length, type
_BITS_AT = 24  # position in a file of the bits per sample; then: colour type, compression, filters, interlacing
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of a pixel, by colour type
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))  # of Adam7
_INFLATED_AT_ONCE = 1 << 20  # bytes
_PIXELS = frozenset((b"IHDR", b"PLTE", b"tRNS"))
_TEXTS = frozenset((b"tEXt", b"zTXt", b"iTXt"))
_KEYWORDS = (b"XML:com.adobe.xmp", b"Raw profile type exif", b"exif")  # of texts in which Pillow finds the orientation
_KEYWORD_BYTES = max(map(len, _KEYWORDS)) + 1
_END = b"\0\0\0\0IEND\xaeB`\x82"


def opened(data: bytes) -> Image.Image:
    """Open a file that begins with SIGNATURE; Pillow's `load` decodes it.

    Raises:
        SyntaxError, ValueError: the file is damaged.
    """
    before, image_data = _decisive(data)
    # All image data in one chunk, which is faster to read.
    pieces: list[bytes | memoryview] = [
        *before,
        _HEAD.pack(sum(map(len, image_data)), b"IDAT"),
        *image_data,
        bytes(4),
        _END,
    ]
    file = BytesIO(b"".join(pieces)) if len(data) <= _MOST_COPIED else _Pieces(pieces)
    image = PngImagePlugin.PngImageFile(file)  # type: ignore[arg-type]  # all that it calls is there
    Image._decompression_bomb_check(image.size)  # as Image.open does
    bits, key = data[_BITS_AT], image.info.get("transparency")
    if image.mode == "L" and isinstance(key, int):  # Pillow scales the samples to 8 bits, but not the transparent one
        image.info["transparency"] = key * 255 // ((1 << bits) - 1)
    elif image.mode == "RGB" and isinstance(key, tuple) and bits == 16:
        image.info["transparency"] = tuple(value >> 8 for value in key)
    return image


def load(image: Image.Image, data: bytes) -> None:
    """Decode an image of `opened`.

    Pillow leaves out the last rows without an error if the compressed data end
    too early. If they may be missing, because they contain only zeros, the data
    are inflated again.

    Args:
        data: the file's content.

    Raises:
        OSError and others of Pillow: it is damaged.
    """
    image.load()
    bits, colour, interlace = data[_BITS_AT], data[_BITS_AT + 1], data[_BITS_AT + 4]
    last = range(max(image.height - (2 if interlace else 1), 0), image.height)
    if all(_is_decoded(image, row) for row in last):
        return
    missing, row_bits = 0, bits * _SAMPLES.get(colour, 1)
    for left, top, across, down in _PASSES if interlace else ((0, 0, 1, 1),):
        columns, rows = -((left - image.width) // across), -((top - image.height) // down)
        if columns > 0 and rows > 0:
            missing += rows * (1 + -(-columns * row_bits // 8))  # each row begins with its filter
    inflater = zlib.decompressobj()
    for piece in _decisive(data)[1]:
        missing -= len(inflater.decompress(piece, _INFLATED_AT_ONCE))
        while inflater.unconsumed_tail and missing > 0:
            missing -= len(inflater.decompress(inflater.unconsumed_tail, _INFLATED_AT_ONCE))
        if missing <= 0:
            return
    if missing - len(inflater.flush()) > 0:
        raise OSError("image file is truncated: its last rows are missing")


def _is_decoded(image: Image.Image, row: int) -> bool:
    """Whether a row was certainly decoded; rows that were not consist of zeros."""
    first = image.getpixel((0, row))
    if any(first) if isinstance(first, tuple) else first:
        return True
    pixels = image.crop((0, row, image.width, row + 1))
    if image.mode == "RGB":  # in memory, the fourth byte of a decoded pixel is not zero
        return all(pixels.tobytes("raw", "RGBX")[3::4])
    return any(pixels.tobytes())


def _decisive(data: bytes) -> tuple[list[memoryview], list[memoryview]]:
    """The parts of a file that decide the pixels: signature and chunks before the image data, and the image data.

    Raises:
        SyntaxError: one of them is damaged or missing.
    """
    view = memoryview(data)
    before = [view[:8]]
    metadata: dict[bytes, memoryview] = {}  # the last chunk of each kind is valid, as for Pillow
    image_data: list[memoryview] = []
    if data[12:16] != b"IHDR":
        raise SyntaxError("broken PNG file: it does not begin with an IHDR chunk")
    at, has_all_data = 8, False
    while at + 8 <= len(data):
        length, kind = _HEAD.unpack_from(data, at)
        body, end = at + 8, at + 8 + length
        if kind == b"IDAT" and not has_all_data:
            _require_intact(view, at, end, kind)
            image_data.append(view[body:end])
        elif kind in _PIXELS and not image_data:
            _require_intact(view, at, end, kind)
            before.append(view[at : end + 4])
        elif kind == b"IEND" or end + 4 > len(data):
            break
        elif kind == b"eXIf" or kind in _TEXTS:
            keyword = kind if kind == b"eXIf" else data[body : min(end, body + _KEYWORD_BYTES)].partition(b"\0")[0]
            if (keyword == kind or keyword in _KEYWORDS) and _is_usable(view, at, end, kind):
                metadata.pop(keyword, None)
                metadata[keyword] = view[at : end + 4]
        elif not (kind[0] & 0x20 or image_data):  # section 5.4: a capital letter means that it must be understood
            raise SyntaxError(f"broken PNG file: unknown critical chunk {kind!r}")
        has_all_data = bool(image_data) and kind != b"IDAT"
        at = end + 4
    if not image_data:
        raise SyntaxError("image file is truncated: a PNG without image data")
    return before + list(metadata.values()), image_data


def _require_intact(view: memoryview, at: int, end: int, kind: bytes) -> None:
    if end + 4 > len(view):
        raise SyntaxError(f"image file is truncated: its {kind.decode('ascii')} chunk is incomplete")
    if not _is_intact(view, at, end):
        raise SyntaxError(f"damaged image data: the checksum of its {kind.decode('ascii')} chunk is wrong")


def _is_intact(view: memoryview, at: int, end: int) -> bool:
    return zlib.crc32(view[at + 4 : end]) == int.from_bytes(view[end : end + 4], "big")


def _is_usable(view: memoryview, at: int, end: int, kind: bytes) -> bool:
    """Whether a chunk of metadata is intact, and no larger than MOST_METADATA when it is inflated."""
    body = at + 8
    if end - body > MOST_METADATA or not _is_intact(view, at, end):
        return False
    parts = bytes(view[body:end]).partition(b"\0")[2]
    if kind == b"zTXt":
        return parts[:1] == b"\0" and _fits(parts[1:])
    if kind == b"iTXt" and parts[:1] == b"\1":
        return parts[1:2] == b"\0" and _fits(parts[2:].split(b"\0", 2)[-1])
    return True


def _fits(compressed: bytes) -> bool:
    inflater = zlib.decompressobj()
    try:
        inflater.decompress(compressed, MOST_METADATA)
    except zlib.error:
        return False
    return not inflater.unconsumed_tail


class _Pieces:
    """A file for reading that consists of pieces of memory, which are not copied as a whole."""

    def __init__(self, pieces: Sequence[bytes | memoryview]) -> None:
        self._pieces = [memoryview(piece) for piece in pieces if piece]
        self._ends = list(itertools.accumulate(map(len, self._pieces)))
        self._at = 0

    def read(self, count: int = -1) -> bytes:
        end = self._ends[-1] if count < 0 else min(self._at + count, self._ends[-1])
        parts = []
        for index in range(bisect.bisect_right(self._ends, self._at), len(self._pieces)):
            if self._at >= end:
                break
            piece, piece_end = self._pieces[index], self._ends[index]
            start = self._at - (piece_end - len(piece))
            parts.append(piece[start : start + end - self._at])
            self._at = min(end, piece_end)
        return b"".join(parts)

    def seek(self, position: int) -> int:
        self._at = position
        return position

    def tell(self) -> int:
        return self._at
