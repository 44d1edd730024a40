"""Views of a picture, compared with a plain implementation."""

import io
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge.errors import UndecodableImageError, UnreadableFileError
from edge.imaging import modes, preprocess, turning
from edge.imaging.preprocess import Pixels
from edge.imaging.views import of_frame, places, plan, positions, taken, working_size
from edge.inference.model import Views, ViewSet
from tests.conftest import DATA, environment

SIZE = (64, 48)
VIEWS = Views((ViewSet(4), ViewSet(1, 100)), (ViewSet(3),), (0.2, 0.8), reduce_above=128)
WHOLE_JPEG = Views((ViewSet(4), ViewSet(1, 100)))


def scene(width: int, height: int, seed: int = 0) -> Image.Image:
    """Smooth shapes with some grain: what a photo is to a decoder."""
    random = np.random.default_rng(seed)
    small = Image.fromarray(random.integers(0, 256, (max(2, height // 12), max(2, width // 12), 3), np.uint8))
    grain = random.integers(-12, 12, (height, width, 3))
    smooth = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC), int)
    return Image.fromarray((smooth + grain).clip(0, 255).astype(np.uint8))


def in_mode(drawn: Image.Image, mode: str) -> Image.Image:
    """A picture converted to a mode, with transparency where the mode has it."""
    if mode in ("I;16", "I"):
        values = np.asarray(drawn.convert("L"), np.uint16) * 257
        return Image.fromarray(values if mode == "I;16" else values.astype(np.int32))
    if mode == "F":
        return Image.fromarray(np.asarray(drawn.convert("L"), np.float32) / 255)
    if mode == "LAB":
        return Image.merge("LAB", drawn.split())
    converted = drawn.convert(mode)
    if mode in ("RGBA", "LA"):
        converted.putalpha(scene(*drawn.size, seed=1).convert("L"))
    return converted


def plain(path: Path, views: Views, size: tuple[int, int]) -> list[Pixels]:
    """The same views from the whole decoded picture: convert, halve, rotate, scale, then crop."""
    with Image.open(path) as opened:
        orientation, factor = opened.getexif().get(0x0112, 1), 1
        while views.reduce_above and factor < 8 and min(opened.size) >= 2 * factor * views.reduce_above:
            factor *= 2
        if opened.format == "JPEG":
            opened.draft(None, (opened.width // factor, opened.height // factor))
            factor = 1
        whole = modes.scalable(opened).copy()
        halved = turning.turned(modes.rgb(whole.reduce(factor) if factor > 1 else whole), orientation)
    crops = []
    for one in views.sets:
        picture = halved
        if one.short_side:
            scale = max(min(1, one.short_side / min(halved.size)), size[0] / halved.width, size[1] / halved.height)
            picture = halved.resize((round(halved.width * scale), round(halved.height * scale)), preprocess.RESAMPLING)
        for left, top in positions(picture.size, size, one.crops):
            crops.append(np.asarray(picture.crop((left, top, left + size[0], top + size[1]))))
    return crops


def differences(path: Path, views: Views = VIEWS) -> tuple[int, int]:
    """Greatest difference from the plain implementation: of native crops and of scaled views."""
    got, expected = taken(path, None, views, SIZE).pixels, plain(path, views, SIZE)
    sets = [one for one in views.sets for _ in range(one.crops)]
    assert got.shape == (len(sets), SIZE[1], SIZE[0], 3)
    assert got.dtype == np.uint8
    native = scaled = 0
    for one, a, b in zip(sets, got, expected, strict=True):
        difference = int(np.abs(a.astype(int) - b.astype(int)).max())
        native, scaled = (max(native, difference), scaled) if one.short_side is None else (native, difference)
    return native, scaled


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
@pytest.mark.parametrize("views", [VIEWS, WHOLE_JPEG])
def test_crops_of_any_orientation_equal_those_of_decoded_picture(
    tmp_path: Path, orientation: int, suffix: str, views: Views
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"scene{suffix}"
    scene(515, 397).save(path, exif=exif, quality=90)
    native, scaled = differences(path, views)
    assert native == 0
    assert scaled <= 2, "the same positions, but for the rounding of 32-bit coordinates"


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "LA", "I;16", "CMYK", "LAB", "F", "I"])
@pytest.mark.parametrize("width", [210, 530])
def test_crops_of_every_mode_equal_those_of_decoded_picture(tmp_path: Path, mode: str, width: int) -> None:
    drawn = scene(width, width * 3 // 4)
    suffix = ".tif" if mode in ("CMYK", "LAB", "F", "I") else ".png"
    converted = in_mode(drawn, mode)
    converted.save(tmp_path / f"x{suffix}")
    native, scaled = differences(tmp_path / f"x{suffix}")
    assert native == 0
    assert scaled <= 3


@pytest.mark.parametrize("kind", ["grey", "cmyk", "progressive", "mpo"])
def test_every_kind_of_jpeg_is_decoded_at_exact_power_of_two(tmp_path: Path, kind: str) -> None:
    drawn, path = scene(1203, 905), tmp_path / "x.jpg"
    if kind == "mpo":
        drawn.save(path, "MPO", save_all=True, append_images=[scene(1203, 905, 1)])
    else:
        mode = {"grey": "L", "cmyk": "CMYK"}.get(kind, "RGB")
        drawn.convert(mode).save(path, progressive=kind == "progressive")
    got = taken(path, None, VIEWS, SIZE)
    with Image.open(path) as opened:
        opened.draft(None, (1203 // 4, 905 // 4))
        assert opened.size == (301, 227) == working_size((1203, 905), VIEWS)
        halved = modes.scalable(opened).copy()
    for cut, pixels in zip(plan((1203, 905), VIEWS, SIZE)[:4], got.pixels, strict=False):
        box = (cut.left, cut.top, cut.left + SIZE[0], cut.top + SIZE[1])
        assert np.array_equal(pixels, np.asarray(halved.crop(box)))
    assert got.own_size == (1203, 905)


def test_heic_and_animations_have_views(tmp_path: Path) -> None:
    frames = [scene(300, 200, seed) for seed in range(2)]
    frames[0].save(tmp_path / "moving.png", save_all=True, append_images=frames[1:])
    frames[0].save(tmp_path / "still.png")
    moving, still = (taken(tmp_path / f"{name}.png", None, VIEWS, SIZE) for name in ("moving", "still"))
    assert np.array_equal(moving.pixels, still.pixels)
    pytest.importorskip("pillow_heif")
    got = taken(DATA / "photo.heic", None, VIEWS, SIZE)
    whole, _ = preprocess.decoded(DATA / "photo.heic")
    whole.save(tmp_path / "decoded.png")
    assert np.array_equal(got.pixels, taken(tmp_path / "decoded.png", None, VIEWS, SIZE).pixels)


@pytest.mark.parametrize("size", [(515, 397), (130, 90), (20, 30), (64, 48)])
def test_frame_has_same_views_as_file(tmp_path: Path, size: tuple[int, int]) -> None:
    drawn = scene(*size)
    drawn.save(tmp_path / "frame.png")
    of_file, of_camera = taken(tmp_path / "frame.png", None, VIEWS, SIZE), of_frame(np.asarray(drawn), VIEWS, SIZE)
    assert np.array_equal(of_file.pixels, of_camera.pixels)
    assert of_file[1:] == of_camera[1:]


def test_model_without_views_takes_whole_picture(tmp_path: Path) -> None:
    for suffix in (".jpg", ".png"):
        path = tmp_path / f"x{suffix}"
        scene(500, 300).save(path)
        got = taken(path, None, None, SIZE)
        expected, own_size = preprocess.pixels_and_size(path, SIZE)
        assert np.array_equal(got.pixels, expected[None])
        assert got.own_size == own_size
        assert [(one.left, one.top, one.width, one.height) for one in got.places] == [(0, 0, 1, 1)]
    frame = np.asarray(scene(500, 300))
    assert np.array_equal(of_frame(frame, None, SIZE).pixels, preprocess.scaled(frame, SIZE)[None])


@pytest.mark.parametrize(
    ("size", "count", "expected"),
    [
        ((128, 128), 3, [(0, 0)] * 3),
        ((1000, 1000), 1, [(436, 436)]),
        ((1000, 1000), 4, [(186, 186), (686, 186), (186, 686), (686, 686)]),
        ((1000, 1000), 5, [(186, 102), (686, 102), (186, 436), (686, 436), (436, 769)]),
        ((20000, 300), 4, [(2436, 86), (7436, 86), (12436, 86), (17436, 86)]),
        ((201, 5000), 4, [(36, 561), (36, 1811), (36, 3061), (36, 4311)]),
        ((200, 128), 3, [(0, 0), (72, 0), (36, 0)]),
    ],
)
def test_crop_positions_match_worked_examples(
    size: tuple[int, int], count: int, expected: list[tuple[int, int]]
) -> None:
    assert positions(size, (128, 128), count) == expected


@pytest.mark.parametrize(
    "size", [(20000, 300), (300, 20000), (201, 5000), (1, 1), (60000, 1), (1, 60000), (50, 200), (63, 47), (128, 128)]
)
def test_views_of_extreme_shapes_lie_inside_picture(tmp_path: Path, size: tuple[int, int]) -> None:
    Image.new("RGB", size, (200, 100, 50)).save(tmp_path / "x.png")
    views = Views((ViewSet(4), ViewSet(1, 256)), (ViewSet(8),), reduce_above=1024)
    got = taken(tmp_path / "x.png", None, views, (128, 128))
    assert got.pixels.shape == (13, 128, 128, 3)
    assert (got.pixels == [200, 100, 50]).all()
    assert got.own_size == size
    assert [place.view_set for place in got.places] == [0] * 4 + [1] + [2] * 8
    for place in got.places:
        assert 0 <= place.left <= place.left + place.width <= 1 + 1e-9
        assert 0 <= place.top <= place.top + place.height <= 1 + 1e-9
    assert got.places == places(size, views, (128, 128))


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((4032, 3024), (2016, 1512)),
        ((2048, 2048), (1024, 1024)),
        ((2047, 3000), (2047, 3000)),
        ((4097, 4096), (1025, 1024)),
        ((40000, 30000), (5000, 3750)),
    ],
)
def test_a_picture_is_halved_while_its_shorter_side_allows(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert working_size(size, Views((ViewSet(1),), reduce_above=1024)) == expected


def test_damaged_images_raise_undecodable_image_error(tmp_path: Path) -> None:
    whole = io.BytesIO()
    scene(500, 300).save(whole, "JPEG")
    with pytest.raises(UndecodableImageError):
        taken("cut.jpg", whole.getvalue()[:2000], VIEWS, SIZE)
    with pytest.raises(UnreadableFileError):
        taken(tmp_path / "missing.jpg", None, VIEWS, SIZE)


def test_views_can_be_pickled(tmp_path: Path) -> None:
    scene(200, 100).save(tmp_path / "x.png")
    got = taken(tmp_path / "x.png", None, VIEWS, SIZE)
    again = pickle.loads(pickle.dumps(got))
    assert np.array_equal(again.pixels, got.pixels)
    assert again[1:] == got[1:]


def test_views_of_12_megapixel_photo_take_little_memory(tmp_path: Path) -> None:
    scene(4032, 3024).save(tmp_path / "photo.jpg", quality=85)
    program = (
        "import sys, numpy; from edge.imaging.views import taken; from edge.inference.model import Views, ViewSet\n"
        "def peak(): return int(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])\n"
        "views = Views((ViewSet(4), ViewSet(1, 256)), (ViewSet(8),), reduce_above=1024)\n"
        "before = peak(); taken(sys.argv[1], None, views, (128, 128)); print((peak() - before) * 1024)"
    )
    arguments = [sys.executable, "-c", program, tmp_path / "photo.jpg"]
    done = subprocess.run(arguments, env=environment(), capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) <= 30_000_000
