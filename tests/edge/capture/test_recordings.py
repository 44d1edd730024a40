"""Video files: colours, times, damage, and files that are not videos."""

import struct
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from edge.capture.libav import LibavCamera
from edge.errors import CameraError
from tests.conftest import CHECKOUT, environment
from tests.support.videos import BT601, BT709, COLOURS, corners, jpeg, shows_quadrants, sound, video


def pictures(stream: LibavCamera) -> list[np.ndarray]:
    found = []
    while (frame := stream.frame()) is not None:
        found.append(frame.pixels)
    stream.close()
    return found


@pytest.mark.parametrize(
    ("name", "codec", "pixel_format", "size"),
    [
        ("a.avi", "mpeg4", "yuv420p", (66, 50)),
        ("a.mp4", "libx264", "yuv420p", (66, 50)),
        ("a.mkv", "libx264", "yuv444p", (67, 51)),
        ("a.ts", "mpeg2video", "yuv420p", (66, 50)),
        ("a.avi", "mjpeg", "yuvj420p", (67, 51)),
        ("a.mov", "mjpeg", "yuvj422p", (66, 50)),
        ("a.mkv", "ffv1", "bgr0", (67, 51)),
        ("a.mkv", "ffv1", "gray", (67, 51)),
    ],
)
def test_every_codec_gives_colours_without_padding(
    tmp_path: Path, name: str, codec: str, pixel_format: str, size: tuple[int, int]
) -> None:
    found = pictures(LibavCamera(str(video(tmp_path / name, codec, pixel_format, size))))
    assert len(found) == 5
    for pixels in found:
        assert pixels.shape == (size[1], size[0], 3)
        assert pixels.dtype == np.uint8
        assert pixels.flags.c_contiguous
        if pixel_format == "gray":
            assert (pixels[..., 0] == pixels[..., 1]).all()
            assert corners(pixels)[3].min() > 200
        else:
            assert shows_quadrants(pixels), corners(pixels)


def test_colour_standard_is_respected(tmp_path: Path) -> None:
    (pixels, *_) = pictures(LibavCamera(str(video(tmp_path / "hd.mp4", "libx264", standard=BT709))))
    assert shows_quadrants(pixels), corners(pixels)


@pytest.mark.parametrize("standard", [BT601, BT709])
@pytest.mark.parametrize(("rotation", "order"), [(90, (1, 3, 0, 2)), (180, (3, 2, 1, 0)), (-90, (2, 0, 3, 1))])
def test_rotation_in_recording_metadata_is_applied(
    tmp_path: Path, rotation: int, order: tuple[int, ...], standard: int
) -> None:
    """FFmpeg's rotation is anticlockwise, in degrees (libavutil/display.h)."""
    (pixels, *_) = pictures(
        LibavCamera(str(video(tmp_path / "held.mp4", "libx264", standard=standard, rotation=rotation)))
    )
    assert pixels.shape == ((66, 50, 3) if rotation != 180 else (50, 66, 3))
    assert np.abs(corners(pixels) - [COLOURS[at] for at in order]).max() <= 6


def test_recording_is_not_live_and_frames_have_positions(tmp_path: Path) -> None:
    stream = LibavCamera(str(video(tmp_path / "a.mp4")))
    assert not stream.is_live
    assert stream.name == str(tmp_path / "a.mp4")
    seconds = [frame.seconds for frame in iter(stream.frame, None)]
    assert seconds == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4])
    stream.close()
    stream.close()


def test_times_never_decrease_in_joined_recording(tmp_path: Path) -> None:
    part = video(tmp_path / "part.ts", "mpeg2video", count=6).read_bytes()
    (tmp_path / "a.ts").write_bytes(part + part)
    stream = LibavCamera(str(tmp_path / "a.ts"))
    seconds = [frame.seconds for frame in iter(stream.frame, None)]
    stream.close()
    assert len(seconds) >= 11
    assert all(0 < after - before < 0.3 for before, after in pairwise(seconds)), seconds


def test_bare_stream_has_times_from_frame_rate(tmp_path: Path) -> None:
    stream = LibavCamera(str(video(tmp_path / "a.h264", "libx264")))
    seconds = [frame.seconds for frame in iter(stream.frame, None)]
    stream.close()
    assert len(seconds) == 5
    assert seconds[0] == 0
    assert all(after - before > 0.01 for before, after in pairwise(seconds)), seconds


def test_metadata_in_another_encoding_is_accepted(tmp_path: Path) -> None:
    path = video(tmp_path / "a.avi", title="Film")
    content = path.read_bytes()
    assert content.count(b"Film") == 1
    path.write_bytes(content.replace(b"Film", b"\xff\xe9\xe8\xa0"))
    assert len(pictures(LibavCamera(str(path)))) == 5


def test_size_change_within_recording_is_followed(tmp_path: Path) -> None:
    (tmp_path / "a.mjpeg").write_bytes(jpeg(64, 48) + jpeg(96, 64) + jpeg(33, 21))
    found = pictures(LibavCamera(str(tmp_path / "a.mjpeg")))
    assert [pixels.shape for pixels in found] == [(48, 64, 3), (64, 96, 3), (21, 33, 3)]
    assert all(shows_quadrants(pixels) for pixels in found)


