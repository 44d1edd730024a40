"""JUMBF (ISO/IEC 19566-5): the nested boxes of a C2PA manifest store, read within limits and without copies."""

from collections.abc import Iterator
from dataclasses import dataclass

MAX_BYTES = 10_000_000  # of a manifest store; thumbnails take most of it
MAX_BOXES = 4_000
MAX_DEPTH = 8  # C2PA nests four deep: store, manifest, assertion store, assertion
MAX_LABEL_BYTES = 1_000

_SUPERBOX, _DESCRIPTION = b"jumb", b"jumd"
_ISO_SUFFIX = bytes.fromhex("00110010800000AA00389B71")  # of types that have a name of four letters
_HAS_LABEL = 0x02


class JumbfError(ValueError):
    """The data are not JUMBF, or exceed a limit."""


@dataclass(frozen=True)
class Superbox:
    """A box that holds others.

    Attributes:
        type: four letters such as b"c2ma", or the 16 bytes of another UUID.
        label: its name among its neighbours; empty if it has none.
        contents: (type, content) of the boxes in it that are not superboxes, without the description.
        children: the superboxes in it.
    """

    type: bytes
    label: str
    contents: tuple[tuple[bytes, memoryview], ...]
    children: tuple["Superbox", ...]

    def content(self, kind: bytes) -> bytes | None:
        """The content of the first box of a type, copied; None if there is none."""
        return next((bytes(content) for found, content in self.contents if found == kind), None)


def read(data: bytes) -> Superbox:
    """The superbox with which the data begin; what follows it is ignored.

    Raises:
        JumbfError: the data are damaged or cut short, or exceed MAX_BYTES, MAX_BOXES, MAX_DEPTH or MAX_LABEL_BYTES.
    """
    if len(data) > MAX_BYTES:
        raise JumbfError(f"{len(data)} bytes, more than the limit of {MAX_BYTES}")
    kind, content = next(_boxes(memoryview(data)), (b"", memoryview(b"")))
    if kind != _SUPERBOX:
        raise JumbfError("not a JUMBF superbox")
    return _Reader().superbox(content, 1)


class _Reader:
    """Counts the boxes of one store."""

    def __init__(self) -> None:
        self._boxes = 0

    def superbox(self, content: memoryview, depth: int) -> Superbox:
        if depth > MAX_DEPTH:
            raise JumbfError("boxes are nested too deeply")
        boxes = _boxes(content)
        kind, description = next(boxes, (b"", memoryview(b"")))
        if kind != _DESCRIPTION:
            raise JumbfError("a superbox without a description")
        contents, children = [], []
        for kind, inner in boxes:
            self._boxes += 1
            if self._boxes > MAX_BOXES:
                raise JumbfError("too many boxes")
            if kind == _SUPERBOX:
                children.append(self.superbox(inner, depth + 1))
            else:
                contents.append((kind, inner))
        return Superbox(*_description(description), tuple(contents), tuple(children))


def _boxes(data: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """(type, content) of the boxes that follow each other in the data.

    Raises:
        JumbfError: a box is shorter than its header, or longer than the data.
    """
    at = 0
    while at < len(data):
        header = 8
        length = int.from_bytes(data[at : at + 4], "big")
        kind = bytes(data[at + 4 : at + 8])
        if length == 1:  # the length is in the XLBox
            header = 16
            length = int.from_bytes(data[at + 8 : at + 16], "big")
        elif length == 0:  # up to the end
            length = len(data) - at
        if length < header or at + length > len(data):
            raise JumbfError("a box has an invalid length")
        yield kind, data[at + header : at + length]
        at += length


def _description(content: memoryview) -> tuple[bytes, str]:
    """The type and the label of a superbox."""
    if len(content) < 17:
        raise JumbfError("a description is cut short")
    uuid, toggles = bytes(content[:16]), content[16]
    kind = uuid[:4] if uuid[4:] == _ISO_SUFFIX else uuid
    if not toggles & _HAS_LABEL:
        return kind, ""
    label, zero, _ = bytes(content[17 : 18 + MAX_LABEL_BYTES]).partition(b"\0")
    if not zero:
        raise JumbfError("a label is too long, or has no end")
    try:
        return kind, label.decode()
    except UnicodeDecodeError as error:
        raise JumbfError("a label is not UTF-8") from error
