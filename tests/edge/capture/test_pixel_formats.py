"""A model's input from a video frame is nearly the same as from a file with the same picture."""

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from edge.capture.frame import Frame, Reducible
from edge.capture.libav import LibavCamera
from edge.capture.libav_frames import Conversion
from edge.capture.roi import Roi, region
from edge.errors import CameraError
from edge.imaging import preprocess
from edge.imaging.inputs import Input, take_of_frame
from edge.imaging.preprocess import Pixels
from edge.imaging.views import Size
from edge.inference.model import Views, ViewSet
from tests.support.videos import BT601, BT709, video

SIZE = (32, 32)


def first(path: Path) -> Frame:
    stream = LibavCamera(str(path))
    frame = stream.frame()
    stream.close()
    assert frame is not None
    return frame


def whole(_: Size) -> Input:
    """A small input without views."""
    return Input(0, SIZE)


def difference(frame: Frame, view: Roi, size: tuple[int, int] = SIZE, views: Views | None = None) -> int:
    """Greatest difference from the pixels of a file, in levels of 255."""
    one = Input(1, size, views)
    chosen, seen = frame.seen(view, lambda _: one)
    part = view.of(frame.pixels)
    assert chosen is one
    assert seen.pixels.shape[1:] == (size[1], size[0], 3)
    assert seen.pixels.flags.c_contiguous
    assert seen.own_size == (part.shape[1], part.shape[0])
    _, plain = take_of_frame(part, lambda _: one)
    if views is None:
        assert (plain.pixels[0] == preprocess.scaled(part, size)).all()
    assert (seen.further is not None) == bool(views and views.further)
    pixels = seen.pixels if seen.further is None else np.concatenate([seen.pixels, seen.further()])
    return int(np.abs(pixels.astype(int) - plain.pixels).max())


@pytest.mark.parametrize("size", [(640, 480), (1280, 720), (320, 290), (200, 900)])
@pytest.mark.parametrize(("codec", "pixel_format"), [("libx264", "yuv420p"), ("mjpeg", "yuvj422p"), ("ffv1", "gray")])
def test_large_frame_gives_nearly_same_input_as_file(
    tmp_path: Path, codec: str, pixel_format: str, size: tuple[int, int]
) -> None:
    frame = first(video(tmp_path / "a.mkv", codec, pixel_format, size, count=1))
    assert difference(frame, Roi()) <= 8
    assert frame.pixels.shape == (size[1], size[0], 3)


def test_large_frame_with_sharp_colour_edges_gives_nearly_same_input_as_file(tmp_path: Path) -> None:
    blocks = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    picture = np.kron(blocks, np.ones((8, 8, 1), np.uint8))
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream: Any = container.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 640, 480, "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    assert difference(first(tmp_path / "a.mkv"), Roi()) <= 12


@pytest.mark.parametrize("standard", [BT601, BT709])
@pytest.mark.parametrize("rotation", [0, 90, 180, -90])
@pytest.mark.parametrize(
    "view", [Roi(), Roi(rotate=90, flip="horizontal"), Roi(rotate=180), Roi(rotate=270), Roi(flip="vertical")]
)
def test_rotated_and_flipped_large_frame_has_right_colours(
    tmp_path: Path, standard: int, rotation: int, view: Roi
) -> None:
    path = video(tmp_path / "a.mp4", "libx264", size=(480, 300), count=1, standard=standard, rotation=rotation)
    assert difference(first(path), view) <= 8


@pytest.mark.parametrize("size", [(48, 32), (32, 100)])
def test_large_frame_gives_nearly_same_input_that_is_not_square(tmp_path: Path, size: tuple[int, int]) -> None:
    frame = first(video(tmp_path / "a.mp4", size=(640, 480), count=1))
    assert difference(frame, Roi(rotate=90), size) <= 8
    assert difference(frame, Roi(), size) <= 8


@pytest.mark.parametrize(
    ("size", "view"),
    [
        ((66, 50), Roi()),
        ((32, 32), Roi()),
        ((280, 900), Roi()),
        ((640, 280), Roi(rotate=90)),
        ((640, 480), Roi(region("10%,0%,50%,100%"))),
    ],
)
def test_small_frames_and_regions_are_scaled_as_files(tmp_path: Path, size: tuple[int, int], view: Roi) -> None:
    assert difference(first(video(tmp_path / "a.mp4", size=size, count=1)), view) == 0


@pytest.mark.parametrize(
    ("size", "view", "reduce_above", "most"),
    [
        ((640, 480), Roi(), None, 0),
        ((640, 480), Roi(rotate=90, flip="vertical"), None, 0),
        ((640, 480), Roi(), 200, 8),  # halved on the way to RGB
        ((640, 480), Roi(rotate=270), 200, 8),
        ((640, 480), Roi(region("10%,0%,50%,100%")), 200, 0),
    ],
)
def test_first_and_further_crops_are_those_of_a_file(
    tmp_path: Path, size: tuple[int, int], view: Roi, reduce_above: int | None, most: int
) -> None:
    views = Views((ViewSet(2, 64),), (ViewSet(4, 128), ViewSet(2)), (0.3, 0.7), reduce_above)
    assert difference(first(video(tmp_path / "a.mp4", size=size, count=1)), view, views=views) <= most


