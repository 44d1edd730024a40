"""What a network sees of a video: nearly what it sees of a file with the same frame, by a shorter way."""

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from edge import image
from edge.cameras.conversion import Conversion
from edge.cameras.frame import Frame, Reducible
from edge.cameras.stream import Stream
from edge.cameras.view import View, region
from edge.errors import CameraError
from edge.image import Pixels
from tests.videos import BT601, BT709, video

SIZE = (32, 32)


def first(path: Path) -> Frame:
    stream = Stream(str(path))
    frame = stream.frame()
    stream.close()
    assert frame is not None
    return frame


def difference(frame: Frame, view: View, size: tuple[int, int] = SIZE) -> int:
    """Levels, of 255, at the worst place."""
    seen, own = frame.seen(view, size)
    part = view.of(frame.pixels)
    assert seen.shape == (size[1], size[0], 3)
    assert seen.flags.c_contiguous
    assert own == (part.shape[1], part.shape[0])
    return int(np.abs(seen.astype(int) - image.scaled(part, size)).max())


@pytest.mark.parametrize("size", [(640, 480), (1280, 720), (320, 290), (200, 900)])
@pytest.mark.parametrize(("codec", "pixel_format"), [("libx264", "yuv420p"), ("mjpeg", "yuvj422p"), ("ffv1", "gray")])
def test_a_large_frame_is_seen_nearly_as_in_a_file(
    tmp_path: Path, codec: str, pixel_format: str, size: tuple[int, int]
) -> None:
    frame = first(video(tmp_path / "a.mkv", codec, pixel_format, size, count=1))
    assert difference(frame, View()) <= 8
    assert frame.pixels.shape == (size[1], size[0], 3)


def test_also_where_it_is_nothing_but_sharp_edges_of_colour(tmp_path: Path) -> None:
    blocks = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    picture = np.kron(blocks, np.ones((8, 8, 1), np.uint8))
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream: Any = container.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 640, 480, "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    assert difference(first(tmp_path / "a.mkv"), View()) <= 12


@pytest.mark.parametrize("standard", [BT601, BT709])
@pytest.mark.parametrize("rotation", [0, 90, 180, -90])
@pytest.mark.parametrize(
    "view", [View(), View(rotate=90, flip="horizontal"), View(rotate=180), View(rotate=270), View(flip="vertical")]
)
def test_upright_in_the_right_colours_and_as_asked_for(
    tmp_path: Path, standard: int, rotation: int, view: View
) -> None:
    path = video(tmp_path / "a.mp4", "libx264", size=(480, 300), count=1, standard=standard, rotation=rotation)
    assert difference(first(path), view) <= 8


@pytest.mark.parametrize("size", [(48, 32), (32, 100)])
def test_for_a_network_that_takes_no_square(tmp_path: Path, size: tuple[int, int]) -> None:
    frame = first(video(tmp_path / "a.mp4", size=(640, 480), count=1))
    assert difference(frame, View(rotate=90), size) <= 8
    assert difference(frame, View(), size) <= 8


@pytest.mark.parametrize(
    ("size", "view"),
    [
        ((66, 50), View()),
        ((32, 32), View()),
        ((280, 900), View()),
        ((640, 280), View(rotate=90)),
        ((640, 480), View(region("10%,0%,50%,100%"))),
    ],
)
def test_a_small_frame_and_a_region_are_scaled_as_ever(tmp_path: Path, size: tuple[int, int], view: View) -> None:
    assert difference(first(video(tmp_path / "a.mp4", size=size, count=1)), view) == 0


def test_the_colours_of_one_frame_are_not_those_of_the_next() -> None:
    conversion, planes = Conversion("a.mkv"), np.repeat(np.uint8([120, 90, 170]), [3072, 768, 768]).reshape(72, 64)

    def colour(space: int) -> list[int]:
        decoded = av.VideoFrame.from_ndarray(planes, format="yuv420p")
        decoded.colorspace = space
        return conversion.frame(decoded, 0.0).pixels[20, 20].tolist()  # type: ignore[no-any-return]

    plain, of_bt709 = colour(BT601), colour(BT709)
    assert plain != of_bt709
    assert [colour(space) for space in (BT601, BT709, BT601)] == [plain, of_bt709, plain]


def test_a_frame_is_made_once_and_not_in_full() -> None:
    made = []

    def full() -> Pixels:
        raise AssertionError

    def reduced(size: tuple[int, int]) -> Pixels:
        made.append(size)
        return np.zeros((size[1], size[0], 3), np.uint8)

    frame = Frame(full, 0.0, Reducible((640, 480), reduced))
    assert frame.seen(View(), SIZE)[0] is frame.seen(View(), SIZE)[0]
    assert made == [(107, 96)]


@pytest.mark.parametrize("size", [(64, 48), (640, 480)])
def test_what_cannot_be_converted_is_a_camera_s_error(size: tuple[int, int]) -> None:
    frame = Conversion("a.mkv").frame(av.VideoFrame(*size, "y210be"), 0.0)
    with pytest.raises(CameraError, match=r"a\.mkv: a frame of the kind y210be cannot be converted"):
        frame.seen(View(), SIZE)
