"""Preprocessing: every kind of image becomes RGB pixels of the input size."""

import io
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from edge.errors import ImageError, UndecodableImageError, UnreadableFileError
from edge.imaging import preprocess
from tests.conftest import CIFAKE, DATA, environment

SIZE = (32, 32)


def gradient(width: int, height: int) -> np.ndarray:
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return np.stack([x, y, 255 - x], axis=-1).astype(np.uint8)


def test_an_image_of_the_right_size_is_unchanged() -> None:
    path = next((CIFAKE / "test" / "REAL").iterdir())
    with Image.open(path) as opened:
        expected = np.asarray(opened.convert("RGB"))
    assert np.array_equal(preprocess.pixels(path, SIZE), expected)


def test_resampling_is_bicubic_with_antialiasing(tmp_path: Path) -> None:
    random = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
    Image.fromarray(random).save(tmp_path / "noise.png")
    got = preprocess.pixels(tmp_path / "noise.png", (16, 12))
    assert got.shape == (12, 16, 3)
    expected = np.asarray(Image.fromarray(random).resize((16, 12), Image.Resampling.BICUBIC))
    assert np.array_equal(got, expected)
    for other in (Image.Resampling.BILINEAR, Image.Resampling.LANCZOS, Image.Resampling.BOX):
        assert not np.array_equal(got, np.asarray(Image.fromarray(random).resize((16, 12), other)))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_every_exif_orientation_comes_out_upright(tmp_path: Path, orientation: int, suffix: str) -> None:
    upright = Image.fromarray(gradient(64, 48))
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # the transposition that a camera so held applied
    stored = upright.transpose(Image.Transpose(undo[orientation])) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"turned{suffix}"
    stored.save(path, exif=exif, quality=100)
    expected = np.asarray(upright.resize((24, 16), Image.Resampling.BICUBIC), int)
    assert np.abs(preprocess.pixels(path, (24, 16)).astype(int) - expected).mean() < 3
    assert preprocess.upright(path, 32).size == (32, 24)


def test_transparency_becomes_white(tmp_path: Path) -> None:
    for mode, colour in (("RGBA", (0, 0, 0, 0)), ("LA", (0, 0))):
        Image.new(mode, (40, 40), colour).save(tmp_path / "clear.png")
        assert (preprocess.pixels(tmp_path / "clear.png", SIZE) == 255).all()
    half = Image.new("RGBA", (40, 40), (0, 0, 0, 128))
    half.save(tmp_path / "half.png")
    assert np.abs(preprocess.pixels(tmp_path / "half.png", SIZE).astype(int) - 127).max() <= 1


def test_transparent_palette_entry_and_colour_key_become_white(tmp_path: Path) -> None:
    palette = Image.new("P", (40, 40), 1)
    palette.putpalette([10, 20, 30, 200, 100, 50])
    palette.save(tmp_path / "key.gif", transparency=1)
    assert (preprocess.pixels(tmp_path / "key.gif", SIZE) == 255).all()
    Image.new("RGB", (40, 40), (1, 2, 3)).save(tmp_path / "key.png", transparency=(1, 2, 3))
    assert (preprocess.pixels(tmp_path / "key.png", SIZE) == 255).all()


