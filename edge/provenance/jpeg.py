"""The metadata segments of a JPEG file, up to its first scan.

Sources: ITU-T T.81, annex B; Exif 2.32, 4.5.4; XMP specification part 3, 1.1.3 (extended XMP); C2PA 2.1, A.3.1, and
ISO/IEC 19566-5, annex D (JUMBF in APP11).
"""

from edge.provenance.metadata import Metadata

_MOST_SEGMENTS = 4096
_MOST_EXIF = 1 << 20  # bytes in several segments
_MOST_COMMENTS = 16
_MOST_EXTENDED = 1 << 22  # bytes of extended XMP
_SCAN, _END_OF_IMAGE, _APP1, _APP11, _APP13, _COMMENT = 0xDA, 0xD9, 0xE1, 0xEB, 0xED, 0xFE
_BARE = frozenset((0x01, *range(0xD0, 0xD9)))  # markers without a length
_WANTED = frozenset((_APP1, _APP11, _APP13, _COMMENT))
_EXIF, _XMP, _PHOTOSHOP = b"Exif\0", b"http://ns.adobe.com/xap/1.0/\0", b"Photoshop 3.0\0"
_EXTENDED = b"http://ns.adobe.com/xmp/extension/\0"
_GUID_BYTES = 32
_C2PA = b"c2pa"  # begins the type of a C2PA manifest store
_NOTHING = Metadata("JPEG")
_LABELLED = b"parameters\0"  # how stable-diffusion.cpp begins a comment


def metadata(data: bytes) -> Metadata:
    """The metadata blocks of a file that begins with a start-of-image marker."""
    found: list[tuple[int, bytes]] = []
    at, size = 2, len(data)
    for _ in range(_MOST_SEGMENTS):
        if at + 4 > size or data[at] != 0xFF:
            break
        code = data[at + 1]
        if code in (_SCAN, _END_OF_IMAGE):
            break
        if code == 0xFF:  # padding
            at += 1
            continue
        if code in _BARE:
            at += 2
            continue
        end = at + 2 + (data[at + 2] << 8 | data[at + 3])
        if end < at + 4 or end > size:
            break
        if code in _WANTED:
            found.append((code, data[at + 4 : end]))
        at = end
    return _sorted(found) if found else _NOTHING


def _sorted(segments: list[tuple[int, bytes]]) -> Metadata:
    exif: list[bytes] = []
    xmp: list[bytes] = []
    extended: list[bytes] = []
    photoshop: list[bytes] = []
    jumbf: list[bytes] = []
    texts: list[tuple[str, str]] = []
    for code, body in segments:
        if code == _COMMENT:
            if len(texts) < _MOST_COMMENTS:
                texts.append(_comment(body))
        elif code == _APP11:
            jumbf.append(body)
        elif code == _APP13:
            if body.startswith(_PHOTOSHOP):
                photoshop.append(body[len(_PHOTOSHOP) :])
        elif body.startswith(_EXIF):
            block = body[len(_EXIF) + 1 :]
            if exif and not block.startswith((b"II", b"MM")):  # a continuation
                exif[-1] += block if len(exif[-1]) < _MOST_EXIF else b""
            else:
                exif.append(block)
        elif body.startswith(_XMP):
            xmp.append(body[len(_XMP) :])
        elif body.startswith(_EXTENDED):
            extended.append(body[len(_EXTENDED) :])
    if xmp and extended:
        xmp += _extended(xmp[0], extended)
    records: tuple[bytes, ...] = ()
    if photoshop:
        from edge.provenance import iptc

        records = iptc.from_resources(b"".join(photoshop))
    return Metadata("JPEG", tuple(exif), tuple(xmp), records, tuple(texts), _store(jumbf) if jumbf else None)


def _comment(body: bytes) -> tuple[str, str]:
    keyword, text = ("parameters", body[len(_LABELLED) :]) if body.startswith(_LABELLED) else ("", body)
    text = text.rstrip(b"\0")
    try:
        return keyword, text.decode("utf-8")
    except UnicodeDecodeError:
        return keyword, text.decode("latin-1")


def _extended(main: bytes, portions: list[bytes]) -> list[bytes]:
    """The extended XMP that the main packet names, if all of its portions are there."""
    from edge.provenance import xmp

    (guid, *_) = xmp.properties(main).get((xmp.NOTE, "HasExtendedXMP"), [""])
    packet, total = bytearray(), 0
    for portion in portions:
        length = int.from_bytes(portion[_GUID_BYTES : _GUID_BYTES + 4], "big")
        offset = int.from_bytes(portion[_GUID_BYTES + 4 : _GUID_BYTES + 8], "big")
        body = portion[_GUID_BYTES + 8 :]
        if portion[:_GUID_BYTES] != guid.encode("utf-8", "replace") or not 0 < length <= _MOST_EXTENDED:
            continue
        if not packet:
            packet = bytearray(length)
        if len(packet) == length and offset + len(body) <= length:
            packet[offset : offset + len(body)] = body
            total += len(body)
    return [bytes(packet)] if packet and total == len(packet) else []


def _store(segments: list[bytes]) -> bytes | None:
    """The first C2PA manifest store: a box cut into segments, each with the number of the box and its own number."""
    parts: dict[bytes, list[tuple[int, bytes]]] = {}
    for body in segments:
        if len(body) > 16 and body[:2] == b"JP" and body[12:16] == b"jumb":
            parts.setdefault(body[2:4], []).append((int.from_bytes(body[4:8], "big"), body[8:]))
    for numbered in parts.values():
        numbered.sort(key=lambda part: part[0])
        first = numbered[0][1]
        head = 16 if first[:4] == b"\0\0\0\1" else 8  # length and type of the box, repeated in each segment
        if first[head + 4 : head + 8] != b"jumd" or first[head + 8 : head + 12] != _C2PA:
            continue
        numbers = [number for number, _ in numbered]
        if numbers != list(range(numbers[0], numbers[0] + len(numbers))):
            return None
        store = b"".join((first, *(part[head:] for _, part in numbered[1:])))
        length = int.from_bytes(first[8:16] if head == 16 else first[:4], "big")
        return store[:length] if length >= head else store
    return None
