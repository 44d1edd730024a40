"""A part of a HEIC photo that consists of tiles, as a HEIC file of its own.

iPhones code a photo as a grid of tiles of 512 x 512 pixels, each by itself. pillow-heif decodes a whole grid only. Of a
file whose grid has fewer tiles, it decodes no others. Nothing of the image data is changed: the new file is the old one
with another `meta` box behind it (ISO/IEC 14496-12, section 8.11, and ISO/IEC 23008-12, section 6.6.2.3.2).

Which files are refused does not change: `edge.imaging.completeness` checks the data of all tiles, and the decoder shows
a tile whose content is damaged without an error.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from edge.imaging.completeness import Items, boxes

Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels
Size = tuple[int, int]

_MOST_TILES = 4096  # of a grid; a photo of 200 megapixels has 800
_MOST_META = 1 << 20  # bytes of a `meta` box; that of a photo of 48 tiles has 4,000
_MOST_SHARE = 0.8  # of the tiles; with more, another file is not worth its cost
_LEAST_TILE = 64  # pixels of a side, as ISO/IEC 23008-12 asks for
_MARGIN = 2  # pixels around a part, because the decoder may interpolate chroma of half the size
_TURNING, _CHANGING = b"irot", (b"imir", b"clap")  # properties that turn an image, and those that are not followed here


@dataclass(frozen=True)
class Part:
    """A part of a photo.

    Attributes:
        data: a HEIC file.
        left, top: of the part in the upright photo, pixels.
        size: (width, height) of the part, upright.
    """

    data: bytes
    left: int
    top: int
    size: Size


@dataclass
class _Meta:
    """What a `meta` box says of its items.

    Attributes:
        at: position of the box's type in the file.
        handler: content of `hdlr`.
        entries: content of `infe` of each item.
        kinds: type of each item.
        properties: type and content of all properties, of which the first has the number 1.
        of_item: numbers of each item's properties; the highest of 16 bits means that one is essential.
        inner: start and end of the content of `idat`.
    """

    at: int = 0
    items: Items = field(default_factory=Items)
    handler: bytes = b""
    entries: dict[int, bytes] = field(default_factory=dict)
    kinds: dict[int, bytes] = field(default_factory=dict)
    properties: list[tuple[bytes, bytes]] = field(default_factory=list)
    of_item: dict[int, list[int]] = field(default_factory=dict)
    inner: tuple[int, int] = (0, 0)

    def named(self, item: int) -> Iterator[tuple[bytes, bytes]]:
        """Type and content of an item's properties."""
        for number in self.of_item.get(item, ()):
            yield self.properties[(number & 0x7FFF) - 1]

    def size(self, item: int) -> Size:
        ((_, content),) = (one for one in self.named(item) if one[0] == b"ispe")
        width, height = struct.unpack_from(">II", content, 4)
        return width, height


def part(data: bytes, wanted: Box) -> Part | None:
    """The tiles that a part of the primary image needs; None if it is no simple grid, or needs most of its tiles.

    Within the wanted part, the pixels are those of the whole photo. At the edge of the tiles they may differ.

    Args:
        data: content of a HEIC file, which `edge.imaging.completeness` has accepted.
        wanted: in the upright photo.
    """
    try:
        return _part(data, wanted)
    except (struct.error, IndexError, ValueError, KeyError, ZeroDivisionError):
        return None  # an unusual structure, which is left to the decoder


