"""EXIF fields: texts, comments in each character code, numbers, and damaged directories."""

import struct

import pytest
from PIL.TiffImagePlugin import IFDRational

from edge.provenance import exif
from edge.provenance.tiff import MOST_VALUE, Tiff
from tests.support.metadata import exif_of, unicode_comment

COMMENT = 0x9286


def comment(value: object, order: str = "<") -> object:
    data = exif_of({}, {COMMENT: value}, order)
    assert data.startswith(b"II" if order == "<" else b"MM")
    return exif.fields(data).get("UserComment")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"ASCII\0\0\0plain", "plain"),
        (b"ASCII\0\0\0" + "naïve".encode(), "naïve"),
        (b"\0" * 8 + b"no code", "no code"),
        (b"without a code", "without a code"),
        (b"JIS\0\0\0\0\0" + "日本".encode("iso2022_jp"), "日本"),
        (unicode_comment("Zürich, 東京", ">"), "Zürich, 東京"),
        (unicode_comment("Zürich, 東京", "<"), "Zürich, 東京"),
        (b"UNICODE\0\xff\xfe" + "bom".encode("utf-16-le"), "bom"),
        (b"UNICODE\0\xfe\xff" + "bom".encode("utf-16-be"), "bom"),
        (b"UNICODE\0" + "odd".encode("utf-16-le") + b"x", "odd"),
        (b"ASCII\0\0\0\xff\xfe", "ÿþ"),
        (b"ASCII\0\0\0", None),
        (b"UNICODE\0", None),
        (b"\0\0", None),
    ],
)
@pytest.mark.parametrize("order", ["<", ">"])
def test_user_comment_is_decoded_by_its_code(value: bytes, text: str | None, order: str) -> None:
    assert comment(value, order) == text


@pytest.mark.parametrize(("order", "codec"), [("<", "utf-16-le"), (">", "utf-16-be")])
def test_user_comment_without_latin_letters_has_the_byte_order_of_the_structure(order: str, codec: str) -> None:
    assert comment(b"UNICODE\0" + "東京都".encode(codec), order) == "東京都"


def test_user_comment_in_the_first_directory_is_read() -> None:
    assert exif.fields(exif_of({COMMENT: "written by a program"})) == {"UserComment": "written by a program"}
    both = exif_of({COMMENT: "first"}, {COMMENT: b"ASCII\0\0\0second"})
    assert exif.fields(both)["UserComment"] == "second"


def test_numbers_are_read_and_impossible_ones_left_out() -> None:
    found = exif.fields(
        exif_of({}, {0x829A: 1 / 30, 0x829D: IFDRational(0, 1), 0x8827: 100, 0x920A: IFDRational(5, 0)})
    )
    assert found == {"ExposureTime": pytest.approx(1 / 30), "ISO": 100}


def test_maker_note_counts_only_as_a_short_text() -> None:
    assert exif.fields(exif_of({0x927C: "fooocus"}))["MakerNote"] == "fooocus"
    assert "MakerNote" not in exif.fields(exif_of({}, {0x927C: b"Nikon\0\2\x10\0\0MM\0*"}))
    assert "MakerNote" not in exif.fields(exif_of({}, {0x927C: b"a" * 100}))


def test_texts_end_at_the_first_zero_and_are_latin_1_if_not_utf_8() -> None:
    assert exif.fields(exif_of({0x0131: "name\0hidden"}))["Software"] == "name"
    data = exif_of({0x0131: "caf_ 1"}).replace(b"caf_", b"caf\xe9")
    assert exif.fields(data)["Software"] == "café 1"


@pytest.mark.parametrize(
    "data", [b"", b"II*\0", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\1", b"II+\0\x08\0\0\0", b"XX*\0\0\0\0\0"]
)
def test_damaged_structures_give_nothing(data: bytes) -> None:
    assert exif.fields(data) == {}


def test_directory_that_points_to_itself_ends() -> None:
    head = b"II*\0" + struct.pack("<IHHHIII", 8, 1, 0x8769, 4, 1, 8, 0)
    assert exif.fields(head) == {}


def test_directory_with_too_many_entries_and_too_large_values_is_bounded() -> None:
    entries = b"".join(struct.pack("<HHII", 0x1000, 2, 1, 0) for _ in range(5000))
    last = struct.pack("<HHI", 0x0131, 2, 4) + b"GIM\0"
    data = b"II*\0" + struct.pack("<IH", 8, 5001) + entries + last
    assert exif.fields(data) == {}
    large = b"II*\0" + struct.pack("<IHHHIII", 8, 1, 0x0131, 2, MOST_VALUE + 1, 26, 0) + b"a" * (MOST_VALUE + 1)
    assert exif.fields(large) == {}


def test_value_that_ends_after_the_file_is_left_out() -> None:
    data = b"II*\0" + struct.pack("<IHHHIIHHI4sI", 8, 2, 0x010F, 2, 99, 1000, 0x0110, 2, 3, b"X1\0\0", 0)
    assert exif.fields(data) == {"Model": "X1"}


def test_not_a_tiff_structure_is_an_error() -> None:
    with pytest.raises(ValueError, match="not a TIFF structure"):
        Tiff(b"II*")
