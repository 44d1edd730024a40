"""TIFF structures: a file, or the EXIF data of another format. Only the first directory and its EXIF directory count.

Sources: TIFF 6.0, section 2; BigTIFF (https://libtiff.gitlab.io/libtiff/specification/bigtiff.html); Exif 2.32, 4.6.
"""

from collections.abc import Collection
from dataclasses import dataclass
from struct import Struct

from edge.provenance import iptc
from edge.provenance.metadata import Metadata

MOST_VALUE = 1 << 20  # bytes
MOST_STORE = 1 << 25  # bytes of a C2PA store
_MOST_ENTRIES = 1024  # of a directory; real ones have less than a hundred
_XMP, _IPTC, _PHOTOSHOP, _C2PA = 700, 33723, 34377, 52545
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8, 129: 1}
_HEADERS = (b"II*\0", b"MM\0*", b"II+\0\x08\0\0\0", b"MM\0+\0\x08\0\0")


@dataclass(frozen=True)
class Entry:
    """A field of a directory, not interpreted.

    Attributes:
        kind: TIFF's number of the type.
        value: its bytes, in the structure's byte order.
    """

    kind: int
    value: bytes


class Tiff:
    """A TIFF structure.

    Attributes:
        order: "<" or ">".
        first: offset of the first directory; 0 if there is none.
    """

    def __init__(self, data: bytes) -> None:
        """Read the header.

        Raises:
            ValueError: it is not TIFF.
        """
        if not data.startswith(_HEADERS):
            raise ValueError("not a TIFF structure")
        self._data = data
        self.order = "<" if data[:1] == b"I" else ">"
        is_big = data[2:4] in (b"+\0", b"\0+")
        self._pointer = Struct(self.order + ("Q" if is_big else "I"))
        self._count = Struct(self.order + ("Q" if is_big else "H"))
        self._entry = Struct(self.order + ("HHQ" if is_big else "HHI"))
        at = 8 if is_big else 4
        self.first = self._pointer.unpack_from(data, at)[0] if len(data) >= at + self._pointer.size else 0

    def entries(self, at: int, wanted: Collection[int]) -> dict[int, Entry]:
        """The wanted fields of a directory; those that are damaged or too large are left out.

        Args:
            at: its offset.
            wanted: tags.
        """
        data, inline, pointer = self._data, self._pointer.size, self._pointer.unpack_from
        found: dict[int, Entry] = {}
        if not 0 < at <= len(data) - self._count.size:
            return found
        count = min(self._count.unpack_from(data, at)[0], _MOST_ENTRIES)
        at += self._count.size
        size = self._entry.size + inline
        for position in range(at, min(at + count * size, len(data) - size + 1), size):
            tag, kind, values = self._entry.unpack_from(data, position)
            if tag not in wanted or tag in found:
                continue
            length = _SIZES.get(kind, 0) * values
            start = position + self._entry.size
            if length > inline:
                start = pointer(data, start)[0]
            most = MOST_STORE if tag == _C2PA else MOST_VALUE
            if 0 < length <= most and start + length <= len(data):
                found[tag] = Entry(kind, data[start : start + length])
        return found

    def number(self, entry: Entry | None) -> int | float | None:
        """The first number of a field; None if it has none."""
        if entry is None:
            return None
        code = {1: "B", 3: "H", 4: "I", 5: "II", 9: "i", 10: "ii", 11: "f", 12: "d", 13: "I", 16: "Q", 18: "Q"}.get(
            entry.kind
        )
        if code is None:
            return None
        numbers: tuple[int | float, ...] = Struct(self.order + code).unpack_from(entry.value)
        if len(numbers) == 1:
            return numbers[0]
        return numbers[0] / numbers[1] if numbers[1] else None


def metadata(data: bytes) -> Metadata:
    """The metadata blocks of a TIFF file."""
    try:
        tiff = Tiff(data)
    except ValueError:
        return Metadata("TIFF")
    found = {tag: entry.value for tag, entry in tiff.entries(tiff.first, (_XMP, _IPTC, _PHOTOSHOP, _C2PA)).items()}
    records = [found[_IPTC]] if _IPTC in found else list(iptc.from_resources(found.get(_PHOTOSHOP, b"")))
    return Metadata("TIFF", (data,), (found[_XMP],) if _XMP in found else (), tuple(records), (), found.get(_C2PA))
