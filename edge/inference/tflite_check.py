"""Check of a `.tflite` file for truncation and damage, which tflite-runtime does not make.

tflite-runtime follows the offsets of a FlatBuffer wherever they lead: a damaged
file crashes the process, or lets it read foreign memory. Here all offsets that
a runtime reads are followed first, within the bounds of the file.

Sources: the FlatBuffers binary format (flatbuffers.dev, "Internals") and
TensorFlow Lite's schema.fbs, version 3.
"""

import struct

from edge.errors import ModelError

# The fields of each table that hold offsets, by their number in the schema: a
# list of tables, a table, or a vector of scalars with its item size.
_SCHEMA: dict[str, dict[int, list[str] | str | int]] = {
    "Model": {1: ["OperatorCode"], 2: ["SubGraph"], 3: 1, 4: ["Buffer"]},
    "OperatorCode": {1: 1},
    "SubGraph": {0: ["Tensor"], 1: 4, 2: 4, 3: ["Operator"], 4: 1},
    "Tensor": {0: 4, 3: 1, 4: "QuantizationParameters"},
    "QuantizationParameters": {0: 4, 1: 4, 2: 4, 3: 8},
    "Operator": {1: 4, 2: 4, 4: "Options", 5: 1},
    "Options": {},
    "Buffer": {0: 1},
}


def require_whole(content: bytes) -> None:
    """Refuse a damaged file.

    Raises:
        ModelError: an offset leads out of the file.
    """
    try:
        _table(content, _unsigned(content, 0), "Model")
    except (struct.error, IndexError) as error:
        raise ModelError("damaged or cut short: it refers to parts that are not there") from error


def _table(content: bytes, position: int, name: str) -> None:
    (back,) = struct.unpack_from("<i", content, _within(content, position, 4))
    layout = _within(content, position - back, 4)
    layout_size, size = struct.unpack_from("<HH", content, layout)
    _within(content, layout, layout_size)
    _within(content, position, size)
    for number, kind in _SCHEMA[name].items():
        entry = 4 + 2 * number
        (offset,) = struct.unpack_from("<H", content, layout + entry) if entry < layout_size else (0,)
        if offset:
            _field(content, position + offset, kind)


def _field(content: bytes, position: int, kind: list[str] | str | int) -> None:
    target = position + _unsigned(content, position)
    if isinstance(kind, str):
        _table(content, target, kind)
        return
    count = _unsigned(content, target)
    _within(content, target + 4, count * (kind if isinstance(kind, int) else 4))
    if isinstance(kind, list):
        for item in range(target + 4, target + 4 + 4 * count, 4):
            _table(content, item + _unsigned(content, item), kind[0])


def _unsigned(content: bytes, position: int) -> int:
    (value,) = struct.unpack_from("<I", content, _within(content, position, 4))
    return int(value)


def _within(content: bytes, start: int, size: int) -> int:
    if start < 0 or start + size > len(content):
        raise IndexError(start)
    return start
