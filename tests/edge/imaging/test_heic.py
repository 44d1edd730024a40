"""HEIC photos: what is read of them, and what an installation without pillow-heif says."""

import io
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from edge.errors import UndecodableImageError
from edge.imaging import heic, preprocess
from tests.conftest import DATA, environment

pillow_heif = pytest.importorskip("pillow_heif", reason="needs pillow-heif")

from tests.data.make_heic import upright  # noqa: E402 - it needs pillow-heif, too

PHOTO = DATA / "photo.heic"
SIZE = (32, 32)


def encoded(picture: Image.Image, **options: object) -> bytes:
    file = io.BytesIO()
    pillow_heif.from_pillow(picture).save(file, **({"quality": 95} | options))
    return file.getvalue()


def flat(data: bytes) -> list[int]:
    """The colour of a uniform image."""
    got = preprocess.pixels("flat.heic", SIZE, data).astype(int)
    assert np.ptp(got, axis=(0, 1)).max() <= 2
    return list(got[0, 0])


def with_size(data: bytes, width: int, height: int) -> bytes:
    """The file with another size in its headers (`ispe`)."""
    parts = data.split(b"ispe\0\0\0\0")
    assert len(parts) > 1
    return parts[0] + b"".join(b"ispe\0\0\0\0" + struct.pack(">II", width, height) + part[8:] for part in parts[1:])


def with_image_data_of(other: bytes, data: bytes) -> bytes:
    """The file with the first item's coded data, which come first in `mdat`, replaced by another's."""

    def place(file: bytes) -> tuple[int, int, int]:
        start = file.index(b"mdat") + 4
        entry = file.index(struct.pack(">I", start))  # of `iloc`: the offset, and then the length
        return entry, start, struct.unpack(">I", file[entry + 4 : entry + 8])[0]

    _, start, length = place(other)
    entry, _, _ = place(data)
    return data[:entry] + struct.pack(">II", len(data), length) + data[entry + 8 :] + other[start : start + length]


def test_an_iphone_photo_is_turned_upright_once() -> None:
    """It is stored on its side in tiles, and says so twice; see tests/data/make_heic.py."""
    content = PHOTO.read_bytes()
    assert b"irot\x03" in content
    assert b"grid" in content
    got, size = preprocess.pixels_and_size(PHOTO, SIZE)
    assert size == (480, 640)
    expected = np.asarray(upright().resize(SIZE, Image.Resampling.BICUBIC), int)
    assert np.abs(got.astype(int) - expected).mean() < 2
    assert preprocess.upright(PHOTO, 320).size == (240, 320)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_heic_orientation_comes_from_the_image_not_from_exif(orientation: int) -> None:
    x, y = np.meshgrid(np.linspace(0, 255, 64), np.linspace(0, 255, 48))
    picture = Image.fromarray(np.stack([x, y, 255 - x], axis=-1).astype(np.uint8))
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # the transposition that a camera so held applied
    stored = picture.transpose(Image.Transpose(undo[orientation])) if orientation > 1 else picture
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    turned = encoded(stored, exif=exif.tobytes())
    assert (b"irot" in turned or b"imir" in turned) == (orientation > 1)
    untouched = encoded(picture, exif=exif)  # the encoder stores an Exif object without rotating
    assert b"irot" not in untouched
    assert exif.tobytes() in untouched
    # pillow-heif resets the orientation in EXIF, but not this one in XMP, which Pillow would apply.
    described = encoded(stored, xmp=b"<x><tiff:Orientation>%d </tiff:Orientation></x>" % orientation)
    expected = np.asarray(picture.resize((24, 16), Image.Resampling.BICUBIC), int)
    for data in (turned, untouched, described):
        got, size = preprocess.pixels_and_size("x.heic", (24, 16), data)
        assert size == (64, 48)
        assert np.abs(got.astype(int) - expected).mean() < 3


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("RGB", (200, 100, 50), (200, 100, 50)),
        ("RGBA", (0, 0, 0, 0), (255, 255, 255)),
        ("RGBA", (0, 0, 0, 128), (127, 127, 127)),
        ("LA", (0, 0), (255, 255, 255)),
        ("L", (100,), (100, 100, 100)),
        ("RGB;16", (0xC800, 0x6400, 0x3200), (200, 100, 50)),  # saved with 10 bits
        ("RGBA;16", (0, 0, 0, 0), (255, 255, 255)),
        ("L;16", (0x6400,), (100, 100, 100)),
    ],
)
def test_every_sample_format_becomes_rgb(mode: str, colour: tuple[int, ...], expected: tuple[int, ...]) -> None:
    file = io.BytesIO()
    samples = np.full((40, 40, len(colour)), colour, np.uint16 if ";" in mode else np.uint8)
    pillow_heif.encode(mode, (40, 40), samples.tobytes(), file, quality=95)
    assert np.abs(np.subtract(flat(file.getvalue()), expected)).max() <= 3


