"""JUMBF boxes and CBOR items of hostile files: what is read, and which limits hold."""

import math
import struct
from typing import Any

import pytest

from edge.provenance import cbor, jumbf
from edge.provenance.cbor import CborError, Decoder
from edge.provenance.jumbf import JumbfError
from tests.support import jumbf_writer as writer


def test_nested_superboxes_are_read_with_type_label_and_content() -> None:
    inner = writer.superbox(b"c2ma", "urn:inner", writer.box(b"json", b"{}"), writer.box(b"cbor", b"\xa0"))
    root = jumbf.read(writer.superbox(b"c2pa", "c2pa", inner))
    assert (root.type, root.label, root.contents) == (b"c2pa", "c2pa", ())
    (child,) = root.children
    assert (child.type, child.label, child.children) == (b"c2ma", "urn:inner", ())
    assert (child.content(b"json"), child.content(b"cbor"), child.content(b"uuid")) == (b"{}", b"\xa0", None)


def test_length_in_the_xlbox_is_read() -> None:
    inner = writer.superbox(b"c2ma", "inner", writer.box(b"cbor", b"\xa0", extended=True), extended=True)
    root = jumbf.read(writer.superbox(b"c2pa", "c2pa", inner, extended=True))
    assert root.children[0].content(b"cbor") == b"\xa0"


def test_box_of_length_zero_extends_to_the_end() -> None:
    description = writer.box(b"jumd", b"c2pa" + writer.ISO_SUFFIX + b"\0")
    root = jumbf.read(struct.pack(">I4s", 0, b"jumb") + description + struct.pack(">I4s", 0, b"cbor") + b"abc")
    assert (root.label, root.content(b"cbor")) == ("", b"abc")


def test_foreign_type_is_its_whole_uuid() -> None:
    uuid = bytes(range(16))
    root = jumbf.read(writer.box(b"jumb", writer.box(b"jumd", uuid + b"\0")))
    assert root.type == uuid


def test_bytes_after_the_superbox_are_ignored() -> None:
    assert jumbf.read(writer.superbox(b"c2pa", "c2pa") + b"\0" * 9).label == "c2pa"


def deep(levels: int) -> bytes:
    data = b""
    for _ in range(levels):
        data = writer.superbox(b"c2ma", "x", data)
    return data


def test_nesting_up_to_the_limit_is_read() -> None:
    assert jumbf.read(deep(jumbf.MAX_DEPTH)).children