def _part(data: bytes, wanted: Box) -> Part | None:
    meta = _read(data)
    grid, angle = meta.items.primary, _angle(meta, meta.items.primary)
    tiles = meta.items.parts[grid]
    whole, tile = meta.size(grid), meta.size(tiles[0])
    rows, columns = -(-whole[1] // tile[1]), -(-whole[0] // tile[0])
    if angle is None or not _is_simple(data, meta, (rows, columns), angle):
        return None
    upright = whole if angle % 2 == 0 else whole[::-1]
    if not (0 <= wanted[0] < wanted[2] <= upright[0] and 0 <= wanted[1] < wanted[3] <= upright[1]):
        return None
    left, top, right, bottom = _turned(wanted, upright, -angle % 4)
    first = max(left - _MARGIN, 0) // tile[0], max(top - _MARGIN, 0) // tile[1]
    end = min(-(-(right + _MARGIN) // tile[0]), columns), min(-(-(bottom + _MARGIN) // tile[1]), rows)
    kept = [tiles[row * columns + column] for row in range(first[1], end[1]) for column in range(first[0], end[0])]
    if len(kept) > _MOST_SHARE * len(tiles):
        return None
    stored = first[0] * tile[0], first[1] * tile[1], min(end[0] * tile[0], whole[0]), min(end[1] * tile[1], whole[1])
    shown = _turned(stored, whole, angle)
    new = _meta_box(meta, kept, (end[1] - first[1], end[0] - first[0]), (stored[2] - stored[0], stored[3] - stored[1]))
    found = b"".join((data[: meta.at], b"free", memoryview(data)[meta.at + 4 :], new))
    return Part(found, shown[0], shown[1], (shown[2] - shown[0], shown[3] - shown[1]))


def _is_simple(data: bytes, meta: _Meta, grid: tuple[int, int], angle: int) -> bool:
    """Whether the primary image is a grid of (rows, columns) of equal tiles, of which any may be left out."""
    primary = meta.items.primary
    tiles, whole = meta.items.parts[primary], meta.size(primary)
    tile = meta.size(tiles[0])
    if angle and any(edge % 2 for edge in whole):  # chroma of half the size: it is turned about another point
        return False
    return (
        meta.kinds[primary] == b"grid"
        and _grid(data, meta) == (*grid, whole)
        and 1 < len(tiles) == grid[0] * grid[1] <= _MOST_TILES
        and min(tile) >= _LEAST_TILE
        and not any(edge % 2 for edge in tile)
        and all(meta.kinds[one] == b"hvc1" and meta.size(one) == tile and meta.items.extents[one] for one in tiles)
    )


def _turned(box: Box, size: Size, angle: int) -> Box:
    """A box of an image of this size after the image was turned anticlockwise by `angle` times 90 degrees."""
    (left, top, right, bottom), (width, height) = box, size
    if angle == 0:
        return box
    if angle == 1:
        return top, width - right, bottom, width - left
    if angle == 2:
        return width - right, height - bottom, width - left, height - top
    return height - bottom, left, height - top, right


def _angle(meta: _Meta, grid: int) -> int | None:
    """How many times 90 degrees an image is turned anticlockwise; None if it is changed in another way."""
    angle = 0
    for kind, content in meta.named(grid):
        if kind in _CHANGING:
            return None
        if kind == _TURNING:
            angle += content[0] & 3
    return angle % 4


def _grid(data: bytes, meta: _Meta) -> tuple[int, int, Size]:
    """Rows, columns, and (width, height) by the grid's own data."""
    grid = meta.items.primary
    if grid in meta.items.inner_extents:
        ((start, end),) = meta.items.inner_extents[grid]
        start, end = meta.inner[0] + start, min(meta.inner[0] + end, meta.inner[1])
    else:
        ((start, end),) = meta.items.extents[grid]
    content = data[start:end]
    width, height = struct.unpack_from(">II" if content[1] & 1 else ">HH", content, 4)
    return content[2] + 1, content[3] + 1, (width, height)


def _read(data: bytes) -> _Meta:
    """The first `meta` box of a file.

    Raises:
        struct.error, IndexError, ValueError: it has an unusual structure.
    """
    meta = _Meta()
    ((start, end),) = ((start, end) for kind, start, end in boxes(data, 0, len(data)) if kind == b"meta")
    meta.at = start - 4
    if data[meta.at : start] != b"meta" or end - start > _MOST_META:
        raise ValueError
    meta.items.read(data, start + 4, end)
    for kind, at, stop in boxes(data, start + 4, end):
        if kind == b"hdlr":
            meta.handler = data[at:stop]
        elif kind == b"idat":
            meta.inner = at, stop
        elif kind == b"iinf":
            for _, one, until in boxes(data, at + (6 if data[at] == 0 else 8), stop):
                number = ">H" if data[one] == 2 else ">I"
                (item,) = struct.unpack_from(number, data, one + 4)
                kind_at = one + 4 + struct.calcsize(number) + 2
                meta.entries[item], meta.kinds[item] = data[one:until], data[kind_at : kind_at + 4]
        elif kind == b"iprp":
            for inner, one, until in boxes(data, at, stop):
                if inner == b"ipco":
                    meta.properties += [(name, data[first:last]) for name, first, last in boxes(data, one, until)]
                elif inner == b"ipma":
                    _read_associations(data[one:until], meta.of_item)
    return meta


def _read_associations(data: bytes, of_item: dict[int, list[int]]) -> None:
    """ISO/IEC 23008-12, section 9.3: the content of an `ipma` box."""
    number, is_wide = ">H" if data[0] == 0 else ">I", data[3] & 1
    (count,) = struct.unpack_from(">I", data, 4)
    at = 8
    for _ in range(count):
        (item,) = struct.unpack_from(number, data, at)
        at += struct.calcsize(number)
        found = data[at]
        at += 1
        if is_wide:
            of_item[item] = list(struct.unpack_from(f">{found}H", data, at))
        else:
            of_item[item] = [(one & 0x80) << 8 | (one & 0x7F) for one in struct.unpack_from(f"{found}B", data, at)]
        at += found * (1 + is_wide)


def _meta_box(meta: _Meta, tiles: list[int], grid: tuple[int, int], size: Size) -> bytes:
    """A `meta` box with the primary image as a grid of (rows, columns) of these tiles."""
    primary, kept = meta.items.primary, sorted({*tiles, meta.items.primary})
    properties = [*meta.properties, (b"ispe", struct.pack(">III", 0, *size))]
    entries, places = b"", b""
    for item in kept:
        numbers = meta.of_item[item]
        if item == primary:  # its size is the last property now
            numbers = [
                (one & 0x8000) | len(properties) if meta.properties[(one & 0x7FFF) - 1][0] == b"ispe" else one
                for one in numbers
            ]
        entries += struct.pack(f">IB{len(numbers)}H", item, len(numbers), *numbers)
        extents = [(0, 12)] if item == primary else meta.items.extents[item]
        places += struct.pack(">IHHH", item, item == primary, 0, len(extents))
        places += b"".join(struct.pack(">QQ", start, end - start) for start, end in extents)
    references = _box(b"dimg", struct.pack(f">IH{len(tiles)}I", primary, len(tiles), *tiles))
    names = b"".join(_box(b"infe", meta.entries[item]) for item in kept)
    associations = struct.pack(">II", 0x01000001, len(kept)) + entries
    content = (
        _box(b"hdlr", meta.handler),
        _box(b"pitm", struct.pack(">II", 0x01000000, primary)),
        _box(b"iloc", struct.pack(">IBBI", 0x02000000, 0x88, 0, len(kept)) + places),
        _box(b"iinf", struct.pack(">IH", 0, len(kept)) + names),
        _box(b"iref", struct.pack(">I", 0x01000000) + references),
        _box(b"iprp", _box(b"ipco", b"".join(_box(*one) for one in properties)) + _box(b"ipma", associations)),
        _box(b"idat", struct.pack(">BBBBII", 0, 1, grid[0] - 1, grid[1] - 1, *size)),
    )
    return _box(b"meta", bytes(4) + b"".join(content))


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content