def test_the_primary_image_of_several_is_read() -> None:
    several = pillow_heif.from_pillow(Image.new("RGB", (64, 64), (20, 20, 20)))
    for grey in (200, 90):
        several.add_from_pillow(Image.new("RGB", (64, 64), (grey,) * 3))
    for primary, grey in enumerate((20, 200, 90)):
        file = io.BytesIO()
        several.save(file, primary_index=primary, quality=95)
        assert np.abs(np.subtract(flat(file.getvalue()), grey)).max() <= 3


def test_a_different_embedded_thumbnail_is_ignored() -> None:
    bright, dark = (encoded(Image.new("RGB", (512, 512), (grey,) * 3), thumbnails=[256]) for grey in (200, 40))
    assert np.abs(np.subtract(flat(with_image_data_of(dark, bright)), 40)).max() <= 3


def test_truncated_file_is_refused_at_every_length() -> None:
    whole = PHOTO.read_bytes()
    for length in [*range(12, len(whole), 97), len(whole) - 1]:
        with pytest.raises(UndecodableImageError):
            preprocess.pixels("cut.heic", SIZE, whole[:length])


def test_damaged_files_raise_only_our_errors_and_print_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    random = np.random.default_rng(1)
    reasons = []
    for whole in (PHOTO.read_bytes(), encoded(Image.new("RGBA", (48, 40), (9, 90, 200, 99)), thumbnails=[16])):
        for _ in range(150):
            damaged = bytearray(whole)
            for place in random.integers(0, len(damaged), 8):
                damaged[place] = random.integers(0, 256)
            try:
                assert preprocess.pixels("damaged.heic", SIZE, bytes(damaged)).shape == (32, 32, 3)
            except UndecodableImageError as error:
                reasons.append(error.reason)
    assert len(reasons) > 100
    assert not [reason for reason in reasons if "\n" in reason or not reason]
    assert capfd.readouterr() == ("", "")


def test_tiles_larger_than_their_picture_count_for_the_memory_limit() -> None:
    """A grid says how large it is, and libheif decodes its tiles whole."""
    data = (DATA / "photo.heic").read_bytes()
    places = [at for at in range(len(data)) if data.startswith(b"ispe\0\0\0\0", at)]
    assert len(places) > 1
    tile = min(places, key=lambda at: struct.unpack_from(">II", data, at + 8))
    large = data[: tile + 8] + struct.pack(">II", 12_000, 12_000) + data[tile + 16 :]
    with pytest.raises(UndecodableImageError, match="would take 1728 MB to decode"):
        preprocess.pixels("x.heic", (32, 32), large)


def test_a_header_with_a_false_size_is_refused() -> None:
    honest = encoded(Image.new("RGB", (640, 480), (90, 90, 90)))
    with pytest.raises(UndecodableImageError, match="60000 x 60000 pixels would take 43200 MB to decode, more than"):
        preprocess.pixels("bomb.heic", SIZE, with_size(honest, 60_000, 60_000))
    for width, height in ((64, 64), (5000, 5000), (0, 0)):
        with pytest.raises(UndecodableImageError):
            preprocess.pixels("lie.heic", SIZE, with_size(honest, width, height))


