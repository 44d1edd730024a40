"""Recordings by HTTP are read like files: every frame, with its position, to the end."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from edge.capture.capture import Capture
from edge.capture.libav import LibavCamera
from edge.capture.open_camera import open_camera
from edge.errors import CameraError
from tests.support.http_cameras import Request, http_camera
from tests.support.videos import video

COUNT = 30


def files(folder: Path, *, has_ranges: bool = True, sent: int | None = None) -> Callable[[Request], None]:
    """Answers with files of a folder.

    Args:
        has_ranges: whether a part of a file can be asked for.
        sent: the connection is closed after so many bytes of an answer; None: after all of them.
    """

    def answer(request: Request) -> None:
        content = (folder / request.path.lstrip("/")).read_bytes()
        start, status, more = 0, "200 OK", ""
        if has_ranges:
            start = int(request.headers.get("range", "bytes=0-").removeprefix("bytes=").split("-")[0])
            if start >= len(content):
                request.send(b"HTTP/1.1 416 Range Not Satisfiable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
                return
            more = f"Accept-Ranges: bytes\r\nContent-Range: bytes {start}-{len(content) - 1}/{len(content)}\r\n"
            status = "206 Partial Content"
        rest = content[start:]
        request.send(
            f"HTTP/1.1 {status}\r\nConnection: close\r\n{more}Content-Length: {len(rest)}\r\n\r\n".encode()
            + rest[:sent]
        )

    return answer


def positions(camera: object) -> list[float]:
    assert isinstance(camera, LibavCamera)
    assert not camera.is_live
    found = [frame.seconds for frame in iter(camera.frame, None)]
    camera.close()
    return found


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi", "a.ts"])
def test_all_frames_have_the_positions_that_they_have_in_the_file(tmp_path: Path, name: str) -> None:
    path = video(tmp_path / name, "mpeg2video" if name == "a.ts" else "mpeg4", count=COUNT)
    with http_camera(files(tmp_path)) as server:
        found = positions(open_camera(server.address(f"/{name}")))
    assert len(found) == COUNT
    assert found == pytest.approx([number / 10 for number in range(COUNT)])
    assert found == positions(LibavCamera(str(path)))


def test_slow_reader_gets_every_frame_and_then_the_end(tmp_path: Path) -> None:
    video(tmp_path / "a.mp4", count=COUNT)
    with (
        http_camera(files(tmp_path, has_ranges=False)) as server,
        Capture(lambda: open_camera(server.address("/a.mp4"))) as capture,
    ):
        taken = 0
        while not capture.is_over:
            taken += capture.latest(5) is not None
            threading.Event().wait(0.01)
        assert not capture.is_live
    assert (taken, capture.skipped) == (COUNT, 0)


def test_rest_is_asked_for_if_the_connection_breaks_off(tmp_path: Path) -> None:
    video(tmp_path / "a.avi", "rawvideo", count=COUNT)
    with http_camera(files(tmp_path, sent=40_000)) as server:
        assert len(positions(open_camera(server.address("/a.avi")))) == COUNT
    assert len(server.requests) > 2


def test_broken_connection_without_ranges_is_an_error(tmp_path: Path) -> None:
    video(tmp_path / "a.avi", "rawvideo", count=COUNT)
    with http_camera(files(tmp_path, has_ranges=False, sent=100_000)) as server:
        camera = open_camera(server.address("/a.avi"))
        with pytest.raises(CameraError, match=r"/a.avi: the connection broke off$"):
            list(iter(camera.frame, None))
        camera.close()


def test_answer_without_length_is_live(tmp_path: Path) -> None:
    content = video(tmp_path / "a.mkv", count=COUNT).read_bytes()
    with http_camera(lambda request: request.send(b"HTTP/1.1 200 OK\r\n\r\n" + content)) as server:
        camera = open_camera(server.address("/a.mkv"))
        assert camera.is_live
        camera.close()


def test_dash_is_named_as_not_read() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/dash+xml\r\n\r\n<?xml version='1.0'?><MPD/>"
    with http_camera(lambda request: request.send(head)) as server, pytest.raises(CameraError) as caught:
        open_camera(server.address("/live.mpd"))
    assert str(caught.value).endswith("/live.mpd: sends DASH, which is not read; use its address of RTSP, HLS or MJPEG")
