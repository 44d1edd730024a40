"""HTTP cameras, by a server on loopback: colours, ends, stalls, passwords; and addresses without their password."""

import contextlib
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge import redact
from edge.capture.libav import LibavCamera, StreamSettings
from edge.capture.open_camera import open_camera
from edge.errors import CameraError
from tests.conftest import CHECKOUT, environment
from tests.support.network_camera import NetworkCamera, network_camera
from tests.support.videos import jpeg, shows_quadrants, sound, video


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NetworkCamera]:
    with network_camera(jpeg(64, 48), folder=tmp_path) as running:
        yield running


def until_it_fails(stream: LibavCamera) -> CameraError:
    with pytest.raises(CameraError) as caught:
        list(iter(stream.frame, None))
    stream.close()
    assert "\n" not in str(caught.value)
    return caught.value


def test_stream_is_live_and_has_expected_colours(server: NetworkCamera) -> None:
    stream = LibavCamera(server.address("/video"))
    first, second = stream.frame(), stream.frame()
    assert first is not None
    assert second is not None
    assert stream.is_live
    assert shows_quadrants(first.pixels)
    assert second.seconds >= first.seconds
    stream.close()


def test_end_of_stream_raises(server: NetworkCamera) -> None:
    error = until_it_fails(LibavCamera(server.address("/end")))
    assert str(error) in (
        f"{server.address('/end')}: the stream has ended",
        f"{server.address('/end')}: the connection broke off",  # FFmpeg 8, for a stream of unknown length
    )


def test_stalled_stream_raises_after_timeout(server: NetworkCamera) -> None:
    error = until_it_fails(
        LibavCamera(server.address("/stall"), timeout_seconds=1, stream=StreamSettings(connect_seconds=2))
    )
    assert str(error).endswith(": no answer for 1 s")


@pytest.mark.parametrize(
    "count",
    [
        60,  # FFmpeg's H.264 parser holds back the last frame when the stream stalls
        10,  # too few for FFmpeg's analysis of the stream, so that opening it runs into the time limit
    ],
)
def test_stalled_h264_stream_raises_after_one_timeout(tmp_path: Path, count: int) -> None:
    content = video(tmp_path / "a.ts", "libx264", count=count).read_bytes()
    is_over = threading.Event()

    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Type: video/mp2t\r\n\r\n" + content)
            is_over.wait()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        try:
            began = time.monotonic()
            stream = LibavCamera(
                f"http://127.0.0.1:{listener.getsockname()[1]}/a.ts",
                timeout_seconds=2,
                stream=StreamSettings(connect_seconds=2),
            )
            error = until_it_fails(stream)
        finally:
            is_over.set()
            thread.join()
    assert str(error).endswith("/a.ts: no answer for 2 s")
    assert time.monotonic() - began < 3.5, "the time limit was waited for twice"


def test_stream_without_video_raises(server: NetworkCamera, tmp_path: Path) -> None:
    (tmp_path / "page").write_text("<html><title>camera</title></html>" * 100)
    with pytest.raises(CameraError, match=r"/page: (no video|cannot be reached, or sends no video)"):
        LibavCamera(server.address("/page"))
    with pytest.raises(CameraError, match=r"/page: has no video, but a web page|/page: (no video|cannot be reached)"):
        open_camera(server.address("/page"))


@pytest.mark.parametrize("name", ["a.wav", "a.mkv"])
def test_stream_of_sound_alone_is_one_line_error(server: NetworkCamera, tmp_path: Path, name: str) -> None:
    sound(tmp_path / name)
    with pytest.raises(CameraError) as caught:
        open_camera(server.address(f"/{name}"))
    assert str(caught.value) == f"{server.address(f'/{name}')}: has no video"


def test_rtsp_stream_of_sound_alone_is_one_line_error() -> None:
    description = b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\nm=audio 0 RTP/AVP 0\r\na=control:1\r\n"

    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection, connection.makefile("rb") as lines, contextlib.suppress(ConnectionError):  # the client leaves
            while request := lines.readline():
                headers = list(iter(lambda: lines.readline().strip(), b""))
                sequence = next(line for line in headers if line.lower().startswith(b"cseq"))
                body = description if request.startswith(b"DESCRIBE") else b""
                head = b"RTSP/1.0 200 OK\r\n%b\r\nContent-Type: application/sdp\r\nPublic: DESCRIBE, SETUP, PLAY\r\n"
                connection.sendall(head % sequence + b"Content-Length: %d\r\n\r\n" % len(body) + body)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        address = f"rtsp://127.0.0.1:{listener.getsockname()[1]}/sound"
        with pytest.raises(CameraError) as caught:
            open_camera(address)
        thread.join()
    assert str(caught.value) == f"{address}: has no video"


