"""PNG: damaged pixels are refused, damaged or huge metadata are not; each kind of sample is decoded rightly."""

import io
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from edge.errors import UndecodableImageError
from edge.imaging import png, preprocess
from tests.conftest import environment

SIZE = (32, 24)
ZEROS = 20_000_000  # inflated length of a text that must not be inflated
NOISE = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def bad(kind: bytes, body: bytes) -> bytes:
    """A chunk with a wrong checksum."""
    return chunk(kind, body)[:-1] + bytes([chunk(kind, body)[-1] ^ 1])


def assembled(
    before: bytes = b"", after: bytes = b"", *, cut: int = 1, data: Callable[[bytes, bytes], bytes] = chunk
) -> bytes:
    """A PNG of NOISE with further chunks, its image data cut into chunks of this many bytes (1: in one chunk)."""
    packed = zlib.compress(b"".join(b"\0" + row.tobytes() for row in NOISE))
    length = len(packed) if cut == 1 else cut
    parts = [data(b"IDAT", packed[at : at + length]) for at in range(0, len(packed), length)]
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 32, 24, 8, 2, 0, 0, 0))
    return png.SIGNATURE + header + before + b"".join(parts) + after + chunk(b"IEND", b"")


def answered(data: bytes) -> bool:
    return np.array_equal(preprocess.pixels("x.png", SIZE, data), NOISE)


METADATA = {
    "a long compressed text": chunk(b"zTXt", b"workflow\0\0" + zlib.compress(bytes(ZEROS))),
    "a long international text": chunk(b"iTXt", b"prompt\0\1\0\0\0" + zlib.compress(bytes(ZEROS))),
    "many texts": chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(1_000_000))) * 70,
    "a long colour profile": chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(ZEROS))),
    "a long description": chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(bytes(ZEROS))),
    "long plain descriptions": chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + bytes(2_000_000)) * 40,
    "an unknown compression": chunk(b"zTXt", b"Raw profile type exif\0\7" + b"abc"),
    "a damaged profile": chunk(b"zTXt", b"Raw profile type exif\0\0" + b"abc"),
    "empty metadata": b"".join(chunk(kind, b"") for kind in (b"tEXt", b"pHYs", b"gAMA", b"cHRM", b"eXIf", b"acTL")),
} | {
    f"a wrong checksum of {kind.decode()}": bad(kind, body)
    for kind, body in {
        b"tEXt": b"Software\0x",
        b"pHYs": bytes(9),
        b"iCCP": b"p\0\0" + zlib.compress(b"x"),
        b"eXIf": b"II*\0\x08\0\0\0\0\0",
        b"tIME": bytes(7),
        b"gAMA": bytes(4),
        b"vpAg": b"private",
        b"zTXt": b"Raw profile type exif\0\0abc",
        b"fcTL": bytes(26),
    }.items()
}


@pytest.mark.parametrize("extra", METADATA.values(), ids=METADATA.keys())
def test_metadata_never_refuse_a_picture(extra: bytes) -> None:
    assert answered(assembled(extra))
    assert answered(assembled(after=extra))


def test_compressed_text_costs_no_memory(tmp_path: Path) -> None:
    texts = b"".join(
        chunk(b"zTXt", keyword + b"\0\0" + zlib.compress(bytes(100_000_000), 1)) for keyword in (b"a", b"exif")
    )
    (tmp_path / "bomb.png").write_bytes(assembled(texts))
    program = (
        "import sys; from edge.imaging import preprocess\n"
        "def peak(): return int(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])\n"
        "before = peak(); preprocess.pixels(sys.argv[1], (32, 32)); print((peak() - before) * 1024)"
    )
    words = [sys.executable, "-c", program, tmp_path / "bomb.png"]
    done = subprocess.run(words, env=environment(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 30_000_000


@pytest.mark.parametrize("cut", [1, 100, 7])
def test_image_data_in_pieces_are_read_completely(monkeypatch: pytest.MonkeyPatch, cut: int) -> None:
    assert answered(assembled(cut=cut))
    monkeypatch.setattr(png, "_MOST_COPIED", 0)  # as for a large file
    assert answered(assembled(cut=cut))


@pytest.mark.parametrize("cut", [1, 100])
def test_damaged_or_missing_image_data_are_an_error(cut: int) -> None:
    whole = assembled(cut=cut)
    end = len(whole) - 12
    half = end // 2
    for damaged in (
        assembled(cut=cut, data=bad),
        whole[:half],
        whole[:half] + bytes(end - half),  # the size was set before the content came
        whole[: end - 300] + bytes(312),
        whole[: end - 2],
        whole[:half] + b"\x55" * 20 + whole[half + 20 :],
        whole.replace(b"IDAT", b"IDAX"),
        whole[:33] + chunk(b"IEND", b""),
        whole[:8],
        whole.replace(chunk(b"IHDR", whole[16:29]), bad(b"IHDR", whole[16:29])),
        whole[:8] + whole[33:],
        whole[:33] + chunk(b"NEWX", b"") + whole[33:],  # a capital letter: it must be understood
        whole[:33] + bad(b"tRNS", bytes(6)) + whole[33:],  # it decides pixels
    ):
        with pytest.raises(UndecodableImageError, match=r"image data|truncated|broken PNG"):
            preprocess.pixels("x.png", SIZE, damaged)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "I;16"])