@pytest.mark.parametrize(
    ("mode", "colour", "suffix", "expected"),
    [
        ("L", 100, ".png", (100, 100, 100)),
        ("1", 1, ".png", (255, 255, 255)),
        ("P", 0, ".png", (10, 20, 30)),
        ("I;16", 0x6400, ".png", (100, 100, 100)),
        ("I;16", 0x6400, ".tif", (100, 100, 100)),
        ("I", 0x6400, ".tif", (100, 100, 100)),
        ("F", 100 / 255, ".tif", (100, 100, 100)),
        ("CMYK", (0, 0, 0, 155), ".jpg", (100, 100, 100)),
        ("CMYK", (0, 0, 0, 155), ".tif", (100, 100, 100)),
        ("LAB", (107, 128, 128), ".tif", (100, 100, 100)),
        ("YCbCr", (100, 128, 128), ".jpg", (100, 100, 100)),
    ],
)
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str, colour: object, suffix: str, expected: tuple[int]) -> None:
    drawn = Image.new(mode, (40, 40), colour)
    if mode == "P":
        drawn.putpalette([10, 20, 30])
    drawn.save(tmp_path / f"x{suffix}")
    got = preprocess.pixels(tmp_path / f"x{suffix}", SIZE)
    assert got.shape == (32, 32, 3)
    assert got.dtype == np.uint8
    assert np.abs(got.astype(int) - expected).max() <= 3


