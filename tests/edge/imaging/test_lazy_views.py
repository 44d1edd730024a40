"""Views that are cut when they are needed, compared with a plain implementation that converts the whole picture."""

import tracemalloc
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge.errors import UndecodableImageError, UnreadableFileError
from edge.imaging import crops, heic, modes, preprocess, turning
from edge.imaging.inputs import Input, take, take_lazily
from edge.imaging.preprocess import Pixels
from edge.imaging.views import LazyViews, Size, Views, ViewSet, halvings, plan, taken, taken_lazily, working_size
from tests.conftest import DATA
from tests.edge.imaging.test_views import in_mode, scene

SIZE = (64, 48)
# As of the photo model: scaled views first, then scaled ones and crops at the picture's own scale.
PHOTO = Views((ViewSet(2, 100),), (ViewSet(2, 80), ViewSet(4, 140), ViewSet(4)), (0.3, 0.7), reduce_above=128)
CROPS_FIRST = Views((ViewSet(2),), (ViewSet(1, 90),), reduce_above=100)
FAST = {"preset": "ultrafast"}
FORMATS = {
    "jpg": {"quality": 90},
    "png": {},
    "webp": {"quality": 80},
    "tif": {"compression": "tiff_deflate"},
    "heic": {"quality": 60, "enc_params": FAST},
    "tiled.heic": {"quality": 60, "tile_size": 128, "enc_params": FAST},
}


def at_once(picture: preprocess.Loaded, wanted: Views, size: Size) -> Pixels:
    """All views from the whole picture, converted and halved as a whole."""
    orientation, halved = picture.orientation, picture.image
    working = turning.as_stored(working_size(picture.own_size, wanted), orientation)
    if halved.size != working:
        halved = modes.scalable(halved).reduce(1 << halvings(picture.own_size, wanted))
    assert halved.size == working
    converted, stored_size, found = modes.scalable(halved), turning.as_stored(size, orientation), []
    for cut in plan(picture.own_size, wanted, size):
        width, height = turning.as_stored(cut.picture, orientation)
        left, top = crops._as_stored(cut, size, orientation)
        right, bottom = left + stored_size[0], top + stored_size[1]
        if (width, height) == working:
            crop = modes.scalable(halved.crop((left, top, right, bottom)))
        else:
            across, down = working[0] / width, working[1] / height
            box = left * across, top * down, min(right * across, working[0]), min(bottom * down, working[1])
            crop = converted.resize(stored_size, preprocess.RESAMPLING, box)
        found.append(np.asarray(turning.turned(modes.rgb(crop), orientation)))
    return np.stack(found)


def opened(data: bytes, wanted: Views | None = PHOTO) -> LazyViews:
    return taken_lazily("x", data, lambda _: (wanted, SIZE))


def saved(image: Image.Image, suffix: str, orientation: int = 1) -> bytes:
    if suffix.endswith("heic"):
        pytest.importorskip("pillow_heif").register_heif_opener()
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = BytesIO()
    image.save(
        file,
        {"jpg": "JPEG", "tif": "TIFF", "heic": "HEIF", "tiled.heic": "HEIF"}.get(suffix, suffix),
        exif=exif,
        **FORMATS[suffix],
    )
    return file.getvalue()


