"""Finds the JPEG pictures in a stream of bytes, by their own markers.

Cameras disagree about what stands between two pictures (boundaries, part headers, their lengths), but each picture
begins with SOI and ends with EOI (ITU T.81, annex B). Segments are skipped by their length, because a thumbnail in one
of them has an SOI and an EOI of its own.
"""

import re

MAX_BYTES = 24_000_000  # of one picture: 8K at a high quality; a longer one is dropped

_BEGIN = re.compile(rb"\xff\xd8\xff[\xc0-\xff]")
# What ends entropy-coded data: a marker that is neither a stuffed byte nor a restart, and no fill byte (B.1.1.2).
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_FILL = re.compile(rb"\xff*")
_SOI, _EOI, _SOS = 0xD8, 0xD9, 0xDA
_WITHOUT_LENGTH = (0x01, *range(0xD0, 0xD8))


class JpegScanner:
    """Collects bytes, and returns the pictures that they complete. It takes time linear in their number."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        """
        Args:
            max_bytes: greatest size of a picture; it also limits the memory.
        """
        self._max_bytes = max_bytes
        self._data = bytearray()  # from the beginning of the present picture on, if there is one
        self._position = 0  # of the next byte to look at
        self._is_in_picture = self._is_in_scan = self._has_scan = self._is_complete = False

    def feed(self, data: bytes) -> list[bytes]:
        """The pictures that end in these bytes of the stream, from SOI to EOI.

        A picture that is cut off, damaged in its markers, without pixels or too long is dropped.
        """
        self._data += data
        pictures = []
        while self._advance():
            if self._is_complete:
                pictures.append(bytes(self._data[: self._position]))
                self._drop(self._position)
        if len(self._data) > self._max_bytes:
            self._drop(len(self._data))
        return pictures

    def _advance(self) -> bool:
        """Look at the next marker; False if more bytes are needed."""
        if not self._is_in_picture:
            return self._find_beginning()
        if self._is_in_scan:
            found = _MARKER.search(self._data, self._position)
            if found is None:
                self._position = max(self._position, len(self._data) - 1)  # half a marker may be there
                return False
            self._position, self._is_in_scan = found.start(), False
        return self._read_marker()

    def _find_beginning(self) -> bool:
        found = _BEGIN.search(self._data, self._position)
        if found is None:
            self._drop(max(self._position, len(self._data) - 3))
            return False
        self._drop(found.start())
        self._is_in_picture, self._position = True, 2
        return True

    def _read_marker(self) -> bool:
        data, position = self._data, self._position
        if fill := _FILL.match(data, position):
            position = self._position = max(position, fill.end() - 1)
        if len(data) < position + 2:
            return False
        marker = data[position + 1]
        is_reserved = marker < 0xC0 and marker not in _WITHOUT_LENGTH
        is_damaged = data[position] != 0xFF or is_reserved or (marker == _EOI and not self._has_scan)
        if is_damaged or marker == _SOI:  # it was cut off, and this is the next picture
            self._drop(position)
            return True
        if marker == _EOI:
            self._is_complete, self._position = True, position + 2
            return True
        length = 0
        if marker not in _WITHOUT_LENGTH:
            if len(data) < position + 4:
                return False
            length = int.from_bytes(data[position + 2 : position + 4], "big")
        self._is_in_scan, self._position = marker == _SOS, position + 2 + length
        self._has_scan = self._has_scan or self._is_in_scan
        return True

    def _drop(self, count: int) -> None:
        """Forget the first bytes, and search for a beginning in the others."""
        del self._data[:count]
        self._position = 0
        self._is_in_picture = self._is_in_scan = self._has_scan = self._is_complete = False
