"""The metadata chunks of a WebP file, within the length that its RIFF header states.

Sources: RFC 9649, 2.7.1.5; C2PA 2.1, A.3.4 (a RIFF chunk "C2PA").
"""

import struct

from edge.provenance.metadata import Metadata

_MOST_CHUNKS = 1 << 16  # an animation has one for each frame
_HEAD = struct.Struct("<4sI")


def metadata(data: bytes) -> Metadata:
    """The metadata blocks of a file that begins with a RIFF header of type WEBP; of each kind the first is valid."""
    at, size = 12, min(len(data), 8 + int.from_bytes(data[4:8], "little"))
    found: dict[bytes, bytes] = {}
    for _ in range(_MOST_CHUNKS):
        if at + 8 > size:
            break
        kind, length = _HEAD.unpack_from(data, at)
        end = at + 8 + length
        if end > size:
            break
        if kind in (b"EXIF", b"XMP ", b"C2PA"):
            found.setdefault(kind, data[at + 8 : end])
        at = end + (length & 1)
    exif = (found[b"EXIF"].removeprefix(b"Exif\0\0"),) if b"EXIF" in found else ()
    xmp = (found[b"XMP "],) if b"XMP " in found else ()
    return Metadata("WEBP", exif, xmp, c2pa=found.get(b"C2PA"))