def require_same(data: bytes, wanted: Views = PHOTO) -> None:
    """Lazy views, all views at once and the plain implementation give the same bytes."""

    def least_side(own_size: Size) -> int:
        return min(own_size) >> halvings(own_size, wanted)

    with preprocess.loaded("x", data, least_side) as picture:
        expected = at_once(picture, wanted, SIZE)
    lazy = opened(data, wanted)
    first, further = lazy.first(), lazy.further()
    assert first.dtype == further.dtype == np.uint8
    assert np.array_equal(first, expected[: wanted.first_count])
    assert np.array_equal(further, expected[wanted.first_count :])
    all_ = taken("x", data, wanted, SIZE)
    assert np.array_equal(all_.pixels, expected)
    assert (lazy.own_size, lazy.places) == all_[1:]


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_lazy_views_equal_all_views_at_once_in_every_orientation(suffix: str, orientation: int) -> None:
    for size in ((515, 397), (301, 642)):
        data = saved(scene(*size), suffix, orientation)
        require_same(data)
        require_same(data, CROPS_FIRST)


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize(
    "size", [(1023, 769), (767, 1025), (257, 256), (255, 511), (1600, 130), (131, 1601), (64, 48), (33, 20), (600, 16)]
)
def test_lazy_views_of_odd_sizes_equal_all_views_at_once(suffix: str, size: Size) -> None:
    data = saved(scene(*size), suffix, 6)
    require_same(data)
    require_same(data, CROPS_FIRST)


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "LA", "I;16", "CMYK", "LAB", "F", "I", "P transparent"])
@pytest.mark.parametrize("width", [180, 530, 1101])
def test_lazy_views_of_every_mode_equal_all_views_at_once(mode: str, width: int) -> None:
    converted = in_mode(scene(width, width * 3 // 4), mode.split()[0])
    options = {"transparency": 7} if mode == "P transparent" else {}
    file = BytesIO()
    converted.save(file, "TIFF" if mode in ("CMYK", "LAB", "F", "I") else "PNG", **options)
    require_same(file.getvalue())
    require_same(file.getvalue(), CROPS_FIRST)


def test_only_what_the_first_views_read_is_halved(monkeypatch: pytest.MonkeyPatch) -> None:
    data, boxes = saved(scene(1000, 800), "png"), []
    original = Image.Image.reduce

    def reduce(image: Image.Image, factor: int, box: tuple[int, int, int, int]) -> Image.Image:
        boxes.append(box)
        return original(image, factor, box)

    monkeypatch.setattr(Image.Image, "reduce", reduce)
    lazy = opened(data)
    assert boxes == []
    lazy.first()
    ((_, top, _, bottom),) = boxes
    assert 0 < top < bottom < 800
    assert bottom - top < 600
    lazy.further()
    lazy.further()
    assert len(boxes) == 2


def test_file_is_decoded_once_for_first_and_further_views(monkeypatch: pytest.MonkeyPatch) -> None:
    data, decoded = saved(scene(515, 397), "jpg"), []
    original = preprocess.decode
    monkeypatch.setattr(preprocess, "decode", lambda *args: decoded.append(args) or original(*args))
    lazy = opened(data)
    first, further = lazy.first(), lazy.further()
    assert len(decoded) == 1
    assert (len(first), len(further)) == (2, 10)
    assert lazy.further() is further


@pytest.mark.parametrize("wanted", [None, Views((ViewSet(3),))])
def test_model_without_further_views_has_none(wanted: Views | None) -> None:
    data = saved(scene(300, 200), "png")
    lazy = opened(data, wanted)
    assert np.array_equal(lazy.first(), taken("x", data, wanted, SIZE).pixels)
    assert lazy.further().shape == (0, SIZE[1], SIZE[0], 3)


def test_lazy_views_go_to_the_chosen_input(tmp_path: Path) -> None:
    scene(300, 200).save(tmp_path / "x.png")
    chosen = Input(1, SIZE, PHOTO)
    input_, lazy = take_lazily(tmp_path / "x.png", None, lambda _: chosen)
    same, all_ = take(tmp_path / "x.png", None, lambda _: chosen)
    assert input_ is same is chosen
    assert np.array_equal(np.concatenate((lazy.first(), lazy.further())), all_.pixels)


@pytest.mark.parametrize("suffix", FORMATS)
def test_lazy_views_of_damaged_files_are_refused_before_the_first_is_cut(suffix: str) -> None:
    data = saved(scene(700, 500), suffix)
    for damaged in (data[: len(data) // 2], data[: len(data) * 9 // 10], data[:100], b""):
        with pytest.raises(UndecodableImageError):
            opened(damaged)
    with pytest.raises(UnreadableFileError):
        taken_lazily("missing.jpg", None, lambda _: (PHOTO, SIZE))


def test_lack_of_memory_for_further_views_is_an_unreadable_file(monkeypatch: pytest.MonkeyPatch) -> None:
    lazy = opened(saved(scene(515, 397), "png"))
    lazy.first()

    def fail(*_: object) -> Image.Image:
        raise MemoryError

    monkeypatch.setattr(Image.Image, "reduce", fail)
    with pytest.raises(UnreadableFileError, match="x: not enough memory"):
        lazy.further()


@pytest.mark.parametrize("suffix", ["jpg", "webp"])
def test_lazy_views_keep_no_content_of_the_file_alive(suffix: str) -> None:
    data = saved(scene(1203, 905), suffix)
    opened(data).first()  # Pillow has loaded what it needs
    tracemalloc.start()
    try:
        lazy = opened(bytes(bytearray(data)))  # a copy, which is counted
        first = lazy.first()
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert held < len(data) / 4 + first.nbytes


def test_only_the_tiles_that_the_first_views_need_are_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    data, parts, wholes = saved(scene(1027, 771), "tiled.heic"), [], []
    loaded_part, load = heic.loaded_part, heic.load
    monkeypatch.setattr(heic, "loaded_part", lambda *args: parts.append(loaded_part(*args)) or parts[-1])
    monkeypatch.setattr(heic, "load", lambda image: wholes.append(image) or load(image))
    lazy = opened(data)
    lazy.first()
    ((image, left, top),) = parts
    assert (left % 128, top % 128) == (0, 0)
    assert image.width * image.height < 0.7 * 1027 * 771
    assert wholes == []
    lazy.further()
    lazy.further()
    lazy.taken()
    assert len(wholes) == 1


def test_heic_photo_has_the_same_lazy_views() -> None:
    pytest.importorskip("pillow_heif")
    require_same((DATA / "photo.heic").read_bytes())