def test_damage_loses_only_some_frames(tmp_path: Path) -> None:
    pieces = [jpeg(64, 48) for _ in range(9)]
    pieces[4] = pieces[4][:200] + bytes(len(pieces[4]) - 202) + pieces[4][-2:]
    pieces[5] = b"\xff\xd8\xff\xe0" + bytes(300) + b"\xff\xd9"
    (tmp_path / "a.mjpeg").write_bytes(b"".join(pieces))
    found = pictures(LibavCamera(str(tmp_path / "a.mjpeg")))
    assert 7 <= len(found) < 9
    assert shows_quadrants(found[-1])


def test_enormous_frame_is_rejected_before_decoding(tmp_path: Path) -> None:
    video(tmp_path / "a.avi", "mjpeg", "yuvj420p", (8000, 5000), count=1)
    with pytest.raises(CameraError, match="no frame can be decoded"):
        pictures(LibavCamera(str(tmp_path / "a.avi")))


def test_file_that_is_no_video_raises_one_line_error(tmp_path: Path) -> None:
    whole = video(tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.mp4").write_text("no video\n" * 100)
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "list.mp4").write_text(f"ffconcat version 1.0\nfile '{tmp_path}/whole.mp4'\n")
    (tmp_path / "list.m3u8").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nwhole.mp4\n#EXT-X-ENDLIST\n")
    sound(tmp_path / "sound.mkv")
    names = ["cut.mp4", "text.mp4", "empty.mp4", "list.mp4", "list.m3u8", "sound.mkv", "missing.mp4", "nul\0l.mp4", "."]
    for name in names:
        with pytest.raises(CameraError) as caught:
            pictures(LibavCamera(str(tmp_path / name)))
        assert "\n" not in str(caught.value)
        assert name.split("\0")[0] in str(caught.value) or name == "."


def test_missing_pyav_names_package_to_install(tmp_path: Path) -> None:
    program = "import sys; sys.modules['av'] = None\nfrom edge.capture.libav import LibavCamera\nLibavCamera('x.mp4')"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=CHECKOUT, env=environment(), capture_output=True, text=True
    )
    assert "NotInstalledError: webcams, network cameras and video files need PyAV: pip install" in done.stderr


def test_reordered_frames_without_presentation_times_keep_their_order(tmp_path: Path) -> None:
    path = video(tmp_path / "a.avi", "libx264", count=100, bf="3", b_strategy="0")
    seconds = [frame.seconds for frame in iter(LibavCamera(str(path)).frame, None)]
    assert len(seconds) == 100
    assert seconds == sorted(seconds)
    assert seconds == pytest.approx([number / 10 for number in range(100)], abs=0.41)


@pytest.mark.parametrize(
    ("matrix", "order"),
    [
        ((-1, 0, 0, 1), (1, 0, 3, 2)),
        ((1, 0, 0, -1), (2, 3, 0, 1)),
        ((0, 1, 1, 0), (0, 2, 1, 3)),
        ((0, -1, -1, 0), (3, 1, 2, 0)),
        ((0, 1, -1, 0), (2, 0, 3, 1)),
        ((0, -1, 1, 0), (1, 3, 0, 2)),
        ((-1, 0, 0, -1), (3, 2, 1, 0)),
    ],
)
def test_display_matrix_turns_and_mirrors(tmp_path: Path, matrix: tuple[int, ...], order: tuple[int, ...]) -> None:
    """The numbers a, b, c, d map a point (p, q) to (a p + c q, b p + d q) (ISO/IEC 14496-12, section 6.2.2)."""
    path = video(tmp_path / "a.mp4", "libx264")
    content = bytearray(path.read_bytes())
    a, b, c, d = (number << 16 for number in matrix)
    at = content.index(b"tkhd") + 44
    content[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    (pixels, *_) = pictures(LibavCamera(str(path)))
    assert pixels.shape == ((66, 50, 3) if matrix[1] else (50, 66, 3))
    assert np.abs(corners(pixels) - [COLOURS[at] for at in order]).max() <= 6


def test_cover_picture_is_not_taken_for_the_video(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        cover: Any = container.add_stream("mjpeg", rate=1)
        stream: Any = container.add_stream("mpeg4", rate=10)
        for one, format_ in ((cover, "yuvj420p"), (stream, "yuv420p")):
            one.width, one.height, one.pix_fmt = 66, 50, format_
        picture = av.VideoFrame.from_ndarray(np.full((50, 66, 3), 128, np.uint8), format="rgb24")
        container.mux(cover.encode(picture.reformat(format="yuvj420p")))
        container.mux(cover.encode())
        for _ in range(20):
            container.mux(stream.encode(picture.reformat(format="yuv420p")))
        container.mux(stream.encode())
    assert len(list(iter(LibavCamera(str(path)).frame, None))) == 20