def test_change_of_colour_standard_is_followed() -> None:
    conversion, planes = Conversion("a.mkv"), np.repeat(np.uint8([120, 90, 170]), [3072, 768, 768]).reshape(72, 64)

    def colour(space: int) -> list[int]:
        decoded = av.VideoFrame.from_ndarray(planes, format="yuv420p")
        decoded.colorspace = space
        return conversion.frame(decoded, 0.0).pixels[20, 20].tolist()  # type: ignore[no-any-return]

    plain, of_bt709 = colour(BT601), colour(BT709)
    assert plain != of_bt709
    assert [colour(space) for space in (BT601, BT709, BT601)] == [plain, of_bt709, plain]


def test_frame_is_converted_once_at_reduced_size() -> None:
    made = []

    def full() -> Pixels:
        raise AssertionError

    def reduced(size: tuple[int, int]) -> Pixels:
        made.append(size)
        return np.zeros((size[1], size[0], 3), np.uint8)

    frame = Frame(full, 0.0, Reducible((640, 480), reduced))
    assert frame.seen(Roi(), whole)[1] is frame.seen(Roi(), whole)[1]
    assert made == [(107, 96)]


CROPS = Views((ViewSet(4), ViewSet(1, 64)), (ViewSet(8),), reduce_above=100)


@pytest.mark.parametrize("view", [Roi(), Roi(rotate=90, flip="horizontal"), Roi(rotate=180)])
@pytest.mark.parametrize(
    ("codec", "pixel_format", "levels"),
    [
        ("ffv1", "gray", 0),
        ("mjpeg", "yuvj422p", 8),
        # This video places chroma at the left of its two luma pixels, not between them. libswscale respects that when
        # it scales, but not when it only converts; the difference shows beside edges between strong colours.
        ("libx264", "yuv420p", 40),
    ],
)
def test_crops_of_large_frame_nearly_equal_those_of_file(
    tmp_path: Path, codec: str, pixel_format: str, levels: int, view: Roi
) -> None:
    frame = first(video(tmp_path / "a.mkv", codec, pixel_format, (640, 480), count=1))
    assert difference(frame, view, (40, 32), CROPS) <= levels


@pytest.mark.parametrize(
    ("size", "view"),
    [
        ((250, 198), Roi()),  # too small to be halved
        ((642, 482), Roi()),  # halved twice, which does not come out even
        ((640, 480), Roi(region("10%,0%,50%,100%"))),
    ],
)
def test_crops_of_other_frames_equal_those_of_file(tmp_path: Path, size: tuple[int, int], view: Roi) -> None:
    assert difference(first(video(tmp_path / "a.mp4", size=size, count=1)), view, (40, 32), CROPS) == 0


@pytest.mark.parametrize(
    ("size", "view", "converted"),
    [
        ((3840, 2160), Roi(), (1920, 1080)),
        ((3840, 2160), Roi(rotate=90), (1920, 1080)),
        ((1920, 1080), Roi(), None),
        ((3842, 2161), Roi(), None),
        ((3840, 2160), Roi(region("0,0,200,200")), None),
    ],
)
def test_only_pixels_of_crops_are_converted(
    size: tuple[int, int], view: Roi, converted: tuple[int, int] | None
) -> None:
    made: list[tuple[int, int] | None] = []

    def picture(of: tuple[int, int] | None = None) -> Pixels:
        made.append(of)
        width, height = of or size
        return np.broadcast_to(np.uint8(9), (height, width, 3))

    views = Views((ViewSet(4), ViewSet(1, 256)), reduce_above=1024)
    _, taken = Frame(picture, 0.0, Reducible(size, picture)).seen(view, lambda _: Input(0, (128, 128), views))
    assert made == [converted]
    assert taken.pixels.shape == (5, 128, 128, 3)
    assert taken.own_size == ((200, 200) if view.region else view.turned(size))


def test_region_size_is_passed_to_choice_of_model() -> None:
    asked = []

    def choose(size: Size) -> Input:
        asked.append(size)
        return Input(0, SIZE)

    frame = Frame(np.zeros((300, 400, 3), np.uint8), 0.0)
    frame.seen(Roi(region("0,0,30,20")), choose)
    frame.seen(Roi(rotate=90), choose)
    assert asked == [(30, 20), (300, 400)]


@pytest.mark.parametrize("size", [(64, 48), (640, 480)])
def test_unconvertible_frame_raises_camera_error(size: tuple[int, int]) -> None:
    frame = Conversion("a.mkv").frame(av.VideoFrame(*size, "y210be"), 0.0)
    with pytest.raises(CameraError, match=r"a\.mkv: cannot convert a frame of the pixel format y210be"):
        frame.seen(Roi(), whole)
