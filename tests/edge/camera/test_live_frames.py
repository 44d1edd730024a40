"""The live picture of a real camera process on a folder of images."""

import io
import json
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edge.camera import live_view
from edge.camera.live_view import LiveView, encoded
from edge.camera.loop import Latest
from edge.capture.frame import Frame, Reducible
from edge.capture.roi import Roi, region
from edge.daemon.status import short_address
from edge.serve.cameras import Cameras, id_of
from tests.conftest import Run, environment, picture
from tests.support.network_camera import network_camera
from tests.support.watching import Running


@pytest.fixture
def dark(tmp_path: Path) -> Path:
    return picture(tmp_path / "dark.jpg", 15, size=(1000, 500))


@pytest.fixture
def running(dark: Path, runtime_folder: Path, tmp_path: Path, brightness: Path) -> Iterator[Running]:
    with network_camera(dark.read_bytes()) as source:
        words = ("--source", source.address(), "--name", "porch", "--model", brightness)
        camera = Running(tmp_path, "camera", *words, XDG_RUNTIME_DIR=str(runtime_folder))
        yield camera
        camera.kill()


def latest(running: Running) -> tuple[Image.Image, dict[str, Any]]:
    found: list[tuple[bytes, dict[str, Any]]] = []

    def is_there(_: Running) -> bool:
        one = Cameras().latest(id_of("porch"))
        found.extend([one] if one else [])
        return bool(found)

    running.until(is_there)
    jpeg, fields = found[0]
    return Image.open(io.BytesIO(jpeg)), fields


def test_latest_frame_has_picture_probability_and_event(running: Running) -> None:
    running.until(lambda running: bool(running.answers))
    image, fields = latest(running)
    assert (image.format, image.size) == ("JPEG", (640, 320))
    assert abs(np.asarray(image).mean() - 15) < 8
    assert (fields["camera"], fields["pid"]) == ("porch", running.process.pid)
    assert (fields["label"], fields["event"], fields["in_event"]) == ("FAKE", "FAKE", True)
    assert fields["smoothed"] > 0.8
    assert fields["state"] == "seeing"
    assert 0 <= fields["frame_seconds"] < 5
    assert (fields["width"], fields["height"]) == image.size


def test_status_says_what_the_camera_shows(running: Running) -> None:
    running.until(lambda running: bool(running.answers))
    (one,) = Cameras().cameras
    assert (one.name, one.is_camera, one.id) == ("porch", True, id_of("porch"))
    assert one.status["state"] == "seeing"
    assert one.status["frames_per_second"] > 0
    assert one.status["frame_seconds"] < 5
    assert one.status["in_event"] is True


def test_camera_that_goes_away_while_somebody_looks_has_no_picture(running: Running, runtime_folder: Path) -> None:
    latest(running)
    running.process.send_signal(signal.SIGKILL)
    running.process.wait()
    assert Cameras().latest(id_of("porch")) is None
    assert Cameras().running() == []


def test_stopped_camera_removes_its_sockets(running: Running, runtime_folder: Path) -> None:
    latest(running)
    with socket.socket(socket.AF_UNIX) as idle:  # does not delay the end
        (path,) = (runtime_folder / "edge-detect").glob("*.live")
        with short_address(path) as address:
            idle.connect(address)
        began = time.monotonic()
        running.stop()
    assert time.monotonic() - began < 10
    assert running.process.returncode == 0
    assert list((runtime_folder / "edge-detect").iterdir()) == []


def test_camera_works_without_a_runtime_folder(dark: Path, tmp_path: Path, edge_detect: Run, brightness: Path) -> None:
    (tmp_path / "blocked").write_bytes(b"")
    done = edge_detect(
        "camera",
        "--source",
        dark,
        "--model",
        brightness,
        env=environment(HOME=str(tmp_path), RUNTIME_DIRECTORY=str(tmp_path / "blocked")),
    )
    assert done.returncode == 0, done.stderr


class Loop:
    """What the view needs of a camera's loop and its events."""

    name, is_resting, is_seeing, label, smoothed, is_in_event = "porch", False, True, "FAKE", 0.25, False

    def __init__(self) -> None:
        self.latest: Latest | None = None
        self.figures = type("Figures", (), {"frames_per_second": 5.0})()
        self.conversions = 0

    def show(self, level: int) -> None:
        def pixels() -> np.ndarray:
            self.conversions += 1
            return np.full((480, 960, 3), level, np.uint8)

        verdict = type("Shown", (), {"label": "REAL", "score": 0.75})()
        self.latest = Latest(Frame(pixels, 0.0), verdict, time.monotonic())


@pytest.fixture
def loop() -> Loop:
    return Loop()


def level(jpeg: bytes) -> int:
    return int(np.asarray(Image.open(io.BytesIO(jpeg))).mean().round())


def test_view_encodes_when_asked_and_at_most_five_times_a_second(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    view, now = LiveView(loop, loop, Roi()), [100.0]  # type: ignore[arg-type]
    monkeypatch.setattr(live_view.time, "monotonic", lambda: now[0])
    assert view()[1] == b""
    for shown in range(10, 100, 10):
        loop.show(shown)
    assert loop.conversions == 0, "nobody has looked"
    assert level(view()[1]) == 90
    loop.show(200)
    now[0] += 0.15
    fields, jpeg = view()
    assert level(jpeg) == 90, "the next one is not due"
    assert fields["frame_seconds"] == pytest.approx(0.15)
    now[0] += 0.06
    assert level(view()[1]) == 200
    now[0] += 5
    assert level(view()[1]) == 200
    assert loop.conversions == 2, "the same frame is encoded once"


def test_closed_camera_shows_nothing(loop: Loop) -> None:
    view = LiveView(loop, loop, Roi())  # type: ignore[arg-type]
    loop.show(50)
    assert view()[1]
    loop.latest = None
    assert view()[1] == b""


def test_frame_that_cannot_be_converted_shows_nothing(loop: Loop) -> None:
    view = LiveView(loop, loop, Roi(region("0,0,2000,2000")))  # type: ignore[arg-type]
    loop.show(50)
    fields, jpeg = view()
    assert jpeg == b""
    assert json.dumps(fields)


def test_picture_shows_the_region_turned_as_it_is_classified() -> None:
    pixels = np.zeros((100, 200, 3), np.uint8)
    pixels[:, 100:] = 255
    jpeg, size = encoded(Latest(Frame(pixels, 0.0), None, 0.0), Roi(region("0%,50%,100%,50%"), rotate=90))  # type: ignore[arg-type]
    assert size == (100, 100)
    assert level(jpeg) == 255


def test_large_frame_is_reduced_on_the_way_from_its_format() -> None:
    asked = []

    def reduced(size: tuple[int, int]) -> np.ndarray:
        asked.append(size)
        return np.zeros((size[1], size[0], 3), np.uint8)

    def whole() -> np.ndarray:
        raise AssertionError("the whole picture must not be converted")

    frame = Frame(whole, 0.0, Reducible((1920, 1080), reduced))
    _, size = encoded(Latest(frame, None, 0.0), Roi(rotate=90))  # type: ignore[arg-type]
    assert asked == [(640, 360)]
    assert size == (360, 640)