GOOD = writer.superbox(b"c2pa", "c2pa", writer.superbox(b"c2ma", "inner", writer.box(b"cbor", b"\xa0")))
DESCRIPTION = writer.box(b"jumd", b"c2pa" + writer.ISO_SUFFIX + b"\x03c2pa\0")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not a JUMBF"),
        (b"\0" * 7, "invalid length"),
        (b"\xff\xd8\xff\xe0" * 10, "invalid length"),
        (GOOD[:-1], "invalid length"),
        (writer.box(b"free", b""), "not a JUMBF"),
        (writer.box(b"jumb", b""), "without a description"),
        (writer.box(b"jumb", writer.box(b"cbor", b"")), "without a description"),
        (writer.box(b"jumb", writer.box(b"jumd", b"short")), "cut short"),
        (writer.box(b"jumb", DESCRIPTION[:-1] + b"x"), "no end"),
        (writer.superbox(b"c2pa", "x" * jumbf.MAX_LABEL_BYTES + "x"), "too long"),
        (writer.box(b"jumb", DESCRIPTION[:-5] + b"\xff\xff\xff\xff\0"), "not UTF-8"),
        (writer.box(b"jumb", DESCRIPTION + struct.pack(">I4s", 7, b"cbor")), "invalid length"),
        (writer.box(b"jumb", DESCRIPTION + struct.pack(">I4s", 9, b"cbor")), "invalid length"),
        (writer.box(b"jumb", DESCRIPTION + struct.pack(">I4s", 0xFFFFFFFF, b"cbor")), "invalid length"),
        (writer.box(b"jumb", DESCRIPTION + struct.pack(">I4sQ", 1, b"cbor", 2**64 - 1)), "invalid length"),
        (writer.box(b"jumb", DESCRIPTION + struct.pack(">I4sQ", 1, b"cbor", 15)), "invalid length"),
        (deep(jumbf.MAX_DEPTH + 1), "too deeply"),
        (deep(5_000), "too deeply"),
        (writer.superbox(b"c2pa", "c2pa", writer.box(b"free", b"") * (jumbf.MAX_BOXES + 1)), "too many"),
        (b"\0" * (jumbf.MAX_BYTES + 1), "limit"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_damaged_or_excessive_boxes_are_refused(data: bytes, reason: str) -> None:
    with pytest.raises(JumbfError, match=reason):
        jumbf.read(data)


VALUES = [
    0,
    23,
    24,
    255,
    65_536,
    2**64 - 1,
    -1,
    -500,
    1.5,
    True,
    False,
    None,
    b"",
    b"\0\xff",
    "",
    "häß",
    [],
    [1, [2, ["x"]]],
    {},
    {"a": {"b": [b"c"]}, 33: [1], b"k": None},
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_cbor_values_are_decoded(value: Any) -> None:
    assert Decoder().decode(writer.cbor(value)) == value


@pytest.mark.parametrize(
    ("data", "value"),
    [
        ("9f0102ff", [1, 2]),
        ("bf6161 01ff", {"a": 1}),
        ("5f4101420203ff", b"\1\2\3"),
        ("7f61616162ff", "ab"),
        ("c074323031332d30332d32315432303a30343a30305a", "2013-03-21T20:04:00Z"),
        ("d28440a0f640", [b"", {}, None, b""]),
        ("d9d9f700", 0),
        ("f93c00", 1.0),
        ("fa47c35000", 100_000.0),
        ("f7", None),
        ("f0", None),
        ("f8ff", None),
        ("00ffff", 0),
    ],
)
def test_indefinite_lengths_tags_and_short_floats_are_decoded(data: str, value: Any) -> None:
    assert Decoder().decode(bytes.fromhex(data)) == value


def test_half_precision_infinity_is_decoded() -> None:
    assert Decoder().decode(bytes.fromhex("f97c00")) == math.inf


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("", "cut short"),
        ("18", "cut short"),
        ("62 61", "cut short"),
        ("5b ffffffffffffffff", "cut short"),
        ("9b ffffffffffffffff", "too many"),
        ("bb ffffffffffffffff", "too many"),
        ("9f 01", "cut short"),
        ("bf 01", "cut short"),
        ("bf 01 ff", "break"),
        ("a1 01 ff", "break"),
        ("81 ff", "break"),
        ("ff", "break"),
        ("c1 ff", "break"),
        ("1f", "unknown length"),
        ("df 00", "unknown length"),
        ("1c", "reserved"),
        ("fc", "reserved"),
        ("5f 01 ff", "part of a string"),
        ("5f 5f 4101 ff ff", "part of a string"),
        ("61 ff", "UTF-8"),
        ("a2 6161 01 6161 02", "twice"),
        ("a1 80 01", "key"),
        ("a1 f5 01", "key"),
        ("a1 f93c00 01", "key"),
    ],
)
def test_damaged_cbor_is_refused(data: str, reason: str) -> None:
    with pytest.raises(CborError, match=reason):
        Decoder().decode(bytes.fromhex(data))


@pytest.mark.parametrize("opening", [b"\x81", b"\x9f", b"\xa1\x00", b"\xbf\x00", b"\xc1"], ids=bytes.hex)
def test_deeply_nested_cbor_is_refused(opening: bytes) -> None:
    assert Decoder().decode(opening * 10 + b"\x00" + b"\xff" * 10) is not None
    with pytest.raises(CborError, match="too deeply"):
        Decoder().decode(opening * 100_000)


def test_items_are_counted_over_all_calls() -> None:
    decoder = Decoder(items=cbor.MAX_ITEMS)
    with pytest.raises(CborError, match="too many"):
        decoder.decode(b"\x9f" + b"\x00" * cbor.MAX_ITEMS + b"\xff")
    decoder = Decoder(items=10)
    assert decoder.decode(bytes.fromhex("8400010203")) == [0, 1, 2, 3]
    with pytest.raises(CborError, match="too many"):
        decoder.decode(bytes.fromhex("86000102030405"))


def test_parts_of_a_string_count_as_items() -> None:
    with pytest.raises(CborError, match="part of a string"):
        Decoder(items=100).decode(b"\x5f" + b"\x40" * 1_000 + b"\xff")