def test_unreachable_address_raises() -> None:
    with pytest.raises(CameraError, match=r"^rtsp://127.0.0.1:1/x: connection refused$"):
        LibavCamera("rtsp://127.0.0.1:1/x")


def test_password_opens_stream_and_is_never_shown(server: NetworkCamera, capfd: pytest.CaptureFixture[str]) -> None:
    stream = LibavCamera(server.address("/secret", "u:p%40ss@"))
    assert stream.frame() is not None
    assert stream.name == server.address("/secret")
    stream.close()
    with pytest.raises(CameraError) as caught:
        LibavCamera(server.address("/secret", "u:wrongword@"))
    assert str(caught.value) == f"{server.address('/secret')}: the user or the password is wrong or missing (401)"
    assert "wrongword" not in "".join(traceback.format_exception(caught.value)).replace('"u:wrongword@"', "")
    assert capfd.readouterr() == ("", "")


def test_stream_errors_never_show_the_password() -> None:
    """Each kind of error is raised uncaught in a new process, whose whole output is searched."""
    for rest in ("127.0.0.1:1/x", "nowhere.invalid/x", "127.0.0.1:1/a@b", "[::1", "127.0.0.1:99999/x"):
        program = "import sys; from edge.capture.libav import LibavCamera; LibavCamera(sys.argv[1])"
        done = subprocess.run(
            [sys.executable, "-c", program, f"rtsp://name:GeHeim@{rest}"],
            cwd=CHECKOUT,
            env=environment(),
            capture_output=True,
            text=True,
        )
        assert "CameraError" in done.stderr
        assert "GeHeim" not in done.stdout + done.stderr
        assert "name:" not in done.stderr


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("rtsp://cam/stream1", "rtsp://cam/stream1"),
        ("RTSP://user:PWD@cam:554/h264?x=1", "rtsp://cam:554/h264..."),
        ("rtsp://user:PWD@cam/stream1", "rtsp://cam/stream1"),
        ("rtsp://PWD@cam/", "rtsp://cam/"),
        ("rtsp://user:P%40WD@cam/", "rtsp://cam/"),
        ("rtsp://user:PWD@PWD@cam/", "rtsp://cam/"),
        ("rtsp://user:PWD/PWD@cam/x", "rtsp://cam/x"),
        ("rtsp://user:PWD?PWD#PWD@cam/x", "rtsp://cam/x"),
        ("http://cam/video.cgi?user=admin&pwd=PWD", "http://cam/video.cgi..."),
        ("rtsp://cam/user=admin_password=PWD_channel=1.sdp", "rtsp://cam/..."),
        ("rtsp://cam/user%3Dadmin_password%3DPWD", "rtsp://cam/..."),
        ("rtsp://cam;password=PWD", "rtsp://..."),
        ("rtsp://user:PWD@[fe80::1]:8554/x", "rtsp://[fe80::1]:8554/x"),
        ("rtsp://user:PWD", "rtsp://..."),
        ("rtsp://user:PWD/x", "rtsp://..."),
        ("udp://@:1234", "udp://:1234"),
        ("rtsp://cam/\x1b[2J", "rtsp://cam/\\x1b[2J"),
        ("rtsp:/user:PWD@cam/x", "...@cam/x"),
        ("user:PWD@cam/x?pwd=PWD", "...@cam/x..."),
        ("rtsp:/cam/x?pwd=PWD", "rtsp:/cam/x..."),
    ],
)
def test_address_is_shown_without_password(given: str, expected: str) -> None:
    assert redact.shown(given) == expected


@pytest.mark.parametrize(
    "wrong", ["file:///etc/passwd", "concat://a", "pipe://0", "gopher://x/", "rtsp://", "rtsp://a b/", "rtsp://a/\n"]
)
def test_unsupported_address_raises_one_line_error(wrong: str) -> None:
    with pytest.raises(CameraError, match="not an address") as caught:
        LibavCamera(wrong)
    assert "\n" not in str(caught.value)


def test_network_playlist_cannot_open_local_files(server: NetworkCamera, tmp_path: Path) -> None:
    head = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n"
    own = video(tmp_path / "own.ts", "mpeg2video")
    (tmp_path / "honest.m3u8").write_text(f"{head}{server.address('/own.ts')}\n#EXT-X-ENDLIST\n")
    stream = LibavCamera(server.address("/honest.m3u8"))
    assert stream.frame() is not None
    stream.close()
    for name in (f"file://{own}", str(own), f"concat:{own}|{own}", f"subfile,,start,0,end,9999,,:{own}"):
        (tmp_path / "hostile.m3u8").write_text(f"{head}{name}\n#EXT-X-ENDLIST\n")
        with pytest.raises(CameraError):
            LibavCamera(
                server.address("/hostile.m3u8"), timeout_seconds=2, stream=StreamSettings(connect_seconds=2)
            ).frame()
