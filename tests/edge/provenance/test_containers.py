"""Metadata blocks of each container, and what lies outside of them."""

import struct

import pytest

from edge.provenance import read
from edge.provenance.containers import metadata_of
from edge.verdict import GENERATED
from tests.conftest import CIFAKE, DATA
from tests.support.metadata import (
    FORMATS,
    SOURCE_TYPE,
    chunk,
    encoded,
    exif_of,
    jumbf_segments,
    manifest_box,
    plain,
    png,
    segment,
    store,
    with_chunk,
    with_manifest_box,
    with_riff_chunk,
    with_segments,
    xmp_packet,
)

GENERATED_XMP = xmp_packet(Iptc4xmpExt_DigitalSourceType=SOURCE_TYPE + "trainedAlgorithmicMedia")
CAPTURED_XMP = xmp_packet(Iptc4xmpExt_DigitalSourceType=SOURCE_TYPE + "digitalCapture")
SETTINGS = "a house\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 5, Size: 512x512, Model: m"


def says(data: bytes) -> list[str]:
    return [item.says for item in read.parsed(data)[2]]


def with_store(name: str, box: bytes) -> bytes:
    data = plain(name)
    match name:
        case "JPEG":
            return with_segments(data, *jumbf_segments(box))
        case "PNG":
            return with_chunk(data, b"caBX", box)
        case "WEBP":
            return with_riff_chunk(data, b"C2PA", box)
        case "TIFF":
            return encoded("TIFF", tiffinfo={52545: box})
    return with_manifest_box(data, box)


@pytest.mark.parametrize("name", FORMATS)
def test_format_is_named_and_a_plain_file_has_no_metadata(name: str) -> None:
    metadata = metadata_of(plain(name))
    assert metadata is not None
    assert metadata.format == name
    assert (metadata.xmp, metadata.iptc, metadata.texts, metadata.c2pa) == ((), (), (), None)
    assert says(plain(name)) == []


@pytest.mark.parametrize(
    "data", [b"", b"\0", b"GIF89a" + bytes(50), b"BM" + bytes(60), b"\0\0\0\x18ftypisom" + bytes(16)]
)
def test_other_containers_give_nothing(data: bytes) -> None:
    assert metadata_of(data) is None
    assert read.evidence(data) == ()


@pytest.mark.parametrize("name", FORMATS)
def test_c2pa_store_is_found(name: str) -> None:
    box = store(bytes(range(256)) * 9)
    metadata = metadata_of(with_store(name, box))
    assert metadata is not None
    assert metadata.c2pa == box


@pytest.mark.parametrize("name", FORMATS)
def test_appended_bytes_change_nothing(name: str) -> None:
    """A file within the appended bytes, with metadata of its own, does not count."""
    data = encoded(name, xmp=CAPTURED_XMP)
    assert says(data) == ["captured"]
    other = png(("parameters", SETTINGS)) + with_store("JPEG", store()) + GENERATED_XMP
    for appended in (other, other * 40, b"\0" + manifest_box(store()), b"\xff" * 13):
        assert read.parsed(data + appended)[2] == read.parsed(data)[2]
        assert metadata_of(data + appended) == metadata_of(data) or name == "TIFF"  # of a TIFF, all of it is the EXIF
        assert getattr(metadata_of(data + appended), "c2pa", 0) is None


def test_texts_between_the_parts_of_a_file_do_not_count() -> None:
    jpeg = plain("JPEG")
    scan = jpeg.index(b"\xff\xda")
    hidden = segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + GENERATED_XMP)
    assert says(with_segments(jpeg, hidden)) == [GENERATED]
    assert says(jpeg[:-2] + hidden + jpeg[-2:]) == []  # within the scan
    assert says(with_segments(jpeg, segment(0xE5, hidden))) == []  # within a segment of another kind
    assert says(jpeg[:scan] + b"\0" + hidden + jpeg[scan:]) == []
    assert says(with_chunk(plain("PNG"), b"prVt", chunk(b"tEXt", b"parameters\0" + SETTINGS.encode()))) == []


def test_jpeg_segments_with_padding_and_damage_are_read_up_to_the_damage() -> None:
    jpeg = plain("JPEG")
    hidden = segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + GENERATED_XMP)
    assert says(jpeg[:2] + b"\xff\xff\xff" + hidden + jpeg[2:]) == [GENERATED]
    assert says(jpeg[:2] + hidden + b"\xff\xe5\0\1" + jpeg[2:]) == [GENERATED]
    assert says(jpeg[:2] + hidden[:-1]) == []
    assert says(jpeg[:2] + b"\xff\xe5\0\1" + hidden + jpeg[2:]) == []


