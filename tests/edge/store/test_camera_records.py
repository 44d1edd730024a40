"""A camera's answers in the ledger: each recorded once, events until they are pruned, frames for a limited time."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

from edge.daemon.lifecycle import Lifecycle
from edge.daemon.recorder import Recorder
from edge.errors import LedgerError
from edge.stats import Stats
from edge.store.ledger import Ledger
from edge.verdict import BEGAN, ENDED, FRAME, CameraEvent, Verdict
from tests.conftest import Run

CAMERA = "rtsp://cam/x"
VERDICT = Verdict(CAMERA, "FAKE", False, 0.1, 0.9, None, 0.001)


def see(ledger: Ledger, *states: str, camera: str = CAMERA) -> None:
    for number, state in enumerate(states):
        seen = Verdict(camera, "FAKE", False, 0.1, 0.9, None, 0.001)
        ledger.record_event(seen, CameraEvent(state, 1e9), "m", f"{camera} {number} {state}".encode())


def states(folder: Path) -> list[str]:
    with closing(sqlite3.connect(folder / "ledger.sqlite3")) as database:
        return [state for (state,) in database.execute("SELECT state FROM answers ORDER BY id")]


def test_same_token_is_recorded_once(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        for _ in range(2):
            ledger.record_event(VERDICT, CameraEvent(BEGAN, 1e9), "m", b"the same")
    assert states(tmp_path) == [BEGAN]


def test_old_frames_are_deleted_but_not_events_and_undelivered_frames(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        ledger.subscribe(CAMERA, "log")
        see(ledger, FRAME, BEGAN, FRAME, ENDED, *[FRAME] * 3)
        see(ledger, FRAME, camera="other")
        assert ledger.forget_frames(CAMERA, 3600) == 0
        assert ledger.forget_frames(CAMERA, -1) == 0, "the log has received none"
        ledger.mark_delivered(CAMERA, "log", 4)
        assert ledger.forget_frames(CAMERA, -1, limit=1) == 1
        assert ledger.forget_frames(CAMERA, -1) == 1
        assert ledger.forget_frames("other", -1) == 0, "its id must not be assigned again"
    assert states(tmp_path) == [BEGAN, ENDED, *[FRAME] * 4]


def test_open_event_is_found_behind_later_frames(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        see(ledger, BEGAN, *[FRAME] * 5)
        former = ledger.unfinished(CAMERA)
        assert former is not None
        assert former.id == 1
        see(ledger, ENDED)
        assert ledger.unfinished(CAMERA) is None


def test_prune_keeps_start_of_open_event(tmp_path: Path, edge_detect: Run) -> None:
    with Ledger(tmp_path) as ledger:
        see(ledger, BEGAN, ENDED, camera="other")
        see(ledger, BEGAN, FRAME, FRAME)
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite3")) as database, database:
        database.execute("UPDATE answers SET answered_at = 0")
    assert "3 deleted" in edge_detect("results", "--state", tmp_path, "prune", "--older-than", "1d").stdout
    assert states(tmp_path) == [BEGAN, FRAME]


def test_results_can_be_limited_to_one_camera(tmp_path: Path, edge_detect: Run) -> None:
    with Ledger(tmp_path) as ledger:
        see(ledger, BEGAN)
        see(ledger, BEGAN, camera="/dev/video0")
        see(ledger, BEGAN, camera="door")
    for asked, path in (("rtsp://u:p@cam/x", CAMERA), ("/dev/video0", "/dev/video0"), ("door", "door")):
        lines = edge_detect("results", "--state", tmp_path, "--json", "--folder", asked).stdout.splitlines()
        assert [json.loads(line)["path"] for line in lines] == [path]


def test_waiting_for_the_ledger_is_reported(tmp_path: Path, logged: list[str]) -> None:
    failures = [LedgerError("full"), LedgerError("full")]

    def call() -> str:
        if failures:
            raise failures.pop()
        return "done"

    with Ledger(tmp_path) as ledger:
        life, waiting = Lifecycle(), list[bool]()
        recorder = Recorder(life, ledger, CAMERA, [], Stats())
        life.on_heartbeat = lambda: waiting.append(recorder.is_waiting)
        assert recorder.retry(call) == "done"
        assert waiting
        assert all(waiting)
        assert not recorder.is_waiting
    assert logged == ["full; trying again", "recovered: full"]
