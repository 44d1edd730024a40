"""EXIF: the camera, the program, and comments. Source: Exif 2.32, sections 4.6.4 to 4.6.8."""

from edge.provenance.tiff import Entry, Tiff

Value = str | int | float

_EXIF_DIRECTORY, _USER_COMMENT, _MAKER_NOTE = 0x8769, 0x9286, 0x927C
_TEXTS = {
    0x010E: "ImageDescription",
    0x010F: "Make",
    0x0110: "Model",
    0x0131: "Software",
    0x0132: "DateTime",
    0x013B: "Artist",
    0x013C: "HostComputer",
    0x8298: "Copyright",
    0x9003: "DateTimeOriginal",
    0xA433: "LensMake",
    0xA434: "LensModel",
}
_NUMBERS = {0x829A: "ExposureTime", 0x829D: "FNumber", 0x8827: "ISO", 0x920A: "FocalLength"}
_WANTED = frozenset((*_TEXTS, *_NUMBERS, _EXIF_DIRECTORY, _USER_COMMENT, _MAKER_NOTE))
_TEXT_TYPES = (1, 2, 7, 129)  # byte, ASCII, undefined, UTF-8
_MOST_NOTE = 32  # bytes of a MakerNote that is read; those of cameras are larger and not text
_CODE_BYTES = 8


def fields(data: bytes) -> dict[str, Value]:
    """The known fields of a TIFF structure: texts, and numbers (seconds, f-number, ISO speed, millimetres).

    Some generating programs write the user comment into the first directory, so it is read from both.

    Returns:
        values by their names in EXIF; empty if the structure is damaged.
    """
    try:
        tiff = Tiff(data)
    except ValueError:
        return {}
    first = tiff.entries(tiff.first, _WANTED)
    pointer = tiff.number(first.get(_EXIF_DIRECTORY))
    second = tiff.entries(pointer, _WANTED) if isinstance(pointer, int) and pointer != tiff.first else {}
    found: dict[str, Value] = {}
    for tag, entry in (*second.items(), *first.items()):  # of the user comment, that in its own directory is valid
        if name := _NUMBERS.get(tag):
            number = tiff.number(entry)
            if number is not None and 0 < number < float("inf"):
                found.setdefault(name, number)
        elif entry.kind not in _TEXT_TYPES:
            continue
        elif name := _TEXTS.get(tag):
            if text := _decoded(entry.value.partition(b"\0")[0]).strip():
                found.setdefault(name, text)
        elif tag == _USER_COMMENT:
            if text := user_comment(entry, tiff.order).strip():
                found.setdefault("UserComment", text)
        elif tag == _MAKER_NOTE and len(entry.value) <= _MOST_NOTE:
            note = entry.value.rstrip(b"\0")
            if note.isascii() and (text := note.decode("ascii").strip()).isprintable() and text:
                found.setdefault("MakerNote", text)
    return found


def user_comment(entry: Entry, order: str) -> str:
    """The text of a UserComment, decoded by the character code in its first eight bytes.

    Args:
        entry: the field.
        order: byte order of the structure, "<" or ">".
    """
    value = entry.value
    code, body = value[:_CODE_BYTES], value[_CODE_BYTES:]
    if code == b"UNICODE\0":
        return _utf16(body, order)
    if code == b"JIS\0\0\0\0\0":
        return body.rstrip(b"\0").decode("iso2022_jp", "replace")
    if code in (b"ASCII\0\0\0", bytes(_CODE_BYTES)):
        return _decoded(body.rstrip(b"\0"))
    return _decoded(value.rstrip(b"\0"))  # without a code, as several programs write it


def _utf16(body: bytes, order: str) -> str:
    """UTF-16 of either byte order: many programs do not use that of the structure, which the standard asks for."""
    body = body[: len(body) & ~1]
    if body.startswith(b"\xff\xfe"):
        order, body = "<", body[2:]
    elif body.startswith(b"\xfe\xff"):
        order, body = ">", body[2:]
    else:
        # The high bytes of Latin letters, digits and punctuation are zero.
        high, low = body[::2].count(0), body[1::2].count(0)
        if high != low:
            order = ">" if high > low else "<"
    return body.decode("utf-16-le" if order == "<" else "utf-16-be", "replace").partition("\0")[0]


def _decoded(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")
