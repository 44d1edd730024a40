"""IPTC's information interchange model (IIM 4.2), as Photoshop stores it. Section 1.5 has the format of a dataset."""

_RESOURCE_SIGNATURES = (b"8BIM", b"PHUT", b"AgHg", b"DCSR", b"MeSa")
_IIM_RESOURCE = 0x0404
_MOST_RESOURCES = 512
_MOST_DATASETS = 1024
_MOST_BYTES = 1 << 16  # of a dataset
_MARKER = 0x1C
_UTF8 = b"\x1b%G"  # dataset 1:90
_NAMES = {
    65: "OriginatingProgram",
    70: "ProgramVersion",
    80: "By-line",
    110: "Credit",
    115: "Source",
    116: "CopyrightNotice",
    120: "Caption-Abstract",
}


def from_resources(data: bytes) -> tuple[bytes, ...]:
    """The IIM records in image resource blocks of Photoshop; empty if there are none.

    Source: Adobe Photoshop File Formats Specification, "Image Resource Blocks".
    """
    found, at = [], 0
    for _ in range(_MOST_RESOURCES):
        if data[at : at + 4] not in _RESOURCE_SIGNATURES or at + 12 > len(data):
            break
        number = int.from_bytes(data[at + 4 : at + 6], "big")
        at += 6 + (data[at + 6] + 2 & ~1)  # the name and its length, padded to an even number
        size = int.from_bytes(data[at : at + 4], "big")
        if at + 4 + size > len(data):
            break
        if number == _IIM_RESOURCE:
            found.append(data[at + 4 : at + 4 + size])
        at += 4 + (size + 1 & ~1)
    return tuple(found)


def fields(data: bytes) -> dict[str, str]:
    """The known datasets of a record, by their names in exiftool; the first of each."""
    found: dict[str, bytes] = {}
    encoding, at = "", 0
    for _ in range(_MOST_DATASETS):
        if at + 5 > len(data) or data[at] != _MARKER:
            break
        record, dataset = data[at + 1], data[at + 2]
        size = int.from_bytes(data[at + 3 : at + 5], "big")
        if size & 0x8000 or at + 5 + size > len(data):  # larger than any known dataset may be, or cut off
            break
        value = data[at + 5 : at + 5 + size]
        if (record, dataset) == (1, 90) and value == _UTF8:
            encoding = "utf-8"
        elif record == 2 and (name := _NAMES.get(dataset)) and len(value) <= _MOST_BYTES:
            found.setdefault(name, value)
        at += 5 + size
    texts = {name: _decoded(value, encoding).strip() for name, value in found.items()}
    return {name: text for name, text in texts.items() if text}


def _decoded(value: bytes, encoding: str) -> str:
    value = value.rstrip(b"\0")
    try:
        return value.decode(encoding or "utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")
