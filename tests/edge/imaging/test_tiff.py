"""TIFF: what Pillow decodes rightly is read, what it decodes wrongly is refused."""

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edge.errors import UndecodableImageError
from edge.imaging import preprocess
from tests.conftest import Run

WIDTH, HEIGHT = 32, 24
X, Y = np.meshgrid(np.linspace(0, 1, WIDTH), np.linspace(0, 1, HEIGHT))
COLOUR, GREY = np.stack([X, Y, 1 - X], axis=-1), X * 0.6 + Y * 0.4
BLACK_IS_ZERO, WHITE_IS_ZERO, RGB, PALETTE, CMYK, YCBCR, LAB = 1, 0, 2, 3, 5, 6, 8


def packbits(data: bytes) -> bytes:
    """TIFF 6.0, section 9, with literal runs only."""
    return b"".join(bytes([len(part) - 1]) + part for part in (data[at : at + 128] for at in range(0, len(data), 128)))


def tiff(
    samples: np.ndarray,
    photometric: int,
    *,
    order: str = "<",
    planar: bool = False,
    packed: bool = False,
    **tags: object,
) -> bytes:
    """A TIFF of one strip, or of one for each plane, put together here.

    Args:
        samples: shape (height, width) or (height, width, samples of a pixel); their type is that of the file.
        tags: further tags by their number, `t339=(1,)`; with `r` as rational numbers.
    """
    samples = samples.astype(samples.dtype.newbyteorder(order))
    cube = samples if samples.ndim == 3 else samples[..., None]
    planes = [cube[..., plane] for plane in range(cube.shape[2])] if planar else [cube]
    strips = [plane.tobytes() for plane in planes]
    strips = [b"".join(packbits(row.tobytes()) for row in plane) for plane in planes] if packed else strips
    kind = {"u": 1, "i": 2, "f": 3}[samples.dtype.kind]
    count = cube.shape[2]
    start, offsets = 8, []
    for strip in strips:
        offsets.append(start)
        start += len(strip) + len(strip) % 2
    entries = {
        256: (WIDTH,),
        257: (HEIGHT,),
        258: (samples.dtype.itemsize * 8,) * count,
        259: (32773 if packed else 1,),
        262: (photometric,),
        273: tuple(offsets),
        277: (count,),
        278: (HEIGHT,),
        279: tuple(map(len, strips)),
        284: (2 if planar else 1,),
        339: (kind,) * count,
    } | {int(name[1:]): values for name, values in tags.items()}
    directory, beyond = b"", b""
    place = start + 2 + 12 * len(entries) + 4
    for tag, values in sorted(entries.items()):
        assert isinstance(values, tuple)
        letter, type_ = ("I", 4) if tag in (273, 279) else ("H", 3)
        content = struct.pack(f"{order}{len(values)}{letter}", *values)
        if f"r{tag}" in tags:
            type_, content = 5, b"".join(struct.pack(f"{order}II", value, 1) for value in values)
        if len(content) > 4:
            content, beyond = struct.pack(f"{order}I", place + len(beyond)), beyond + content + bytes(len(content) % 2)
        directory += struct.pack(f"{order}HHI", tag, type_, len(values)) + content.ljust(4, b"\0")
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, start)
    body = b"".join(strip + bytes(len(strip) % 2) for strip in strips)
    return head + body + struct.pack(f"{order}H", len(entries)) + directory + bytes(4) + beyond


def integers(values: np.ndarray, bits: int) -> np.ndarray:
    return np.rint(values * ((1 << bits) - 1)).astype(f"u{bits // 8}")


def decoded(data: bytes) -> np.ndarray:
    return preprocess.pixels("x.tif", (WIDTH, HEIGHT), data).astype(int)


def grey_rgb(values: np.ndarray) -> np.ndarray:
    return np.repeat(values[..., None], 3, axis=-1)


def check(data: bytes, expected: np.ndarray) -> None:
    assert np.abs(decoded(data) - expected * 255).max() <= 2


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("packed", [False, True])
def test_common_kinds_are_read_rightly(order: str, packed: bool) -> None:
    as_stored = {"order": order, "packed": packed}
    for bits in (8, 16):
        check(tiff(integers(GREY, bits), BLACK_IS_ZERO, **as_stored), grey_rgb(GREY))
        check(tiff(integers(COLOUR, bits), RGB, **as_stored), COLOUR)
        ink = np.dstack([1 - COLOUR, np.zeros((HEIGHT, WIDTH))])
        check(tiff(integers(ink, bits), CMYK, **as_stored), COLOUR)
    check(tiff(integers(1 - GREY, 8), WHITE_IS_ZERO, **as_stored), grey_rgb(GREY))
    check(tiff(integers(COLOUR, 8), RGB, planar=True, **as_stored), COLOUR)
    with_alpha = integers(np.stack([GREY, Y], axis=-1), 8)
    check(tiff(with_alpha, BLACK_IS_ZERO, t338=(2,), **as_stored), grey_rgb(GREY * Y + 1 - Y))


def test_grey_with_premultiplied_transparency_is_read() -> None:
    samples = integers(np.stack([GREY * Y, Y], axis=-1), 8)
    check(tiff(samples, BLACK_IS_ZERO, t338=(1,)), grey_rgb(GREY * Y + 1 - Y))


