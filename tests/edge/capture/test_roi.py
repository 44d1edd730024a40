"""Rotation, flip and region of a camera's picture, and the model's input from it."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge.capture.roi import Roi, region
from edge.errors import RoiError
from edge.imaging import preprocess
from tests.support.videos import BLUE, COLOURS, GREEN, RED, WHITE, corners, quadrants

PICTURE = quadrants(64, 48)


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        (Roi(), COLOURS),
        (Roi(rotate=90), (BLUE, RED, WHITE, GREEN)),
        (Roi(rotate=180), (WHITE, BLUE, GREEN, RED)),
        (Roi(rotate=270), (GREEN, WHITE, RED, BLUE)),
        (Roi(flip="horizontal"), (GREEN, RED, WHITE, BLUE)),
        (Roi(flip="vertical"), (BLUE, WHITE, RED, GREEN)),
        (Roi(rotate=90, flip="horizontal"), (RED, BLUE, GREEN, WHITE)),
    ],
)
def test_frame_is_rotated_clockwise_then_flipped(view: Roi, expected: tuple[tuple[int, int, int], ...]) -> None:
    seen = view.of(PICTURE)
    assert seen.shape == ((64, 48, 3) if view.rotate in (90, 270) else (48, 64, 3))
    assert (corners(seen) == expected).all()
    assert np.shares_memory(seen, PICTURE)


@pytest.mark.parametrize(
    ("text", "box"),
    [
        ("0,0,64,48", (0, 0, 64, 48)),
        ("10,20,30,28", (10, 20, 40, 48)),
        (" 50%, 0%, 50%, 50% ", (32, 0, 64, 24)),
        ("33.3%,0%,33.3%,100%", (21, 0, 43, 48)),
        ("66.6%,0%,33.4%,100%", (43, 0, 64, 48)),
        ("10,25%,25%,3", (10, 12, 26, 15)),
    ],
)
def test_region_is_cropped(text: str, box: tuple[int, int, int, int]) -> None:
    left, top, right, bottom = box
    seen = Roi(region(text)).of(PICTURE)
    assert np.array_equal(seen, PICTURE[top:bottom, left:right])
    assert np.shares_memory(seen, PICTURE)


def test_region_refers_to_upright_picture() -> None:
    seen = Roi(region("0%,0%,50%,50%"), rotate=90, flip="horizontal").of(PICTURE)
    assert seen.shape == (32, 24, 3)
    assert (seen == RED).all()
    seen = Roi(region("24,0,24,32"), rotate=90).of(PICTURE)
    assert (seen == RED).all()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1,2,3",
        "1,2,3,4,5",
        "a,b,c,d",
        "-1,0,5,5",
        "1.5,0,5,5",
        "0,0,0,5",
        "0%,0%,101%,5%",
        "60%,0%,50%,5%",
        "0,0,5,\n",
    ],
)
def test_invalid_region_raises_one_line_error(text: str) -> None:
    with pytest.raises(RoiError) as caught:
        region(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["0,0,65,48", "64,0,1,1", "0,40,10,9", "0%,0%,0.1%,100%"])
def test_region_outside_picture_raises(text: str) -> None:
    with pytest.raises(RoiError, match=f"^the region {text} does not lie within the picture of 64 x 48 pixels$"):
        Roi(region(text)).of(PICTURE)


@pytest.mark.parametrize(("size", "levels"), [((32, 32), 0), ((64, 48), 0), ((640, 481), 8), ((7, 5), 0)])
def test_frame_gives_same_input_as_file(tmp_path: Path, size: tuple[int, int], levels: int) -> None:
    """Exactly; of a large frame, which is reduced first, nearly, even if it is noise."""
    frame = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(frame).save(tmp_path / "frame.png")
    seen = preprocess.scaled(frame, (32, 32))
    assert seen.flags.c_contiguous
    assert np.abs(seen.astype(int) - preprocess.pixels(tmp_path / "frame.png", (32, 32))).max() <= levels
    turned = Roi(rotate=90).of(frame)
    Image.fromarray(frame).transpose(Image.Transpose.ROTATE_270).save(tmp_path / "turned.png")
    alike = preprocess.scaled(turned, (32, 32)).astype(int) - preprocess.pixels(tmp_path / "turned.png", (32, 32))
    assert np.abs(alike).max() <= levels