def test_exif_in_several_segments_is_joined() -> None:
    block = exif_of({0x0131: "GIMP 2.10"})
    jpeg = with_segments(
        plain("JPEG"), segment(0xE1, b"Exif\0\0" + block[:20]), segment(0xE1, b"Exif\0\0" + block[20:])
    )
    assert [item.program for item in read.parsed(jpeg)[2]] == ["GIMP 2.10"]


def test_segments_of_a_c2pa_store_are_sorted_by_their_numbers() -> None:
    box = store(b"x" * 1000)
    segments = jumbf_segments(box)
    assert len(segments) > 10
    metadata = metadata_of(with_segments(plain("JPEG"), *reversed(segments)))
    assert metadata is not None
    assert metadata.c2pa == box


def test_incomplete_c2pa_store_of_a_jpeg_is_not_joined_wrongly() -> None:
    segments = jumbf_segments(store(b"x" * 1000))
    for kept in (segments[:3] + segments[4:], segments[:2] + segments[1:]):
        metadata = metadata_of(with_segments(plain("JPEG"), *kept))
        assert metadata is not None
        assert metadata.c2pa is None


def test_first_c2pa_store_counts_and_other_boxes_do_not() -> None:
    other = struct.pack(">I", 60) + b"jumb" + struct.pack(">I", 30) + b"jumd" + bytes(44)
    first, second = store(b"first"), store(b"second")
    segments = [*jumbf_segments(other, 1), *jumbf_segments(first, 2), *jumbf_segments(second, 3)]
    metadata = metadata_of(with_segments(plain("JPEG"), *segments))
    assert metadata is not None
    assert metadata.c2pa == first
    png_file = with_chunk(with_chunk(plain("PNG"), b"caBX", first), b"caBX", second)
    assert getattr(metadata_of(png_file), "c2pa", None) == first


def test_c2pa_box_of_another_purpose_is_ignored() -> None:
    box = manifest_box(store()).replace(b"manifest\0", b"merkle\0\0\0")
    metadata = metadata_of(plain("HEIC") + box)
    assert metadata is not None
    assert metadata.c2pa is None


def test_png_chunk_with_a_wrong_checksum_is_ignored() -> None:
    data = png(("parameters", SETTINGS))
    assert says(data) == [GENERATED]
    assert says(data.replace(b"Seed: 5", b"Seed: 6")) == []


def test_png_text_after_the_pixels_counts_and_after_the_end_does_not() -> None:
    data, text = plain("PNG"), chunk(b"tEXt", b"parameters\0" + SETTINGS.encode())
    assert says(data[:-12] + text + data[-12:]) == [GENERATED]
    assert says(data + text) == []


@pytest.mark.parametrize("kind", ["tEXt", "zTXt", "iTXt", "iTXt compressed"])
def test_all_kinds_of_png_text_are_read(kind: str) -> None:
    import zlib

    text = SETTINGS.replace("house", "häuschen")
    packed = zlib.compress(text.encode())
    kind, _, how = kind.partition(" ")
    body = {
        "tEXt": text.encode("latin-1"),
        "zTXt": b"\0" + packed,
        "iTXt": (b"\1\0en\0T\0" + packed) if how else b"\0\0\0\0" + text.encode(),
    }[kind]
    data = with_chunk(plain("PNG"), kind.encode(), b"parameters\0" + body)
    metadata = metadata_of(data)
    assert metadata is not None
    assert metadata.texts == (("parameters", text),)


def test_raw_profiles_of_imagemagick_are_read() -> None:
    def profile(name: str, content: bytes) -> bytes:
        digits = content.hex()
        lines = "\n".join(digits[at : at + 72] for at in range(0, len(digits), 72))
        return b"Raw profile type " + name.encode() + f"\0\n{name}\n{len(content):8}\n{lines}\n".encode()

    data = with_chunk(plain("PNG"), b"tEXt", profile("exif", b"Exif\0\0" + exif_of({0x0131: "GIMP 2.8"})))
    data = with_chunk(data, b"tEXt", profile("xmp", GENERATED_XMP))
    data = with_chunk(data, b"tEXt", profile("exif", b"\xff")[:-3] + b"xyz")
    assert says(data) == [GENERATED, "edited"]


def test_webp_chunks_beyond_the_stated_length_do_not_count() -> None:
    data = with_riff_chunk(plain("WEBP"), b"XMP ", GENERATED_XMP)
    assert says(data) == [GENERATED]
    assert says(plain("WEBP") + data[len(plain("WEBP")) :]) == []


def test_sample_files_say_what_they_said() -> None:
    thumbnails = sorted(CIFAKE.rglob("*.jpg"))
    assert len(thumbnails) > 50
    assert {read.parsed(path.read_bytes())[2] for path in thumbnails} == {()}
    photos = {
        path.name: [(e.kind, e.says) for e in read.evidence(path.read_bytes())] for path in DATA.glob("photos/*/*")
    }
    assert {name for name, found in photos.items() if ("text", GENERATED) in found} == set()
    assert len(photos) > 10