def test_compressed_16_bit_planes_are_read() -> None:
    check(tiff(integers(COLOUR, 16), RGB, planar=True, packed=True), COLOUR)


REFUSED = {
    "16-bit planes": lambda: tiff(integers(COLOUR, 16), RGB, planar=True),
    "16-bit planes, big endian": lambda: tiff(integers(COLOUR, 16), RGB, planar=True, order=">"),
    "grey planes with transparency": lambda: tiff(
        integers(np.stack([GREY, Y], axis=-1), 8), BLACK_IS_ZERO, planar=True, packed=True, t338=(2,)
    ),
    "16 bits, white is zero": lambda: tiff(integers(1 - GREY, 16), WHITE_IS_ZERO),
    "floats, white is zero": lambda: tiff((1 - GREY).astype("f4"), WHITE_IS_ZERO),
    "32 bits": lambda: tiff(integers(GREY, 32), BLACK_IS_ZERO),
    "signed 8 bits": lambda: tiff((GREY * 255 - 128).astype("i1"), BLACK_IS_ZERO),
    "compressed floats, big endian": lambda: tiff(GREY.astype("f4"), BLACK_IS_ZERO, order=">", packed=True),
    "compressed signed, big endian": lambda: tiff((GREY * 9999).astype("i4"), BLACK_IS_ZERO, order=">", packed=True),
    "signed 16 bits": lambda: tiff((GREY * 32767).astype("i2"), BLACK_IS_ZERO),
    "negative 32 bits": lambda: tiff((GREY * 65535 - 1000).astype("i4"), BLACK_IS_ZERO),
    "large 32 bits": lambda: tiff((GREY * 2**31 - 1).astype("i4"), BLACK_IS_ZERO),
    "floats to 255": lambda: tiff((GREY * 255).astype("f4"), BLACK_IS_ZERO),
    "negative floats": lambda: tiff((-GREY).astype("f4"), BLACK_IS_ZERO),
    "planes, white is zero": lambda: tiff(integers(1 - GREY, 8), WHITE_IS_ZERO, planar=True),
    "planes, reversed bits": lambda: tiff(integers(COLOUR, 8), RGB, planar=True, t266=(2,)),
    "planes of Lab": lambda: tiff(integers(COLOUR, 8), LAB, planar=True),
    "packed planes of Lab": lambda: tiff(integers(COLOUR, 8), LAB, planar=True, packed=True),
    "YCbCr of video": lambda: tiff(integers(COLOUR, 8), YCBCR, t530=(1, 1), r532=(16, 235, 128, 240, 128, 240)),
    "12 bits": lambda: tiff(integers(GREY, 8)[:, : WIDTH * 3 // 2], BLACK_IS_ZERO, t258=(12,)),
    "raw YCbCr with subsampling": lambda: tiff(integers(COLOUR, 8), YCBCR),
    "colour map of 8 bits": lambda: tiff(integers(GREY, 8), PALETTE, t320=tuple(range(256)) * 3),
    "thumbnail of a raw file": lambda: tiff(integers(COLOUR, 8), RGB, t254=(1,)),
}


@pytest.mark.parametrize("build", REFUSED.values(), ids=REFUSED.keys())
def test_what_pillow_decodes_wrongly_is_refused(build: Callable[[], bytes]) -> None:
    with pytest.raises(UndecodableImageError, match="is not read"):
        decoded(build())


def test_raw_ycbcr_without_subsampling_and_colour_map_of_16_bits_are_read() -> None:
    neutral = np.dstack([integers(GREY, 8), np.full((HEIGHT, WIDTH, 2), 128, np.uint8)])
    check(tiff(neutral, YCBCR, t530=(1, 1)), grey_rgb(GREY))
    check(tiff(integers(GREY, 8), PALETTE, t320=tuple(value * 257 for value in range(256)) * 3), grey_rgb(GREY))


def test_old_style_jpeg_is_named_without_remarks_of_libtiff(edge_detect: Run, tmp_path: Path, brightness: Path) -> None:
    path = tmp_path / "old.tif"
    path.write_bytes(tiff(integers(GREY, 8), BLACK_IS_ZERO, t259=(6,), t513=(8,), t514=(99,)))
    done = edge_detect("classify", path, "--model", brightness)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert f"{path}: " in done.stderr
    assert "old-style JPEG (compression 6)" in done.stderr


def test_floats_with_some_highlights_and_integers_of_16_bits_in_32_are_read() -> None:
    bright = GREY.astype("f4")
    bright[:8] = 3.0
    check(tiff(bright, BLACK_IS_ZERO), grey_rgb(np.minimum(bright, 1)))
    check(tiff(np.rint(GREY * 65535).astype("i4"), BLACK_IS_ZERO), grey_rgb(GREY))


@pytest.mark.parametrize("head", [b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"])
def test_unknown_kind_of_tiff_is_named_as_tiff(head: bytes) -> None:
    with pytest.raises(UndecodableImageError, match="this kind of TIFF is not read"):
        decoded(head + bytes(100))
