"""The pixels of many kinds of files are those that another program, ImageMagick, decodes."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge.errors import UndecodableImageError
from edge.imaging import preprocess
from tests.support.packages import missing

WIDTH, HEIGHT = 48, 40
CONVERT = shutil.which("magick") or shutil.which("convert-im6.q16")  # `convert` may be another program
OPAQUE = ["-background", "white", "-alpha", "remove", "-alpha", "off"]
AS_SHOWN = [*OPAQUE, "-auto-orient", "-colorspace", "sRGB", "-depth", "8"]
MOST = 2.0  # mean difference; JPEG decoders differ in the enlargement of chroma

TIFF = [f"tif -compress {name}" for name in ("none", "LZW", "Zip", "RLE")]
FILES = [
    *TIFF,
    *(f"{tiff} {more}" for tiff in TIFF for more in ("-depth 16", "-endian MSB -depth 16", "-type Palette")),
    *(f"{tiff} {more}" for tiff in TIFF for more in ("-define tiff:tile-geometry=16x16", "-colorspace CMYK")),
    *(f"{tiff} {more}" for tiff in TIFF[1:] for more in ("-interlace plane", "-interlace plane -depth 16")),
    *(f"tif -compress {name} -monochrome" for name in ("none", "LZW", "Fax", "Group4")),
    "tif -compress none -interlace plane",
    "tif -compress JPEG -quality 95 -background white -alpha remove -alpha off",
    "tif -depth 1",
    "tif -depth 2",
    "tif -depth 4",
    *(
        f"png -interlace {order} -define png:color-type={colour} -define png:bit-depth={bits}"
        for order in ("none", "plane")
        for colour, bits in ((0, 1), (0, 2), (0, 4), (0, 8), (0, 16), (2, 8), (2, 16), (3, 8), (4, 8), (6, 8), (6, 16))
    ),
    "gif",
    "gif -interlace plane",
    "bmp -define bmp:format=bmp2",
    "bmp -define bmp:format=bmp3 -type Palette -colors 16 -compress RLE",
    "bmp -define bmp:format=bmp4",
    "webp -define webp:lossless=true",
    "webp -quality 95",
    *(f"jpg -quality 95 -sampling-factor {factor} -interlace plane" for factor in ("1x1", "2x1", "1x2", "2x2", "4x1")),
    "jpg -quality 95 -colorspace Gray",
    "jpg -quality 95 -colorspace CMYK",
]


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Path]]:
    if CONVERT is None:
        missing("imagemagick")
    folder = tmp_path_factory.mktemp("originals")
    across, down = np.meshgrid(np.linspace(0, 255, WIDTH), np.linspace(0, 255, HEIGHT))
    colour = np.stack([across, down, 255 - 0.7 * across], axis=-1).round().astype(np.uint8)
    paths = [folder / name for name in ("colour.png", "grey.png", "transparent.png")]
    Image.fromarray(colour).save(paths[0])
    Image.fromarray(colour[..., 0] // 2 + colour[..., 1] // 2).save(paths[1])
    Image.fromarray(np.dstack([colour, 55 + across * 0.7]).round().astype(np.uint8)).save(paths[2])
    yield paths
    shutil.rmtree(folder)


def converted(*words: str | Path) -> bytes:
    assert CONVERT is not None
    done = subprocess.run([CONVERT, *words], capture_output=True)
    return b"" if done.returncode else done.stdout


@pytest.mark.parametrize("kind", FILES)
def test_pixels_are_those_of_imagemagick(originals: list[Path], tmp_path: Path, kind: str) -> None:
    """A colour, a grey and a transparent picture; what is refused is not compared, but not all may be."""
    suffix, *options = kind.split()
    compared = 0
    for original in originals:
        path = tmp_path / f"{original.stem}.{suffix}"
        converted(original, *options, path)
        expected = converted(path, *AS_SHOWN, "rgb:-") if path.exists() else b""
        if len(expected) != WIDTH * HEIGHT * 3:  # this ImageMagick does not write such a file
            continue
        try:
            ours = np.asarray(preprocess.decoded(path)[0]).astype(int)
        except UndecodableImageError as error:
            assert "is not read" in str(error)  # noqa: PT017
            continue
        theirs = np.frombuffer(expected, np.uint8).reshape(HEIGHT, WIDTH, 3)
        assert np.abs(ours - theirs).mean() <= MOST, original.stem
        compared += 1
    assert compared
