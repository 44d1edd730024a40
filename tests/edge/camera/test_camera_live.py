"""`edge-detect camera` on a live stream: lost and missing cameras, killed runs, systemd, reloads."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import Run, systemd
from tests.support.network_camera import NetworkCamera, network_camera
from tests.support.ports import free_port
from tests.support.videos import jpeg
from tests.support.watching import Running

# The left upper quarter of the test picture is red: dark enough to be FAKE for the brightness model.
DARK_QUARTER = "0%,0%,50%,50%"
QUICKLY = ("--enter", "0.6", "--smooth", "0", "--cool-down", "0")


@pytest.fixture
def observe(tmp_path: Path, brightness: Path) -> Iterator[Callable[..., Running]]:
    """Starts `edge-detect camera` on an address; all started processes are killed at the end."""
    started: list[Running] = []

    def start(address: str, *options: str, has_region: bool = True, **variables: str) -> Running:
        region = ("--region", DARK_QUARTER) if has_region else ()
        arguments = ("camera", "--source", address, "--model", brightness, *QUICKLY, *region, *options)
        started.append(Running(tmp_path, *arguments, **variables))
        return started[-1]

    yield start
    for running in started:
        running.kill()


def states(running: Running) -> list[object]:
    return [answer["event"]["state"] for answer in running.answers]  # type: ignore[index]


def test_killed_run_event_is_interrupted_and_password_is_never_shown(
    observe: Callable[..., Running], edge_detect: Run, tmp_path: Path
) -> None:
    with network_camera(jpeg(64, 48)) as server:
        address = server.address("/secret", "u:p%40ss@")
        first = observe(address)
        first.until(lambda running: states(running) == ["began"])
        first.process.send_signal(signal.SIGKILL)
        first.process.wait()
        second = observe(address)
        second.until(lambda running: states(running) == ["interrupted", "began"])
        log = second.stop()
    assert states(second) == ["interrupted", "began", "ended"], "the end of the work must end the event"
    assert second.process.returncode == 0
    name = f"http://127.0.0.1:{server.port}/secret"
    assert {answer["path"] for answer in [*first.answers, *second.answers]} == {name}
    results = edge_detect("results", env=os.environ | {"HOME": str(tmp_path), "PYTHONPATH": os.getcwd()})
    assert results.stdout.count(name) == 4
    ledger = b"".join(path.read_bytes() for path in (tmp_path / ".local/state/edge-detect").iterdir() if path.is_file())
    for text in (log, results.stdout, json.dumps(second.answers)):
        assert "p@ss" not in text
        assert "p%40ss" not in text
    assert b"p@ss" not in ledger
    assert b"p%40ss" not in ledger


def test_lost_camera_ends_event_and_is_reopened(observe: Callable[..., Running], tmp_path: Path) -> None:
    server = NetworkCamera([jpeg(64, 48)])
    port = server.port
    running = observe(server.address("/video"))
    running.until(lambda running: states(running) == ["began"])
    server.close()
    running.until(lambda running: states(running) == ["began", "ended"])
    with network_camera(jpeg(64, 48), port=port):
        running.until(lambda running: states(running) == ["began", "ended", "began"])
        log = running.stop()
    assert running.process.returncode == 0
    assert "trying again" in log
    assert log.count("trying again") <= 3, "logged more than once for a reason"


def test_systemd_receives_ready_watchdog_and_stopping(observe: Callable[..., Running], tmp_path: Path) -> None:
    with systemd(tmp_path) as listener, network_camera(jpeg(64, 48)) as server:
        notify = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "60000000"}
        running = observe(server.address("/video"), **notify)
        heard: list[str] = []
        while not any("WATCHDOG=1" in message and "FAKE" in message for message in heard):
            heard.append(listener.recv(4096).decode())
        assert "READY=1" in heard
        running.process.send_signal(signal.SIGTERM)
        while "STOPPING=1" not in heard:
            heard.append(listener.recv(4096).decode())


def test_service_waits_for_missing_camera(observe: Callable[..., Running], tmp_path: Path) -> None:
    port = free_port()
    with systemd(tmp_path) as listener:
        running = observe(f"http://127.0.0.1:{port}/video", NOTIFY_SOCKET=str(tmp_path / "notify"))
        while "READY=1" not in listener.recv(4096).decode():
            pass
        while "trying again" not in (status := listener.recv(4096).decode()) and "refused" not in status.lower():
            pass
        assert running.process.poll() is None
        with network_camera(jpeg(64, 48), port=port):
            running.until(lambda running: states(running) == ["began"])


@contextmanager
def listening(folder: Path) -> Iterator[Callable[[str], str]]:
    """Takes the place of systemd: returns the next message that contains a word."""
    with systemd(folder) as listener:

        def heard(word: str) -> str:
            while word not in (message := listener.recv(4096).decode()):
                pass
            return message

        yield heard


def test_service_waits_for_missing_snapshot_folder(observe: Callable[..., Running], tmp_path: Path) -> None:
    (tmp_path / "disk").write_text("not mounted yet")
    with listening(tmp_path) as heard, network_camera(jpeg(64, 48)) as server:
        service = {"NOTIFY_SOCKET": str(tmp_path / "notify")}
        running = observe(server.address("/video"), "--snapshots", str(tmp_path / "disk/seen"), **service)
        heard("cannot write snapshots")
        running.until(lambda running: states(running) == ["began"])
        (tmp_path / "disk").unlink()
        running.until(lambda running: (tmp_path / "disk/seen").is_dir())
        log = running.stop()
    assert "recovered: " in log, "the recovery must be logged without another snapshot"
    assert os.listdir(tmp_path / "disk/seen") == []


def test_reloaded_region_outside_picture_is_rejected(observe: Callable[..., Running], tmp_path: Path) -> None:
    settings = tmp_path / ".config/edge-detect.toml"
    settings.parent.mkdir()
    settings.write_text(f'[camera]\nregion = "{DARK_QUARTER}"\n')
    with listening(tmp_path) as heard, network_camera(jpeg(64, 48)) as server:
        variables = {"NOTIFY_SOCKET": str(tmp_path / "notify")}
        running = observe(server.address("/video"), has_region=False, **variables)
        heard("READY=1")
        running.until(lambda running: states(running) == ["began"])
        settings.write_text('[camera]\nregion = "0,0,6000,4000"\n')
        running.process.send_signal(signal.SIGHUP)
        heard("RELOADING=1")
        heard("READY=1")
        running.until(lambda running: states(running) == ["began", "ended", "began"])
        log = running.stop()
    assert "the settings stay as they were: the region 0,0,6000,4000 does not lie within the picture" in log
    assert running.process.returncode == 0


def test_camera_is_not_opened_outside_schedule(observe: Callable[..., Running], tmp_path: Path) -> None:
    """The schedule begins in one to two hours; nothing listens at the address."""
    hour = (time.localtime().tm_hour + 2) % 24
    running = observe("http://127.0.0.1:9/video", "--schedule", f"{hour:02}:00-{hour:02}:30")
    time.sleep(3)
    assert running.process.poll() is None, "it has tried to open the camera"
    log = running.stop()
    assert "refused" not in log.lower()
    assert running.answers == []