def test_16_bit_colour_keeps_its_high_byte(tmp_path: Path) -> None:
    """Pillow writes no 16-bit RGB PNG, so one is put together here (PNG specification, chunks IHDR, IDAT, IEND)."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    row = b"\0" + struct.pack(">3H", 0x6401, 0x3202, 0xFF03) * 4
    header = struct.pack(">IIBBBBB", 4, 4, 16, 2, 0, 0, 0)
    path = tmp_path / "deep.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(row * 4)) + chunk(b"IEND", b"")
    )
    assert (preprocess.pixels(path, (4, 4)) == [0x64, 0x32, 0xFF]).all()


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png", ".tif"])
def test_the_first_frame_of_an_animation_is_used(tmp_path: Path, suffix: str) -> None:
    frames = [Image.new("RGB", (40, 40), (grey,) * 3) for grey in (200, 20, 20)]
    frames[0].save(tmp_path / f"moving{suffix}", save_all=True, append_images=frames[1:])
    assert np.abs(preprocess.pixels(tmp_path / f"moving{suffix}", SIZE).astype(int) - 200).max() <= 2


def test_large_jpeg_decoded_at_reduced_scale_has_nearly_same_pixels(tmp_path: Path) -> None:
    smooth = Image.fromarray(gradient(2400, 1600)).filter(ImageFilter.GaussianBlur(3))
    smooth.save(tmp_path / "large.jpg", quality=95)
    reduced = preprocess.pixels(tmp_path / "large.jpg", SIZE).astype(int)
    full = np.asarray(smooth.resize(SIZE, Image.Resampling.BICUBIC), int)
    assert np.abs(reduced - full).max() <= 3
    with Image.open(tmp_path / "large.jpg") as opened:
        opened.draft("RGB", (96, 96))
        assert opened.size == (300, 200), "Pillow no longer offers the reduction that we count on"


def test_path_and_bytes_give_same_pixels() -> None:
    path = next((CIFAKE / "test" / "FAKE").iterdir())
    assert np.array_equal(preprocess.pixels(path, SIZE), preprocess.pixels("elsewhere", SIZE, path.read_bytes()))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"this is no image\n" * 10, "not an image in a known format"),
        (b"\xff\xd8\xff\xe0" + b"\0" * 50, "not an image|broken|truncated"),
        (b"P6 1 1 255\n\0\0\0", "not an image in a known format"),  # PPM, which Pillow reads but we refuse
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "not an image in a known format"),
    ],
)
def test_bad_content_raises_undecodable_image_error(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "bad.jpg"
    path.write_bytes(content)
    with pytest.raises(UndecodableImageError, match=reason) as raised:
        preprocess.pixels(path, SIZE)
    assert str(raised.value).startswith(f"{path}: ")
    assert "\n" not in raised.value.reason


def test_truncated_jpeg_is_refused_instead_of_filled_with_grey(tmp_path: Path) -> None:
    whole = io.BytesIO()
    Image.fromarray(gradient(640, 480)).save(whole, "JPEG")
    (tmp_path / "half.jpg").write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
    with pytest.raises(UndecodableImageError, match="truncated"):
        preprocess.pixels(tmp_path / "half.jpg", SIZE)


def test_decompression_bomb_is_refused_before_decoding(tmp_path: Path) -> None:
    for side in (12_001, 20_000):  # above our limit, and above the one at which Pillow raises by itself
        Image.new("1", (side, side)).save(tmp_path / "bomb.png")
        with pytest.raises(UndecodableImageError, match=r"limit of|exceeds limit"):
            preprocess.pixels(tmp_path / "bomb.png", SIZE)


@pytest.mark.parametrize(
    ("name", "mode", "options"),
    [
        ("x.webp", "RGB", {"lossless": True, "method": 0}),
        ("x.png", "RGBA", {"compress_level": 1}),
        ("x.png", "RGB", {"compress_level": 1}),
        ("x.png", "LA", {"compress_level": 1}),
        ("x.png", "P", {"transparency": 0, "compress_level": 1}),
        ("x.png", "I;16", {"compress_level": 1}),
        ("x.tif", "CMYK", {"compression": "tiff_deflate"}),
        ("x.tif", "LAB", {"compression": "tiff_deflate"}),
        ("x.tif", "F", {"compression": "tiff_deflate"}),
        ("x.gif", "P", {"transparency": 0}),
        ("x.jpg", "RGB", {"progressive": True}),
    ],
)
def test_the_largest_accepted_image_stays_within_the_memory_limit(
    tmp_path: Path, name: str, mode: str, options: dict[str, object]
) -> None:
    probe = Image.new(mode, (8, 8))
    probe.format = {".webp": "WEBP", ".png": "PNG", ".tif": "TIFF", ".gif": "GIF", ".jpg": "JPEG"}[Path(name).suffix]
    probe.info.update({key: value for key, value in options.items() if key == "transparency"})
    side = int((preprocess.MAX_DECODING_BYTES / preprocess._bytes_per_pixel(probe)) ** 0.5)
    Image.new(mode, (side, side)).save(tmp_path / name, **options)
    # VmHWM, because getrusage includes the peak of the parent process.
    program = (
        "import sys; from edge.imaging import preprocess\n"
        "def peak(): return int(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])\n"
        "before = peak(); preprocess.pixels(sys.argv[1], (32, 32)); print((peak() - before) * 1024)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path / name], env=environment(), capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) <= preprocess.MAX_DECODING_BYTES


def test_damaged_images_of_every_format_raise_only_our_errors(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    source = Image.fromarray(gradient(60, 40))
    reasons = []
    for format_ in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"):
        whole = io.BytesIO()
        source.save(whole, format_)
        for _ in range(60):
            damaged = bytearray(whole.getvalue())
            for place in random.integers(0, len(damaged), 4):
                damaged[place] = random.integers(0, 256)
            try:
                got = preprocess.pixels("damaged", SIZE, bytes(damaged))
                assert got.shape == (32, 32, 3)
            except ImageError as error:
                reasons.append(error.reason)
    assert len(reasons) > 30
    assert not [reason for reason in reasons if "\n" in reason]


def test_irregular_files_are_refused_without_blocking(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(UnreadableFileError, match="not a regular file"):
        preprocess.read(tmp_path / "pipe.jpg")
    with pytest.raises(UnreadableFileError, match="folder"):
        preprocess.read(tmp_path)
    (tmp_path / "gone.jpg").symlink_to("nowhere")
    with pytest.raises(UnreadableFileError, match="broken symbolic link"):
        preprocess.read(tmp_path / "gone.jpg")
    with pytest.raises(UnreadableFileError, match="no such file"):
        preprocess.read(tmp_path / "missing.jpg")


def test_bundled_images_are_32_pixels_square() -> None:
    sizes = []
    for path in (DATA / "cifake").rglob("*.jpg"):
        with Image.open(path) as opened:
            sizes.append(opened.size)
    assert sizes == [(32, 32)] * 116
