"""RTSP cameras, by GStreamer's server on loopback."""

import contextlib
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from edge.capture.capture import Capture
from edge.capture.libav import LibavCamera, StreamSettings
from edge.errors import CameraError
from tests.conftest import CHECKOUT
from tests.support.packages import missing
from tests.support.ports import free_port
from tests.support.videos import RED

PYTHON = "/usr/bin/python3"
NEEDS = "import gi; gi.require_version('GstRtspServer', '1.0')"
PACKAGES = (
    "gir1.2-gst-rtsp-server-1.0 python3-gi "
    "gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-ugly"
)


class Server:
    def __init__(self, port: int) -> None:
        self.port = port
        script = CHECKOUT / "tests" / "support" / "rtsp_server.py"
        self.process = subprocess.Popen([PYTHON, script, str(port)], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def address(self, path: str, user: str = "") -> str:
        return f"rtsp://{user}127.0.0.1:{self.port}{path}"

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


@pytest.fixture
def server() -> Iterator[Server]:
    if not shutil.which(PYTHON) or subprocess.run([PYTHON, "-c", NEEDS], capture_output=True).returncode:
        missing(PACKAGES)
    running = Server(free_port())
    yield running
    running.kill()


# GStreamer puts luma of 16-235 into JPEGs, where 0-255 is meant.
@pytest.mark.parametrize(("path", "tolerance"), [("/h264", 12), ("/jpeg", 32)])
def test_rtsp_stream_has_expected_colours(server: Server, path: str, tolerance: int) -> None:
    stream = LibavCamera(server.address(path))
    for _ in range(20):
        frame = stream.frame()
        assert frame is not None
        assert frame.pixels.shape == (248, 328, 3)
        assert np.abs(frame.pixels.astype(int) - RED).max() <= tolerance
    assert stream.is_live
    stream.close()


def test_rtsp_password_opens_stream_and_is_never_shown(server: Server, capfd: pytest.CaptureFixture[str]) -> None:
    stream = LibavCamera(server.address("/secret", "u:p%40ss@"))
    assert stream.frame() is not None
    assert stream.name == server.address("/secret")
    stream.close()
    for user in ("", "u:GeHeim@", "u:p%40sss@"):
        with pytest.raises(CameraError) as caught:
            LibavCamera(server.address("/secret", user))
        assert str(caught.value) == f"{server.address('/secret')}: the user or the password is wrong or missing (401)"
    with pytest.raises(CameraError, match=r"/none: server returned 404 not found$"):
        LibavCamera(server.address("/none"))
    assert capfd.readouterr() == ("", "")


def test_stalled_rtsp_stream_raises_after_one_timeout(server: Server) -> None:
    stream = LibavCamera(server.address("/h264"), timeout_seconds=3)
    assert stream.frame() is not None
    server.process.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    with pytest.raises(CameraError, match=r"/h264: no answer for 3 s$"):
        list(iter(stream.frame, None))
    assert time.monotonic() - began < 5, "the time limit was waited for twice"
    stream.close()
    with pytest.raises(CameraError, match=r"/h264: no answer for 1 s$"):
        LibavCamera(server.address("/h264"), stream=StreamSettings(connect_seconds=1))


def test_restarted_rtsp_server_is_reopened(server: Server, logged: list[str]) -> None:
    address = server.address("/secret", "u:p%40ss@")
    with Capture(lambda: LibavCamera(address, timeout_seconds=5)) as capture:
        assert capture.latest(30) is not None
        server.kill()
        deadline = time.monotonic() + 60
        while not capture.is_reopening:
            assert time.monotonic() < deadline, "the loss was not noticed"
            time.sleep(0.01)
        again = Server(server.port)
        try:
            before = capture.captured
            while capture.captured == before or capture.latest(1.0) is None:
                assert time.monotonic() < deadline, "the stream was not reopened"
        finally:
            again.kill()
    assert logged[0].startswith(f"{server.address('/secret')}: ")
    assert "p%40ss" not in "".join(logged)


def test_stream_that_refuses_tcp_is_read_over_udp(server: Server) -> None:
    stream = LibavCamera(server.address("/udp"))
    assert stream.frame() is not None
    stream.close()
    with pytest.raises(CameraError, match=r"/udp: .*--transport udp"):
        LibavCamera(server.address("/udp"), stream=StreamSettings("tcp"))


def relay(listener: socket.socket, port: int, seconds: float) -> None:
    """Pass one connection on to a server, after so many seconds."""

    def copy(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)

    client, _ = listener.accept()
    with client, socket.create_connection(("127.0.0.1", port)) as upstream:
        time.sleep(seconds)
        thread = threading.Thread(target=copy, args=(client, upstream))
        thread.start()
        copy(upstream, client)
        thread.join()


@pytest.mark.parametrize(("connect_seconds", "is_answered"), [(20.0, True), (1.0, False)])
def test_camera_that_answers_late_is_waited_for(server: Server, connect_seconds: float, is_answered: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=relay, args=(listener, server.port, 3))
        thread.start()
        address = f"rtsp://127.0.0.1:{listener.getsockname()[1]}/h264"
        settings = StreamSettings(connect_seconds=connect_seconds)
        if is_answered:
            stream = LibavCamera(address, timeout_seconds=2, stream=settings)
            assert stream.frame() is not None
            stream.close()
        else:
            with pytest.raises(CameraError, match="no answer for 1 s"):
                LibavCamera(address, stream=settings)
        thread.join(30)
        assert not thread.is_alive()


def test_camera_without_video_is_one_line_error(server: Server) -> None:
    with pytest.raises(CameraError) as caught:
        LibavCamera(server.address("/sound"))
    assert str(caught.value) == (
        f"{server.address('/sound')}: refuses the request; it may have no video at this address"
    )
