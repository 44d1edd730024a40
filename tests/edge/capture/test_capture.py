"""The thread that reads a camera: newest frames, lost cameras, ends."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.capture.capture import Capture, is_held
from edge.capture.frame import Camera, Frame
from edge.capture.image_folder import ImageFolder
from edge.capture.libav import LibavCamera
from edge.capture.slot import QUEUE_FRAMES
from edge.errors import CameraError, NotInstalledError
from tests.conftest import CHECKOUT, environment, picture
from tests.support.network_camera import NetworkCamera, network_camera
from tests.support.videos import jpeg, shows_quadrants, video

LIMIT_SECONDS = 60.0
END = threading.Event()  # set when a test ends: cameras that wait for it hang until then


def levels(*frames: Frame) -> list[int]:
    return [int(frame.pixels[0, 0, 0]) for frame in frames]


class Steps:
    """A live camera with one step for each frame.

    A number is a frame of that brightness, and None the end; an error is raised; a function is called before the next
    step.
    """

    name, is_live = "steps", True

    def __init__(self, *steps: object) -> None:
        self._steps = iter(steps)
        self.closed = 0

    def frame(self) -> Frame | None:
        step = next(self._steps)
        if isinstance(step, Exception):
            raise step
        if callable(step):
            step()
            return self.frame()
        return None if step is None else Frame(np.full((2, 2, 3), step, np.uint8), 0.0)

    def close(self) -> None:
        self.closed += 1


class Recording(Steps):
    is_live = False


@pytest.fixture
def start() -> Iterator[Callable[..., Capture]]:
    started: list[Capture] = []

    def capture(open_: Callable[[], Camera], **options: Any) -> Capture:
        started.append(Capture(open_, **options))
        return started[-1]

    END.clear()
    yield capture
    END.set()
    for one in started:
        one.close()


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + LIMIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "the condition was not met in time"
        time.sleep(0.01)


def taken(capture: Capture) -> Frame:
    frame = capture.latest(LIMIT_SECONDS)
    assert frame is not None, "no frame came in time"
    return frame


def test_live_camera_newer_frame_replaces_waiting_one(start: Callable[..., Capture]) -> None:
    go_on = threading.Event()
    capture = start(lambda: Steps(1, 2, 3, go_on.wait, 4, END.wait))
    until(lambda: capture.captured == 3)
    assert capture.latest().pixels[0, 0, 0] == 3
    assert capture.latest(0.01) is None, "the same frame twice"
    go_on.set()
    assert taken(capture).pixels[0, 0, 0] == 4
    assert (capture.captured, capture.skipped) == (4, 2)
    assert capture.is_live
    assert capture.name == "steps"
    assert capture.capture_milliseconds > 0


def test_recording_waits_for_reader_and_ends(start: Callable[..., Capture], tmp_path: Path) -> None:
    for place in range(5):
        picture(tmp_path / f"{place}.png", grey=40 * place + 30)
    capture = start(lambda: ImageFolder(tmp_path))
    seconds = []
    while not capture.is_over:
        frame = capture.latest(1.0)
        if frame is not None:
            seconds.append(frame.seconds)
    assert seconds == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert (capture.captured, capture.skipped, capture.is_live) == (5, 0, False)
    assert not capture.trouble
    assert capture.latest(0.01) is None


def test_recording_prepares_frames_ahead_and_loses_none(start: Callable[..., Capture]) -> None:
    count, prepared, began = 10 * QUEUE_FRAMES, [], threading.Event()

    def prepare(frame: Frame) -> None:
        assert threading.current_thread() is not threading.main_thread()
        prepared.extend(levels(frame))

    camera = Recording(began.wait, *range(count), None)
    capture = start(lambda: camera, prepare=prepare)
    began.set()
    until(lambda: len(prepared) == QUEUE_FRAMES)  # the first did not have to wait, the last waits for room
    assert capture.captured == QUEUE_FRAMES
    assert levels(*(taken(capture) for _ in range(count))) == list(range(count))
    assert capture.latest(LIMIT_SECONDS) is None
    assert capture.is_over
    assert prepared == sorted(set(prepared))
    assert (capture.captured, capture.skipped, camera.closed) == (count, 0, 1)


def test_recording_can_be_closed_before_its_end(start: Callable[..., Capture]) -> None:
    camera = Recording(*range(100), None)
    capture = start(lambda: camera)
    assert levels(taken(capture)) == [0]
    until(lambda: capture.captured == QUEUE_FRAMES + 1)
    capture.close()
    assert camera.closed == 1
    assert not is_held()
    assert capture.captured <= QUEUE_FRAMES + 2


def test_large_recording_queues_one_frame(start: Callable[..., Capture]) -> None:
    large = np.broadcast_to(np.uint8(0), (2160, 3840, 3))
    prepared: list[float] = []

    class Large(Steps):
        is_live = False

        def frame(self) -> Frame | None:
            return Frame(large, float(next(self._steps)))  # type: ignore[arg-type]

    start(lambda: Large(*range(9)), prepare=lambda frame: prepared.append(frame.seconds))
    until(lambda: prepared == [1.0])  # the first waits, the second is ready and waits for room
    time.sleep(0.2)
    assert prepared == [1.0]


def test_recording_unpreparable_frame_raises_after_earlier_frames(start: Callable[..., Capture]) -> None:
    has_failed = threading.Event()

    def prepare(frame: Frame) -> None:
        if levels(frame) == [3]:
            has_failed.set()
            raise CameraError("cannot be converted")

    capture = start(lambda: Recording(*range(9), None), prepare=prepare)
    assert has_failed.wait(LIMIT_SECONDS)
    assert levels(*(taken(capture) for _ in range(3))) == [0, 1, 2]
    with pytest.raises(CameraError, match="cannot be converted"):
        capture.latest(LIMIT_SECONDS)


def test_live_camera_prepares_only_requested_frames(start: Callable[..., Capture]) -> None:
    prepared: list[int] = []
    capture = start(lambda: Steps(1, 2, 3, END.wait), prepare=lambda frame: prepared.extend(levels(frame)))
    until(lambda: capture.captured == 3)
    taken(capture)
    assert prepared == [3]


def test_damaged_recording_raises_after_good_part(start: Callable[..., Capture], tmp_path: Path) -> None:
    good = range(3 * QUEUE_FRAMES)
    capture = start(lambda: Recording(*good, CameraError("damaged")), waits_at_start=True)
    assert levels(*(taken(capture) for _ in good)) == list(good)
    with pytest.raises(CameraError, match="damaged"):
        capture.latest(LIMIT_SECONDS)
    assert not capture.is_over


def test_missing_camera_at_start_raises_unless_retrying(start: Callable[..., Capture], logged: list[str]) -> None:
    attempts = []

    def open_() -> Camera:
        attempts.append(1)
        if len(attempts) < 3:
            raise CameraError("not there")
        return Steps(1, END.wait)

    with pytest.raises(CameraError, match="not there"):
        start(open_).latest(LIMIT_SECONDS)
    assert len(attempts) == 1
    capture = start(open_, waits_at_start=True)
    until(lambda: capture.is_reopening)
    assert capture.trouble == "not there"
    assert taken(capture).pixels[0, 0, 0] == 1
    assert not capture.is_reopening
    assert logged == ["not there; trying again"]


def test_missing_package_is_not_retried(start: Callable[..., Capture]) -> None:
    def open_() -> Camera:
        raise NotInstalledError("no PyAV")

    with pytest.raises(NotInstalledError, match="no PyAV"):
        start(open_, waits_at_start=True).latest(LIMIT_SECONDS)


def test_programming_error_in_thread_is_raised(start: Callable[..., Capture]) -> None:
    capture = start(lambda: Steps(ZeroDivisionError("a defect")), waits_at_start=True)
    with pytest.raises(ZeroDivisionError):
        capture.latest(LIMIT_SECONDS)


@pytest.mark.parametrize("loss", [None, CameraError("steps: pulled out")])
def test_lost_camera_is_closed_and_reopened(start: Callable[..., Capture], loss: object, logged: list[str]) -> None:
    cameras = [Steps(1, loss), Steps(2, END.wait)]
    remaining = iter(cameras)
    capture = start(lambda: next(remaining))
    assert taken(capture).pixels[0, 0, 0] == 1
    assert taken(capture).pixels[0, 0, 0] == 2
    assert [camera.closed for camera in cameras] == [1, 0]
    assert logged == [f"{loss or 'steps: gives no more frames'}; trying again"]
    assert capture.trouble == str(loss or "steps: gives no more frames"), (
        "one frame is not enough to count as recovered"
    )


def test_unconvertible_frames_count_as_lost_camera(start: Callable[..., Capture], logged: list[str]) -> None:
    def wrong() -> np.ndarray:
        raise CameraError("steps: cannot be converted")

    class Strange(Steps):
        def frame(self) -> Frame:
            time.sleep(0.01)
            return Frame(wrong, 0.0)

    remaining = iter([Strange(), Strange(), Steps(3, END.wait)])
    capture = start(lambda: next(remaining))
    until(lambda: (frame := capture.latest(1.0)) and frame.pixels[0, 0, 0] == 3)
    assert logged == ["steps: cannot be converted; trying again"]


def test_frozen_camera_is_distinguished_from_reopening(start: Callable[..., Capture]) -> None:
    def gone() -> Camera:
        raise CameraError("gone")

    capture = start(gone, waits_at_start=True)
    until(lambda: capture.is_reopening)
    assert capture.seconds_in_call == 0
    frozen = threading.Event()
    capture = start(lambda: Steps(1, frozen.wait, 2, None))
    taken(capture)
    until(lambda: capture.seconds_in_call > 0.1)
    assert not capture.is_reopening
    frozen.set()


def test_silent_camera_is_reported_once_and_on_recovery(start: Callable[..., Capture], logged: list[str]) -> None:
    frozen = threading.Event()
    capture = start(lambda: Steps(1, frozen.wait, 2, END.wait), silence_seconds=0.1)
    taken(capture)
    until(lambda: capture.latest() is None and logged)
    assert capture.latest(0.1) is None
    assert capture.trouble == "steps: no answer for 0.1 s; waiting for one"
    frozen.set()
    taken(capture)
    until(lambda: not capture.trouble)
    error = "steps: no answer for 0.1 s; waiting for one"
    assert logged == [error, f"recovered: {error}"]


def test_camera_whose_driver_hangs_at_close_is_held_until_it_returns(start: Callable[..., Capture]) -> None:
    hanging, other = start(lambda: Steps(1, END.wait)), start(lambda: Recording(None))
    taken(hanging)
    assert not is_held()
    hanging.close()
    other.close()
    hanging.close()
    assert is_held()
    END.set()
    until(lambda: not is_held())


def test_camera_is_held_until_all_hanging_drivers_return(start: Callable[..., Capture]) -> None:
    first_returns = threading.Event()
    cameras = Steps(1, first_returns.wait, 2), Steps(1, END.wait)
    for camera in cameras:
        capture = start(lambda camera=camera: camera)
        taken(capture)
        capture.close()
    first_returns.set()
    until(lambda: cameras[0].closed)
    assert is_held()
    END.set()
    until(lambda: not is_held())


def test_silent_camera_does_not_block_exit(tmp_path: Path) -> None:
    program = (
        "import sys\nfrom edge.capture.capture import Capture\nfrom edge.capture.libav import LibavCamera\n"
        "capture = Capture(lambda: LibavCamera(sys.argv[1], timeout_seconds=600))\n"
        "assert capture.latest(30) is not None\n"
        "while capture.latest(1) is not None: pass\n"
        "capture.close()\nprint('end')"
    )
    with network_camera(jpeg(64, 48)) as server:
        done = subprocess.run(
            [sys.executable, "-c", program, server.address("/stall")],
            cwd=CHECKOUT,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=LIMIT_SECONDS,
        )
    assert (done.returncode, done.stdout, done.stderr) == (0, "end\n", "")


def test_restarted_network_camera_is_reopened(start: Callable[..., Capture], tmp_path: Path, logged: list[str]) -> None:
    server = NetworkCamera([jpeg(64, 48)])
    address, port = server.address("/video", "u:GeHeim@"), server.port
    capture = start(lambda: LibavCamera(address, timeout_seconds=5))
    assert shows_quadrants(taken(capture).pixels)
    server.close()
    until(lambda: capture.is_reopening)
    with network_camera(jpeg(64, 48), port=port):
        before = capture.captured
        until(lambda: capture.captured > before)
        until(lambda: not capture.trouble)
        assert shows_quadrants(taken(capture).pixels)
        capture.close()
    assert logged[0].startswith(f"http://127.0.0.1:{port}/video: ")
    assert logged[-1].startswith("recovered: ")
    assert "GeHeim" not in "".join(logged)


def test_video_file_is_read_completely(start: Callable[..., Capture], tmp_path: Path) -> None:
    path = video(tmp_path / "a.mp4", count=12)
    capture = start(lambda: LibavCamera(str(path)))
    seen = []
    while not capture.is_over:
        if (frame := capture.latest(1.0)) is not None:
            seen.append(frame.seconds)
    assert seen == pytest.approx([place / 10 for place in range(12)])
