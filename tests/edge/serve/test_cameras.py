"""What runs on the board, and live pictures, from real processes and from hostile or hanging ones."""

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge.daemon.live import LiveServer
from edge.daemon.status import LIVE_SUFFIX, StatusServer, listen, short_address, socket_path
from edge.serve import cameras
from edge.serve.cameras import Cameras, id_of
from tests.conftest import Run
from tests.support.watching import Running

pytestmark = pytest.mark.usefixtures("runtime_folder")

JPEG = b"\xff\xd8 a picture \xff\xd9"


@contextmanager
def answering(path: Path, answer: bytes) -> Iterator[None]:
    """A socket that sends the same bytes to every client."""
    listener = listen(path)

    def serve() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with client:
                client.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        listener.close()


def test_running_watcher_is_listed(inbox: Path, runtime_folder: Path, brightness: Path) -> None:
    running = Running(inbox.parent, "watch", inbox, "--model", brightness, XDG_RUNTIME_DIR=str(runtime_folder))
    try:
        running.until(lambda _: bool(Cameras().running()))
        (one,) = Cameras().running()
        assert (one.name, one.is_camera, one.error) == (str(inbox), False, "")
        assert one.id == id_of(str(inbox))
        assert one.status["waiting"] == 0
        assert Cameras().latest(one.id) is None
        running.process.send_signal(signal.SIGKILL)
        running.process.wait()
        assert Cameras().running() == []
    finally:
        running.kill()


def test_latest_picture_and_its_fields_are_received() -> None:
    with LiveServer("porch", lambda: ({"label": "REAL"}, JPEG)):
        assert Cameras().latest(id_of("porch")) == (JPEG, {"label": "REAL", "bytes": len(JPEG)})
        assert Cameras().latest(id_of("garden")) is None
    assert Cameras().latest(id_of("porch")) is None


def test_picture_is_made_only_when_asked_for() -> None:
    made = []
    with LiveServer("porch", lambda: (made.append(1) or {}, JPEG)):
        assert made == []
        Cameras().latest(id_of("porch"))
        Cameras().latest(id_of("porch"))
        assert len(made) == 2


def test_camera_without_a_frame_has_no_picture() -> None:
    with LiveServer("porch", lambda: ({}, b"")):
        assert Cameras().latest(id_of("porch")) is None


@pytest.mark.parametrize("id_", ["", "..", "../../../../etc/passwd", "0" * 15, "0" * 17, "*" * 16, "\u0660" * 16])
def test_invalid_id_is_no_camera(id_: str) -> None:
    with LiveServer("porch", lambda: ({}, JPEG)):
        assert Cameras().latest(id_) is None


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\n",
        b"no json\n",
        b"[]\n",
        b'{"bytes": -1}\n',
        b'{"bytes": "7"}\n',
        b'{"bytes": 99999999999}\n',
        b'{"bytes": 5}\nabc',
        b"x" * 100_000,
        b"[" * 60_000 + b"\n",
    ],
)
def test_answer_against_the_protocol_is_no_picture(answer: bytes) -> None:
    with answering(socket_path("porch", LIVE_SUFFIX), answer):
        assert Cameras().latest(id_of("porch")) is None


def test_hanging_camera_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cameras, "LATEST_SECONDS", 0.2)
    listener = listen(socket_path("porch", LIVE_SUFFIX))
    try:
        assert Cameras().latest(id_of("porch")) is None
    finally:
        listener.close()


def test_client_that_reads_nothing_delays_others_only_shortly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.daemon.live.SEND_SECONDS", 0.2)
    large = JPEG + bytes(3_000_000)
    with LiveServer("porch", lambda: ({}, large)), socket.socket(socket.AF_UNIX) as idle:
        with short_address(socket_path("porch", LIVE_SUFFIX)) as address:
            idle.connect(address)
        found = Cameras().latest(id_of("porch"))
        assert found is not None
        assert len(found[0]) == len(large)


def test_error_of_a_watcher_that_hangs_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cameras, "ANSWER_SECONDS", 0.2)
    with StatusServer("/in"):
        (one,) = Cameras().running()
    assert "does not answer" in one.error
    assert (one.id, one.status) == (id_of("/in"), {})


def test_threads_do_not_wait_for_a_watcher_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cameras, "STATUS_SECONDS", 0.0)
    found = Cameras()
    assert found.running() == []
    with StatusServer("/in"):
        thread = threading.Thread(target=found.running)
        thread.start()
        while not found._lock.locked():
            time.sleep(0.001)
        began = time.monotonic()
        assert found.running() == []
        assert time.monotonic() - began < cameras.ANSWER_SECONDS / 2
        thread.join()


def test_status_is_asked_for_once_a_second() -> None:
    found = Cameras()
    with answering(socket_path("/in", ".status"), b'{"folder": "/in", "waiting": 0}\n'):
        assert [one.name for one in found.running()] == ["/in"]
    assert [one.name for one in found.running()] == ["/in"], "a second has not passed"
    assert Cameras().running() == []


@pytest.mark.parametrize("answer", [b"", b"[]\n", b"7\n", b"{}\n", b'{"folder": 7}\n', b"[" * 60_000 + b"\n"])
def test_invalid_status_is_an_error(answer: bytes) -> None:
    with answering(socket_path("/in", ".status"), answer):
        (one,) = Cameras().running()
    assert one.error
    assert one.status == {}


def test_sockets_of_killed_processes_are_removed(runtime_folder: Path, edge_detect: Run) -> None:
    stale = runtime_folder / "edge-detect" / f"1-{id_of('gone')}{LIVE_SUFFIX}"
    listen(stale).close()
    assert stale.exists()
    with LiveServer("porch", lambda: ({}, JPEG)):
        assert not stale.exists()
        assert len(os.listdir(stale.parent)) == 1
    assert os.listdir(stale.parent) == []