def box(*brands: bytes) -> bytes:
    return struct.pack(">I4s4sI", 16 + 4 * len(brands[1:]), b"ftyp", brands[0], 0) + b"".join(brands[1:])


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        (box(b"heic", b"mif1", b"heic"), True),
        (box(b"heix", b"mif1"), True),
        (box(b"mif1", b"mif1", b"heic"), True),
        (box(b"mif1", b"miaf"), True),  # HEVC or AV1: libheif finds out
        (box(b"hevc", b"msf1", b"iso8"), True),
        (box(b"msf1"), True),
        (box(b"avif", b"mif1", b"miaf", b"MA1B"), False),
        (box(b"avis", b"msf1"), False),
        (box(b"mif1", b"avif", b"miaf"), False),
        (box(b"isom", b"iso2", b"mp41"), False),
        (box(b"qt  "), False),
        (struct.pack(">I", 2**32 - 1) + b"ftypmif1\0\0\0\0" + b"avif" * 1000, False),
        (box(b"isom") + b"heic" * 10, False),  # bytes after the box do not count
        (b"\0\0\0\x18ftyp", False),
        (b"ftypheic", False),
    ],
)
def test_heic_is_recognised_by_its_first_bytes(start: bytes, expected: bool) -> None:
    assert heic.is_heic(start) is expected
    with pytest.raises(UndecodableImageError, match="." if expected else "known format|AVIF|Truncated data"):
        preprocess.pixels("x.heic", SIZE, start)


@pytest.mark.parametrize("brand", ["msf1", "hevc"])
def test_sequence_without_image_is_refused(tmp_path: Path, brand: str) -> None:
    av = pytest.importorskip("av", reason="needs PyAV")
    with av.open(str(tmp_path / "moving.heic"), "w", format="mp4", options={"brand": brand}) as file:
        stream = file.add_stream("libx265", rate=10, width=64, height=64, options={"x265-params": "log-level=none"})
        for grey in (10, 100, 200):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((64, 64, 3), grey, np.uint8), format="rgb24")))
        file.mux(stream.encode())
    with pytest.raises(UndecodableImageError):
        preprocess.pixels(tmp_path / "moving.heic", SIZE)


@pytest.mark.parametrize(
    ("mode", "chroma"),
    [("RGB", 422), ("RGB", 444), ("RGBA", 422), ("L", 420), ("RGB;16", 422), ("RGBA;16", 422), ("L;16", 420)],
)
def test_the_largest_accepted_photo_stays_within_the_memory_limit(tmp_path: Path, mode: str, chroma: int) -> None:
    """On its side and of an odd width: turning and cropping take some of it."""
    channels, kind = len(mode.split(";")[0]), np.uint16 if ";" in mode else np.uint8

    def write(side: int) -> Image.Image:
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = 6
        options = {"chroma": chroma, "exif": exif.tobytes(), "enc_params": {"preset": "ultrafast"}}
        samples = np.full((side, side, channels), 120, kind).tobytes()
        pillow_heif.encode(mode, (side, side), samples, tmp_path / "x.heic", **options)
        return heic.opened("x.heic", (tmp_path / "x.heic").read_bytes())

    write(int((preprocess.MAX_DECODING_BYTES / heic.bytes_per_pixel(write(64))) ** 0.5) // 2 * 2 - 1)
    program = (
        "import sys, pillow_heif; from edge.imaging import preprocess\n"
        "def peak(): return int(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])\n"
        "before = peak(); preprocess.pixels(sys.argv[1], (32, 32)); print((peak() - before) * 1024)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "x.heic"], env=environment(), capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert 0 < int(done.stdout) <= preprocess.MAX_DECODING_BYTES
