"""JPEG files without an end marker: read if a browser shows them whole, refused if they are cut short."""

import io

import numpy as np
import pytest
from PIL import Image

from edge.errors import UndecodableImageError
from edge.imaging import jpeg, preprocess

SIZE = (32, 32)
KINDS = {
    "baseline": ("RGB", {}),
    "optimised": ("RGB", {"optimize": True}),
    "progressive": ("RGB", {"progressive": True}),
    "grey": ("L", {}),
    "progressive grey": ("L", {"progressive": True}),
    "CMYK": ("CMYK", {}),
    "restart markers": ("RGB", {"restart_marker_rows": 2}),
    "large": ("RGB", {"quality": 97, "subsampling": 0}),
}


def encoded(kind: str, size: tuple[int, int] = (320, 240)) -> bytes:
    mode, options = KINDS[kind]
    x, y = np.meshgrid(np.linspace(0, 255, size[0]), np.linspace(0, 255, size[1]))
    noise = np.random.default_rng(0).normal(0, 12, (size[1], size[0], 1))
    drawn = (np.stack([x, y, 255 - x], axis=-1) + noise).clip(0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(drawn).convert(mode).save(file, "JPEG", **options)
    return file.getvalue()


@pytest.mark.parametrize("kind", KINDS)
def test_picture_that_lacks_only_its_end_marker_is_read(kind: str) -> None:
    whole = encoded(kind)
    expected = preprocess.pixels("x.jpg", SIZE, whole)
    for padding in (b"", b"\xff", bytes(5000), b"\xff" + bytes(5000), b"\xff" * 600, jpeg.END + bytes(5000)):
        assert np.array_equal(preprocess.pixels("x.jpg", SIZE, whole[:-2] + padding), expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.3, 0.5, 0.9, 0.98])
def test_picture_that_is_cut_short_is_an_error(kind: str, share: float) -> None:
    whole = encoded(kind)
    length = int(len(whole) * share)
    for padding in (b"", bytes(len(whole) - length), bytes(2_000_000), b"\xff" * 600):
        with pytest.raises(UndecodableImageError, match=r"truncated|broken"):
            preprocess.pixels("x.jpg", SIZE, whole[:length] + padding)


def test_every_length_is_either_whole_or_an_error() -> None:
    """Near the end no length gives other pixels than those of the whole file."""
    for kind in ("baseline", "progressive"):
        whole = encoded(kind, (48, 32))
        expected = preprocess.pixels("x.jpg", (48, 32), whole)
        refused = 0
        for missing in range(2, 60):
            for padding in (b"", bytes(3000)):
                try:
                    got = preprocess.pixels("x.jpg", (48, 32), whole[:-missing] + padding)
                except UndecodableImageError:
                    refused += 1
                else:
                    assert np.array_equal(got, expected), (kind, missing)
        assert refused > 60


def test_file_with_an_end_marker_is_decoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jpeg, "require_whole", lambda _: pytest.fail("it was decoded more often"))
    whole = encoded("baseline")
    expected = preprocess.pixels("x.jpg", SIZE, whole)
    for trailer in (b"", b"\0" * 100, b"a film behind the photo"):
        assert np.array_equal(preprocess.pixels("x.jpg", SIZE, whole + trailer), expected)


def test_end_marker_of_an_embedded_thumbnail_is_not_that_of_the_picture() -> None:
    exif = b"Exif\0\0MM" + encoded("grey", (32, 32))
    file = io.BytesIO()
    with Image.open(io.BytesIO(encoded("baseline"))) as picture:
        picture.save(file, "JPEG", exif=exif)
    whole = file.getvalue()
    assert whole.count(jpeg.END) == 2
    assert preprocess.pixels("x.jpg", SIZE, whole[:-2]).shape == (32, 32, 3)
    with pytest.raises(UndecodableImageError, match="truncated"):
        preprocess.pixels("x.jpg", SIZE, whole[: len(whole) * 4 // 5])


@pytest.mark.parametrize("bits", [12, 16])
def test_samples_of_more_than_8_bits_are_named_as_the_reason(bits: int) -> None:
    file = io.BytesIO()
    Image.new("RGB", (32, 32), "red").save(file, "JPEG")
    data = bytearray(file.getvalue())
    data[data.index(b"\xff\xc0") + 4] = bits
    with pytest.raises(UndecodableImageError, match=f"a JPEG with samples of {bits} bits is not supported$"):
        preprocess.decoded("x.jpg", bytes(data))


@pytest.mark.parametrize("rest", [b"", b"\xc0", b"\xe0\0\0", b"\xc0\0\x0b"])
def test_jpeg_that_ends_in_its_header_is_an_error(rest: bytes) -> None:
    with pytest.raises(UndecodableImageError):
        preprocess.decoded("x.jpg", b"\xff\xd8\xff" + rest)


def test_cmyk_without_marker_of_adobe_is_read_as_with_it() -> None:
    """As ImageMagick and browsers read it: the values are inverted."""
    ink = np.zeros((32, 32, 4), np.uint8)
    ink[..., 1] = ink[..., 2] = 255
    file = io.BytesIO()
    Image.fromarray(ink, "CMYK").save(file, "JPEG", quality=95)
    data = file.getvalue()
    at = data.index(b"\xff\xee")
    length = int.from_bytes(data[at + 2 : at + 4], "big")
    assert data[at + 4 : at + 9] == b"Adobe"
    without = data[:at] + data[at + 2 + length :]
    for content in (data, without):
        assert np.abs(preprocess.pixels("x.jpg", (8, 8), content).mean(axis=(0, 1)) - (255, 0, 0)).max() < 3
