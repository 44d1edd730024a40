"""IIM datasets and Photoshop's resource blocks; exiftool's reading of them is compared in test_exiftool."""

import struct

from edge.provenance import iptc


def dataset(record: int, number: int, value: bytes) -> bytes:
    return struct.pack(">BBBH", 0x1C, record, number, len(value)) + value


def resource(number: int, value: bytes, name: bytes = b"", signature: bytes = b"8BIM") -> bytes:
    text = bytes((len(name),)) + name
    text += b"\0" * (len(text) % 2)
    return (
        signature + struct.pack(">H", number) + text + struct.pack(">I", len(value)) + value + b"\0" * (len(value) % 2)
    )


def test_first_of_repeated_datasets_counts_and_others_are_ignored() -> None:
    data = dataset(2, 110, b"one") + dataset(2, 110, b"two") + dataset(3, 120, b"no") + dataset(2, 5, b"title")
    assert iptc.fields(data) == {"Credit": "one"}


def test_encoding_is_utf_8_if_stated_and_guessed_otherwise() -> None:
    assert iptc.fields(dataset(1, 90, b"\x1b%G") + dataset(2, 115, "Zürich".encode())) == {"Source": "Zürich"}
    assert iptc.fields(dataset(2, 115, "Zürich".encode("latin-1"))) == {"Source": "Zürich"}
    assert iptc.fields(dataset(1, 90, b"\x1b%G") + dataset(2, 115, b"\xff")) == {"Source": "ÿ"}


def test_damaged_records_are_read_up_to_the_damage() -> None:
    data = dataset(2, 110, b"one") + dataset(2, 115, b"two")
    assert iptc.fields(data[:-1]) == {"Credit": "one"}
    assert iptc.fields(data.replace(b"\x1c\2s", b"\x1d\2s")) == {"Credit": "one"}
    assert iptc.fields(dataset(2, 110, b"one") + b"\x1c\2s\x80\4\0\0\0\3two") == {"Credit": "one"}
    assert iptc.fields(b"") == {}


def test_records_are_found_among_other_resources() -> None:
    record = dataset(2, 110, b"one")
    data = resource(0x0422, b"odd", b"name") + resource(0x0404, record, b"xy", b"MeSa") + resource(0x0404, b"")
    assert iptc.from_resources(data) == (record, b"")
    assert iptc.from_resources(data[:-3]) == (record,)
    assert iptc.from_resources(b"8BIM" + bytes(4)) == ()
    assert iptc.from_resources(b"XXXX" + data) == ()
