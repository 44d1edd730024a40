"""The metadata of HEIC and AVIF files: items of type Exif and XMP, and the box of a C2PA manifest store.

Sources: ISO/IEC 14496-12, 4.2 and 8.11; ISO/IEC 23008-12, annex A; C2PA 2.1, A.5.
"""

from collections.abc import Iterator
from itertools import islice
from uuid import UUID

from edge.provenance.metadata import Metadata

_MOST_BOXES = 4096  # at one level
_MOST_ITEMS = 1 << 15
_MOST_METADATA = 16  # items of EXIF and XMP
_MOST_EXTENTS = 256  # of an item
_MOST_BYTES = 1 << 22  # of an item
_C2PA = UUID("d8fec3d6-1b0e-483c-9297-5828877ec481").bytes
_AVIF = frozenset((b"avif", b"avis"))
_HEIC = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"mif2", b"msf1"))
_XMP_TYPE = b"application/rdf+xml"
_FULL = 4  # bytes of version and flags


def format_of(data: bytes) -> str | None:
    """The format of a file that begins with a box of type ftyp, by its brands; None for others, such as video."""
    end = min(int.from_bytes(data[:4], "big"), 272, len(data))
    brands = {data[8:12], *(data[at : at + 4] for at in range(16, end - 3, 4))}
    return "AVIF" if brands & _AVIF else "HEIC" if brands & _HEIC else None


def metadata(data: bytes, name: str) -> Metadata:
    """The metadata blocks of a file.

    Args:
        name: "HEIC" or "AVIF".
    """
    store = None
    items: list[tuple[bytes, bytes]] = []
    has_items = False
    for kind, start, end in _boxes(data, 0, len(data)):
        if kind == b"meta" and not has_items:
            has_items = True
            items = _items(data, start + _FULL, end)
        elif kind == b"uuid" and store is None and data[start : start + 16] == _C2PA:
            store = _manifest(data[start + 16 : end])
    exif = tuple(value[4 + int.from_bytes(value[:4], "big") :] for kind, value in items if kind == b"Exif")
    xmp = tuple(value for kind, value in items if kind == b"mime")
    return Metadata(name, exif, xmp, c2pa=store)


def _boxes(data: bytes, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Type, begin and end of the content of each box; ends at the first that is damaged."""
    for _ in range(_MOST_BOXES):
        if at + 8 > end:
            return
        size, kind, head = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8], 8
        if size == 1:
            size, head = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        elif size == 0:
            size = end - at
        if size < head or at + size > end:
            return
        yield kind, at + head, at + size
        at += size


def _manifest(body: bytes) -> bytes | None:
    """The store in a C2PA box: version and flags, purpose, offset of the first auxiliary box, store."""
    purpose, separator, rest = body[_FULL:].partition(b"\0")
    return rest[8:] if separator and purpose in (b"manifest", b"original", b"update") else None


def _items(data: bytes, at: int, end: int) -> list[tuple[bytes, bytes]]:
    """Type and content of the metadata items of a meta box."""
    boxes: dict[bytes, tuple[int, int]] = {}
    for kind, start, stop in _boxes(data, at, end):
        boxes.setdefault(kind, (start, stop))
    if b"iinf" not in boxes or b"iloc" not in boxes:
        return []
    wanted = dict(islice(_metadata_items(data, *boxes[b"iinf"]), _MOST_METADATA))
    if not wanted:
        return []
    inner, inner_end = boxes.get(b"idat", (0, 0))
    found = []
    for number, method, extents in _locations(data, *boxes[b"iloc"]):
        if number not in wanted or method > 1 or sum(length for _, length in extents) > _MOST_BYTES:
            continue
        base, limit = (inner, inner_end) if method else (0, len(data))
        if all(base + offset + length <= limit for offset, length in extents):
            parts = (data[base + offset : base + offset + length] for offset, length in extents)
            found.append((wanted.pop(number), b"".join(parts)))
    return found


def _metadata_items(data: bytes, at: int, end: int) -> Iterator[tuple[int, bytes]]:
    """Numbers and types of items of EXIF and XMP, by an item information box."""
    at += _FULL + (2 if data[at : at + 1] == b"\0" else 4)
    for kind, start, stop in _boxes(data, at, end):
        version = data[start] if stop > start else 0
        if kind != b"infe" or version not in (2, 3):
            continue
        width = 2 if version == 2 else 4
        at_type = start + _FULL + width + 2
        number, name = int.from_bytes(data[start + _FULL : start + _FULL + width], "big"), data[at_type : at_type + 4]
        if name == b"Exif":
            yield number, name
        elif name == b"mime":
            parts = data[at_type + 4 : min(stop, at_type + 4 + 512)].split(b"\0")  # the item's name, its type, encoding
            if parts[1:2] == [_XMP_TYPE] and parts[2:3] in ([], [b""]):
                yield number, name


def _locations(data: bytes, at: int, end: int) -> Iterator[tuple[int, int, list[tuple[int, int]]]]:
    """Number, construction method, and extents (offset, length) of each item of an item location box."""
    reader = _Numbers(data, at, end)
    version = reader.next(1)
    reader.next(3)
    sizes = reader.next(2)
    offset_size, length_size, base_size = sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15
    index_size = sizes & 15 if version in (1, 2) else 0
    if version > 2 or not {offset_size, length_size, base_size, index_size} <= {0, 4, 8}:
        return
    count = reader.next(4 if version == 2 else 2)
    for _ in range(min(count, _MOST_ITEMS)):
        number = reader.next(4 if version == 2 else 2)
        method = reader.next(2) & 15 if version else 0
        data_reference = reader.next(2)
        base = reader.next(base_size)
        extents = []
        extent_count = reader.next(2)
        if extent_count > _MOST_EXTENTS:
            return
        for _ in range(extent_count):
            reader.next(index_size)
            offset = base + reader.next(offset_size)
            extents.append((offset, reader.next(length_size)))
        if reader.is_exhausted:
            return
        if not data_reference:
            yield number, method, extents


class _Numbers:
    """Reads big-endian numbers one after the other; zeros after the end."""

    def __init__(self, data: bytes, at: int, end: int) -> None:
        self._data, self._at, self._end = data, at, end
        self.is_exhausted = False

    def next(self, size: int) -> int:
        start = self._at
        self._at += size
        if self._at > self._end:
            self.is_exhausted = True
            return 0
        return int.from_bytes(self._data[start : self._at], "big")