@pytest.mark.parametrize("interlaced", [False, True])
def test_missing_rows_are_an_error_and_black_rows_are_not(mode: str, interlaced: bool) -> None:
    """The black picture has the same pixels as Pillow would return without the missing rows."""
    bits, colour = {
        "1": (1, 0),
        "L": (8, 0),
        "I;16": (16, 0),
        "RGB": (8, 2),
        "P": (8, 3),
        "LA": (8, 4),
        "RGBA": (8, 6),
    }[mode]
    width, height, whole = 21, 13, b""
    for left, top, across, down in png._PASSES if interlaced else ((0, 0, 1, 1),):
        columns, rows = len(range(left, width, across)), len(range(top, height, down))
        whole += bytes(rows * (1 + -(-columns * bits * png._SAMPLES[colour] // 8)))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlaced))
    palette = chunk(b"PLTE", bytes(6)) if mode == "P" else b""

    def file(rows: bytes) -> bytes:
        return png.SIGNATURE + header + palette + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")

    expected = 255 if mode in ("LA", "RGBA") else 0
    assert (preprocess.pixels("x.png", SIZE, file(whole)) == expected).all()
    assert (preprocess.pixels("x.png", SIZE, file(whole + bytes(3_000_000))) == expected).all()
    for missing in (1, width * 2, len(whole) // 2):
        with pytest.raises(UndecodableImageError, match="truncated"):
            preprocess.pixels("x.png", SIZE, file(whole[:-missing]))


def test_picture_without_its_end_chunk_is_whole() -> None:
    whole = assembled()
    for shown in (whole[:-1], whole[:-12], whole[:-12] + bytes(4096), whole + b"more"):
        assert answered(shown)


def test_animation_shows_the_picture_of_programs_without_animations() -> None:
    frames = [Image.fromarray(NOISE), Image.new("RGB", (32, 24), "red")]
    for options in ({}, {"default_image": True}):
        file = io.BytesIO()
        frames[0].save(file, "PNG", save_all=True, append_images=frames[1:] * 2, **options)
        assert answered(file.getvalue())


@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize("kind", ["eXIf", "iTXt", "zTXt", "compressed iTXt"])
def test_orientation_is_found_in_each_kind_of_metadata(place: str, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    description = b"<x tiff:Orientation='1' tiff:Orientation=\"3\"/>"
    packed = f"\nexif\n      {len(exif.tobytes())}\n{exif.tobytes().hex()}\n"
    extra = {
        "eXIf": chunk(b"eXIf", exif.tobytes()[6:]),
        "iTXt": chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + description),
        "compressed iTXt": chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(description)),
        "zTXt": chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(packed.encode())),
    }[kind]
    data = assembled(extra) if place == "before" else assembled(after=extra)
    assert np.array_equal(preprocess.pixels("x.png", SIZE, data), NOISE[::-1, ::-1])


def grey(bits: int, colour_key: int | None = None) -> tuple[bytes, np.ndarray]:
    """A greyscale PNG, and its samples."""
    samples = np.linspace(0, (1 << bits) - 1, 32).astype(int)[None].repeat(24, 0)
    if colour_key is not None:
        samples[5:15] = colour_key
    rows = b""
    for row in samples:
        digits = "".join(format(value, f"0{bits}b") for value in row)
        rows += b"\0" + int(digits, 2).to_bytes(len(digits) // 8, "big")
    key = b"" if colour_key is None else chunk(b"tRNS", struct.pack(">H", colour_key))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 32, 24, bits, 0, 0, 0, 0))
    return png.SIGNATURE + header + key + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""), samples


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_greyscale_of_every_depth_with_a_transparent_value(bits: int) -> None:
    most = (1 << bits) - 1
    for key in (None, 0, most // 2 + 1):
        data, samples = grey(bits, key)
        expected = np.where(samples == key, 255, samples * 255 / most)
        got = preprocess.pixels("x.png", SIZE, data).astype(int)
        assert np.abs(got - expected[..., None]).max() <= 1, key


def test_transparent_colour_of_16_bits_becomes_white() -> None:
    colour = 0x6401, 0x3202, 0xFF03
    rows = (b"\0" + struct.pack(">3H", *colour) * 2 + struct.pack(">3H", 0x1000, 0x2000, 0x3000) * 2) * 4
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 16, 2, 0, 0, 0))
    data = chunk(b"tRNS", struct.pack(">3H", *colour)) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    got = preprocess.pixels("x.png", (4, 4), png.SIGNATURE + header + data)
    assert (got[:, :2] == 255).all()
    assert (got[:, 2:] == (0x10, 0x20, 0x30)).all()


def test_a_limit_for_metadata_lies_within_that_of_pillow() -> None:
    assert png.MOST_METADATA <= PngImagePlugin.MAX_TEXT_CHUNK, "Pillow would refuse what we let through"
