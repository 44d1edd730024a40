"""Interrupted copies: files that are short, and files whose end consists of zeros."""

import io
import struct

import numpy as np
import pytest
from PIL import Image, features

from edge.errors import UndecodableImageError
from edge.imaging import completeness, preprocess

SIZE = (32, 24)
PLAIN = ("BMP", "TIFF")  # zeros in them are black pixels


def picture(width: int = 320, height: int = 240, flat: float = 0.0) -> Image.Image:
    """A gradient with noise, of which this share at the bottom is black."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    noise = np.random.default_rng(0).normal(0, 8, (height, width, 3))
    drawn = (np.stack([x, y, 255 - x], axis=-1) + noise).clip(0, 255).astype(np.uint8)
    drawn[round(height * (1 - flat)) :] = 0
    return Image.fromarray(drawn)


def encoded(kind: str, drawn: Image.Image | None = None) -> bytes:
    drawn, file = drawn or picture(), io.BytesIO()
    if kind.startswith("HEIC"):
        pillow_heif = pytest.importorskip("pillow_heif")
        options = {"tile_size": 128} if "tiles" in kind else {}
        pillow_heif.from_pillow(drawn).save(file, quality=80, **options)
        return file.getvalue()
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow does not write AVIF")
    format_, _, compression = kind.partition(" ")
    options = {"compression": compression} if format_ == "TIFF" and compression else {}
    if compression == "lossless":
        options = {"lossless": True}
    drawn.convert("P" if format_ == "GIF" else "RGB").save(file, format_, **options)
    return file.getvalue()


KINDS = [
    *("JPEG", "PNG", "GIF", "BMP", "WEBP", "WEBP lossless", "HEIC", "HEIC tiles", "AVIF"),
    *("TIFF", "TIFF tiff_lzw", "TIFF tiff_adobe_deflate", "TIFF packbits", "TIFF jpeg"),
]


@pytest.mark.parametrize("kind", KINDS)
def test_whole_file_is_read_also_with_padding(kind: str) -> None:
    whole = encoded(kind)
    expected = preprocess.pixels("x", SIZE, whole)
    assert np.array_equal(preprocess.pixels("x", SIZE, whole + bytes(4096)), expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_short_file_is_an_error(kind: str, share: float) -> None:
    whole = encoded(kind)
    with pytest.raises(UndecodableImageError):
        preprocess.pixels("x", SIZE, whole[: int(len(whole) * share)])


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in PLAIN])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_compressed_file_that_ends_in_zeros_is_an_error(kind: str, share: float) -> None:
    whole = encoded(kind)
    length = int(len(whole) * share)
    with pytest.raises(UndecodableImageError):
        preprocess.pixels("x", SIZE, whole[:length] + bytes(len(whole) - length))


def moved_to_end(data: bytes) -> bytes:
    """A TIFF of one strip that Pillow wrote, with a copy of the strip at the end of the file."""
    with Image.open(io.BytesIO(data)) as opened:
        (start,), (length,) = opened.tag_v2[273], opened.tag_v2[279]
    entry = data.index(struct.pack("<HHII", 273, 4, 1, start)) + 8
    return data[:entry] + struct.pack("<I", len(data)) + data[entry + 4 :] + data[start : start + length]


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_tiff_whose_last_strip_ends_in_zeros_is_an_error(compression: str) -> None:
    """Its directory lies before the strip, so that only image data are lost."""
    file = io.BytesIO()
    picture(64, 48).save(file, "TIFF", compression=compression, tiffinfo={278: 48})
    whole = moved_to_end(file.getvalue())
    assert preprocess.pixels("x", SIZE, whole).shape == (24, 32, 3)
    for zeros in (64, 2000):
        with pytest.raises(UndecodableImageError):
            preprocess.pixels("x", SIZE, whole[:-zeros] + bytes(zeros))


@pytest.mark.parametrize("flat", [0.05, 0.5, 0.95, 1.0])
@pytest.mark.parametrize("options", [{"lossless": True}, {"quality": 10}, {"quality": 80}])
def test_webp_with_a_large_area_of_one_colour_is_read(flat: float, options: dict[str, object]) -> None:
    """libwebp's fastest method writes such an area as zeros."""
    file = io.BytesIO()
    picture(640, 480, flat).save(file, "WEBP", method=0, **options)
    assert preprocess.pixels("x", SIZE, file.getvalue()).shape == (24, 32, 3)


def test_webp_of_noise_and_one_colour_ends_in_zeros_and_is_read() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    noise[144:] = 0
    ends = set()
    for options in ({"lossless": True}, {"quality": 10}):
        file = io.BytesIO()
        Image.fromarray(noise).save(file, "WEBP", method=0, **options)
        preprocess.pixels("x", SIZE, file.getvalue())
        ends.add(any(file.getvalue()[-64:]))
    assert False in ends, "none of them shows anything"


def test_animated_webp_is_judged_by_its_first_frame() -> None:
    file = io.BytesIO()
    picture().save(file, "WEBP", save_all=True, append_images=[picture(flat=0.5)], lossless=True)
    whole = file.getvalue()
    assert preprocess.pixels("x", SIZE, whole).shape == (24, 32, 3)
    start = whole.index(b"VP8L")
    half = start + (struct.unpack_from("<I", whole, start + 4)[0]) // 2
    with pytest.raises(UndecodableImageError):
        preprocess.pixels("x", SIZE, whole[:half] + bytes(len(whole) - half))


@pytest.mark.parametrize("kind", ["HEIC", "HEIC tiles", "AVIF"])
def test_metadata_behind_the_pixels_may_be_lost(kind: str) -> None:
    """Zeros behind the image data, and boxes of any content there, are none of the picture."""
    whole = encoded(kind)
    box = struct.pack(">I4s", 5000, b"free") + bytes(4992)
    for more in (box, box[:100], b"\0\0\0\1mdat", struct.pack(">I4sQ", 1, b"mdat", 1 << 60)):
        assert preprocess.pixels("x", SIZE, whole + more).shape == (24, 32, 3)


def test_hostile_item_locations_cost_no_time() -> None:
    """Each of a million items has 65535 extents of no bytes."""
    places = struct.pack(">IBBI", 2 << 24, 0, 0, 1_000_000) + struct.pack(">IHHH", 1, 0, 0, 65535) * 1_000_000
    iloc = struct.pack(">I4s", 8 + len(places), b"iloc") + places
    meta = struct.pack(">I4sI", 12 + len(iloc), b"meta", 0) + iloc
    completeness.require_heif(struct.pack(">I4s4sI", 16, b"ftyp", b"heic", 0) + meta)
