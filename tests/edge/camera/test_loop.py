"""The camera's loop, on a live camera whose picture the test decides."""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.camera.event_detector import Rules
from edge.camera.event_recorder import EventRecorder
from edge.camera.loop import CameraLoop, Pace
from edge.capture.capture import Capture, is_held
from edge.capture.frame import Frame
from edge.capture.roi import Roi, region
from edge.daemon.lifecycle import Lifecycle
from edge.daemon.recorder import Recorder
from edge.delivery.outbox import Outlet
from edge.errors import CameraError, CoralError, RoiError, SinkError
from edge.imaging.preprocess import Pixels
from edge.inference import model
from edge.inference.classifier import Classifier
from edge.inference.retrying import RetryingClassifier
from edge.inference.router import Router
from edge.stats import Stats
from edge.store.ledger import Ledger
from edge.verdict import Recorded, Verdict
from tests.support.photos import ROUTED, two_models
from tests.support.stepping import Stepping

PATIENCE = 30.0
PHOTO_LIKE = ROUTED[1]
BRIGHT, DARK = 240, 15
RULES = Rules(smooth_seconds=0, least_seconds=0, cool_down_seconds=0, gap_seconds=0.5)


class Scene:
    """A camera that shows a level of grey, its left half a little darker; `level` is raised if it is an error."""

    name, is_live = "scene", True

    def __init__(self) -> None:
        self.level: int | Exception = DARK
        self.width, self.height = 40, 30

    def frame(self) -> Frame:
        time.sleep(0.01)
        if isinstance(self.level, Exception):
            raise self.level
        pixels = np.full((self.height, self.width, 3), self.level + 3, np.uint8)
        pixels[:, : self.width // 2] = self.level - 3  # a frame without any texture would be UNSURE
        return Frame(pixels, time.monotonic())

    def close(self) -> None:
        pass


class Coral(Classifier):
    """Computes on the processor, and fails while `is_away`."""

    is_away = False

    def verdict(self, path: str, pixels: Pixels, *arguments: Any, **options: Any) -> Verdict:
        if self.is_away:
            raise CoralError("away")
        self.latest = int(pixels.mean())
        return super().verdict(path, pixels, *arguments, **options)

    def reopen(self) -> None:
        pass


class States:
    """A sink that collects the states of the events."""

    name = "states"

    def __init__(self) -> None:
        self.states: list[str] = []
        self.is_full = False

    def emit(self, batch: Any) -> None:
        if self.is_full:
            raise SinkError("full")
        recorded: Recorded
        for recorded in batch:
            assert recorded.event is not None
            self.states.append(recorded.event.state)


@dataclass
class Work:
    scene: Scene
    coral: Coral
    sink: States
    loop: CameraLoop
    steps: Stepping[CameraLoop]
    stats: Stats

    def until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, "the condition was never met"
            next(self.steps)


@contextmanager
def observed(
    state: Path,
    brightness: Path,
    *,
    router: Router | None = None,
    scene: Scene | None = None,
    view: Roi | None = None,
    pace: Pace | None = None,
    rules: Rules = RULES,
) -> Iterator[Work]:
    scene, sink, coral, life = scene or Scene(), States(), Coral(model.load(brightness)), Lifecycle()
    stats = Stats()

    @contextmanager
    def opened() -> Iterator[CameraLoop]:
        with Ledger(state) as ledger:
            recorder = Recorder(life, ledger, "scene", [Outlet(ledger, "scene", sink)], stats)
            network = RetryingClassifier(router or Router.of(coral), once=False)
            yield CameraLoop(
                recorder,
                network,
                EventRecorder(recorder, network, label="FAKE", rules=rules, keep_seconds=3600),
                lambda loop: Capture(lambda: scene, prepare=loop.prepare),
                view=view or Roi(),
                pace=pace or Pace(),
            )

    steps = Stepping(life, opened())
    try:
        yield Work(scene, coral, sink, steps.loop, steps, stats)
    finally:
        steps.close()


def test_lost_coral_ends_event_and_later_classifies_new_frame(tmp_path: Path, brightness: Path) -> None:
    with observed(tmp_path, brightness) as work:
        work.until(lambda: work.sink.states == ["began"])
        work.coral.is_away = True
        work.until(lambda: "away" in work.loop.trouble)
        assert work.loop.is_healthy
        work.scene.level = BRIGHT
        work.until(lambda: work.sink.states == ["began", "ended"])
        frames, work.coral.is_away = work.loop.frames, False
        work.until(lambda: work.loop.frames == frames + 1)
        assert work.coral.latest > 200
        assert not work.loop.trouble


def test_frames_too_small_for_region_are_skipped_until_they_fit(tmp_path: Path, brightness: Path) -> None:
    with observed(tmp_path, brightness, view=Roi(region("0,0,40,30"))) as work:
        work.until(lambda: work.loop.frames)
        work.scene.width = 20
        work.until(lambda: "does not lie within the picture" in work.loop.trouble)
        assert work.loop.is_healthy
        frames, work.scene.width = work.loop.frames, 40
        work.until(lambda: work.loop.frames > frames)
        assert not work.loop.trouble


def test_region_outside_first_frame_is_error_except_in_service(
    tmp_path: Path, brightness: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = Roi(region("0,0,400,30"))
    with observed(tmp_path, brightness, view=view) as work, pytest.raises(RoiError):
        work.until(lambda: work.loop.frames)
    monkeypatch.setattr(Lifecycle, "is_service", True)
    with observed(tmp_path, brightness, view=view) as work:
        work.until(lambda: "does not lie within the picture" in work.loop.trouble)


def test_failed_delivery_is_retried_between_two_frames(tmp_path: Path, brightness: Path) -> None:
    with observed(tmp_path, brightness, pace=Pace(interval_seconds=3600)) as work:
        work.sink.is_full = True
        work.until(lambda: "full" in work.loop.trouble)
        work.sink.is_full = False
        work.until(lambda: work.sink.states == ["began"])
        assert work.loop.frames == 1


def test_error_ends_current_event_and_delivers_it(tmp_path: Path, brightness: Path) -> None:
    class Recording(Scene):
        is_live = False

    with observed(tmp_path, brightness, scene=Recording()) as work:
        work.until(lambda: work.sink.states == ["began"])
        work.scene.level = CameraError("damaged")
        with pytest.raises(CameraError, match="damaged"):
            work.until(lambda: False)
        assert work.sink.states == ["began", "ended"]


@pytest.mark.parametrize(("interval", "looked_at"), [(0.0, range(1, 31)), (0.3, range(1, 31, 3))])
def test_recording_classifies_each_due_frame_once_in_order(
    tmp_path: Path, brightness: Path, interval: float, looked_at: range
) -> None:
    class Recording(Scene):
        is_live, given = False, 0

        def frame(self) -> Frame | None:
            self.given += 1
            level = np.full((30, 40, 3), self.given, np.uint8)
            return Frame(level, self.given / 10) if self.given <= 30 else None

    with observed(tmp_path, brightness, scene=Recording(), pace=Pace(interval_seconds=interval)) as work:
        seen = []
        for _ in work.steps:
            if work.loop.frames > len(seen):
                seen.append(work.coral.latest)
        assert seen == list(looked_at)
        assert work.loop.skipped == 0


def test_region_outside_recording_is_error(tmp_path: Path, brightness: Path) -> None:
    class Recording(Scene):
        is_live = False

    view = Roi(region("0,0,400,30"))
    with observed(tmp_path, brightness, scene=Recording(), view=view) as work, pytest.raises(RoiError):
        work.until(lambda: work.loop.frames)


def test_failing_ledger_does_not_count_as_frozen_camera(tmp_path: Path, brightness: Path) -> None:
    with observed(tmp_path, brightness) as work:
        work.scene.level = BRIGHT
        work.until(lambda: work.loop.frames)
        with closing(sqlite3.connect(tmp_path / "ledger.sqlite3")) as database:
            database.execute("ALTER TABLE answers RENAME TO lost")  # what cannot be written for whatever reason
        assert not work.loop.is_waiting
        work.scene.level = DARK
        work.until(lambda: work.loop.is_waiting)
        assert work.loop.is_healthy
        assert "answers" in work.loop.trouble


def test_driver_call_that_never_returns_is_reported_as_unhealthy(tmp_path: Path, brightness: Path) -> None:
    let_go = threading.Event()

    class Frozen(Scene):
        def frame(self) -> Frame:
            let_go.wait()
            return super().frame()

    Capture(Frozen).close()
    with observed(tmp_path, brightness) as work:
        work.until(lambda: "does not return" in work.loop.trouble)
        assert not work.loop.is_healthy
        let_go.set()
        while is_held():
            time.sleep(0.01)
        work.until(lambda: not work.loop.trouble)
        assert work.loop.is_healthy


def test_each_frame_goes_to_model_for_its_size(tmp_path: Path, brightness: Path) -> None:
    with observed(tmp_path, brightness, router=two_models()) as work:

        def used() -> tuple[str, str | None]:
            frames = work.loop.frames
            work.until(lambda: work.loop.frames > frames + 1)  # one of the former size may have been under way
            assert work.loop.verdict is not None
            return work.loop.verdict.model, work.loop.verdict.outside

        work.scene.width, work.scene.height = 320, 240
        assert used() == ("photo_like_int8", None)
        work.scene.width, work.scene.height = 32, 32
        assert used() == ("compact_int8", None)
        work.scene.width, work.scene.height = 640, 480
        assert used() == ("photo_like_int8", None)
        assert not work.loop.trouble


def test_frames_arriving_during_inference_are_skipped_but_the_newest(tmp_path: Path, brightness: Path) -> None:
    class Slow(Classifier):
        def run(self, pixels: Pixels) -> float:
            time.sleep(0.02)  # for each of 5 to 13 views; a frame comes every hundredth of a second
            return super().run(pixels)

    scene = Scene()
    scene.width, scene.height = 320, 240
    with observed(tmp_path, brightness, router=Router.of(Slow(model.load(PHOTO_LIKE))), scene=scene) as work:
        work.until(lambda: work.loop.frames == 3)
        assert work.loop.skipped > 3
        scene.level = BRIGHT
        work.until(lambda: work.loop.verdict is not None and work.loop.verdict.label == "REAL")
        assert work.loop.frames <= 5, "none of the frames that came meanwhile was kept for later"


def test_region_size_chooses_model(tmp_path: Path, brightness: Path) -> None:
    scene = Scene()
    scene.width, scene.height = 320, 240
    with observed(tmp_path, brightness, router=two_models(), scene=scene, view=Roi(region("9,9,32,32"))) as work:
        work.until(lambda: work.loop.frames)
        assert work.loop.verdict is not None
        assert work.loop.verdict.model == "compact_int8"


def test_unsure_frame_is_counted_and_begins_no_event(tmp_path: Path, brightness: Path) -> None:
    """At the operating point 1% that network calls levels below about 106 FAKE, and those above 138 REAL."""
    unsure, scene = Classifier(model.load(PHOTO_LIKE), operating_point="1%"), Scene()
    scene.level, scene.width, scene.height = 115, 320, 240
    with observed(tmp_path, brightness, router=Router.of(unsure), scene=scene, rules=replace(RULES, enter=0.6)) as work:
        work.until(lambda: work.loop.frames == 5)
        assert work.loop.verdict is not None
        assert work.loop.verdict.label == "UNSURE"
        assert 1 - work.loop.verdict.score > 0.6, "it would be enough"
        assert work.stats.labels == {"UNSURE": 5}
        assert work.sink.states == []
        scene.level = DARK
        work.until(lambda: work.sink.states == ["began"])
        scene.level = 115
        work.until(lambda: work.loop.verdict is not None and work.loop.verdict.label == "UNSURE")
        assert work.sink.states == ["began"], "but it goes on"
        scene.level = BRIGHT
        work.until(lambda: work.sink.states == ["began", "ended"])
