"""The metadata chunks of a PNG file, up to IEND. Chunks with a wrong checksum are ignored.

Sources: PNG specification, third edition, 5 and 11.3; C2PA 2.1, A.3.2 (caBX).
"""

import struct
import zlib

from edge.provenance.metadata import Metadata

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MOST_TEXT = 1 << 20  # bytes of a text, inflated
_MOST_TEXTS = 1 << 22  # bytes of all texts
_MOST_STORE = 1 << 25  # bytes of a C2PA store
_MOST_CHUNKS = 1 << 16
_HEAD = struct.Struct(">I4s")  # of a chunk: length, type
_WANTED = frozenset((b"tEXt", b"zTXt", b"iTXt", b"eXIf", b"caBX", b"comf"))  # the last is ComfyUI's, in animations
_XMP = "XML:com.adobe.xmp"
_RAW = "Raw profile type "  # of ImageMagick: hexadecimal digits
_APP1 = ((b"Exif\0\0", "exif"), (b"http://ns.adobe.com/xap/1.0/\0", "xmp"))


def metadata(data: bytes) -> Metadata:
    """The metadata blocks of a file that begins with SIGNATURE."""
    chunks: list[tuple[bytes, bytes]] = []
    at, size, unpack = 8, len(data), _HEAD.unpack_from
    for _ in range(_MOST_CHUNKS):
        if at + 12 > size:
            break
        length, kind = unpack(data, at)
        end = at + 8 + length
        if end + 4 > size or kind == b"IEND":
            break
        if kind in _WANTED and length <= (_MOST_STORE if kind == b"caBX" else MOST_TEXT):
            body = data[at + 8 : end]
            if zlib.crc32(body, zlib.crc32(kind)) == int.from_bytes(data[end : end + 4], "big"):
                chunks.append((kind, body))
        at = end + 4
    return _sorted(chunks) if chunks else Metadata("PNG")


def _sorted(chunks: list[tuple[bytes, bytes]]) -> Metadata:
    exif: list[bytes] = []
    xmp: list[bytes] = []
    records: list[bytes] = []
    texts: list[tuple[str, str]] = []
    store, left = None, _MOST_TEXTS
    for kind, body in chunks:
        if kind == b"eXIf":
            exif.append(body.removeprefix(b"Exif\0\0"))
        elif kind == b"caBX":
            store = body if store is None else store
        elif text := _text(kind, body, min(left, MOST_TEXT)):
            keyword, value = text
            left -= len(value) if value is not None else MOST_TEXT
            if value is None:
                continue
            if keyword == _XMP:
                xmp.append(value)
            elif keyword.startswith(_RAW):
                _add_profile(keyword.removeprefix(_RAW), value, exif, xmp, records)
            else:
                texts.append((keyword, _decoded(value)))
    return Metadata("PNG", tuple(exif), tuple(xmp), tuple(records), tuple(texts), store)


def _text(kind: bytes, body: bytes, most: int) -> tuple[str, bytes | None] | None:
    """Keyword and text of a chunk, without the text if it is too large; None if the chunk is damaged."""
    keyword, separator, value = body.partition(b"\0")
    is_compressed = kind == b"zTXt"
    if kind == b"iTXt" and separator:
        is_compressed, method = value[:1] == b"\1", value[1:2]
        _language, _, rest = value[2:].partition(b"\0")
        _translated, separator, value = rest.partition(b"\0")
        value = method + value if is_compressed else value
    if not separator:
        return None
    if is_compressed:
        inflater = zlib.decompressobj()
        try:
            value, method = inflater.decompress(value[1:], max(most, 1)), value[:1]
        except zlib.error:
            return None
        if method != b"\0" or not inflater.eof:
            return keyword.decode("latin-1"), None
    return keyword.decode("latin-1"), value if len(value) <= most else None


def _decoded(value: bytes) -> str:
    """A text: tEXt is Latin-1 by the standard, but several programs store UTF-8 in it."""
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _add_profile(name: str, value: bytes, exif: list[bytes], xmp: list[bytes], records: list[bytes]) -> None:
    """Add a raw profile: a line with its name, one with its length, and lines of hexadecimal digits."""
    _, _, rest = value.lstrip().partition(b"\n")
    _, _, digits = rest.lstrip().partition(b"\n")
    try:
        profile = bytes.fromhex(digits.decode("ascii"))
    except ValueError:
        return
    name = name.lower()
    for header, kind in _APP1:
        if profile.startswith(header):
            name, profile = kind, profile.removeprefix(header)
    if name == "exif":
        exif.append(profile)
    elif name == "xmp":
        xmp.append(profile)
    elif name in ("iptc", "8bim"):
        from edge.provenance import iptc

        records += iptc.from_resources(profile) if profile[:4] == b"8BIM" else (profile,)
