"""`edge-detect camera` on recordings: folders of frames whose verdicts are known."""

import json
import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.conftest import MODELS, Run, picture

BRIGHT, DARK = 240, 15
PHOTO_LIKE = MODELS / "photo_like_int8.tflite"


@pytest.fixture
def filmed(tmp_path: Path) -> Path:
    """Twenty seconds: bright, from 5 s to 11 s dark, then bright again; for the brightness model, a FAKE event."""
    folder = tmp_path / "film"
    folder.mkdir()
    for second in range(20):
        picture(folder / f"{second:03}.png", DARK if 5 <= second <= 11 else BRIGHT, seed=second)
    return folder


@pytest.fixture
def camera(edge_detect: Run, filmed: Path, brightness: Path) -> Any:
    def run(*options: str | Path, **settings: object) -> Any:
        smoothing = ("--smooth", "0", "--state", filmed.parent / "state", "--model", brightness)
        return edge_detect("camera", "--source", filmed, *smoothing, *options, **settings)

    return run


def told(done: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_an_event_has_a_beginning_an_end_and_a_peak(camera: Any, filmed: Path) -> None:
    done = camera("--json")

    assert done.returncode == 0, done.stderr
    began, ended = told(done)
    assert (began["event"]["state"], ended["event"]["state"]) == ("began", "ended")
    assert began["event"]["position"] == ended["event"]["position"] == 5.0
    assert (began["event"]["seconds"], ended["event"]["seconds"]) == (1.0, 6.0)
    assert began["label"] == ended["label"] == "FAKE"
    assert ended["event"]["peak"] >= began["event"]["peak"] > 0.9
    assert ended["confidence"] == pytest.approx(ended["event"]["peak"])
    assert ended["score"] == pytest.approx(1 - ended["confidence"])
    assert began["path"] == f"{filmed}/"


def test_the_other_label_s_events(camera: Any) -> None:
    states = [
        (one["label"], one["event"]["state"], one["event"]["position"])
        for one in told(camera("--json", "--event", "REAL"))
    ]

    # The second one begins within the cool-down of ten seconds after the first, at 5 s; then it may.
    assert states == [("REAL", "began", 0.0), ("REAL", "ended", 0.0), ("REAL", "began", 15.0), ("REAL", "ended", 15.0)]


def test_it_is_in_the_ledger_the_log_and_the_results(
    camera: Any, edge_detect: Run, filmed: Path, tmp_path: Path
) -> None:
    seen = told(camera("--json", "--log", tmp_path / "log.jsonl"))

    assert [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()] == seen
    results = edge_detect("results", "--state", tmp_path / "state", "--json")
    assert told(results) == seen
    table = edge_detect("results", "--state", tmp_path / "state", "--csv").stdout.splitlines()
    assert table[0].endswith("event,began,position,seconds,peak,snapshot,model")
    assert [line.split(",")[9] for line in table[1:]] == ["began", "ended"]
    lines = edge_detect("results", "--state", tmp_path / "state").stdout.splitlines()
    assert lines[0].endswith("event began at 5.0 s")
    assert lines[1].endswith("event ended at 11.0 s after 6.0 s")


def test_a_command_is_run_when_a_fake_begins_and_not_when_it_ends(camera: Any, tmp_path: Path) -> None:
    camera("--on-fake", f"tee -a {tmp_path}/fakes", "--on-verdict", f"tee -a {tmp_path}/all")

    assert [json.loads(line)["event"]["state"] for line in (tmp_path / "fakes").read_text().splitlines()] == ["began"]
    assert [json.loads(line)["event"]["state"] for line in (tmp_path / "all").read_text().splitlines()] == [
        "began",
        "ended",
    ]


def test_frames_are_told_as_often_as_asked_for(camera: Any) -> None:
    every = [one for one in told(camera("--json", "--record", "0")) if one["event"]["state"] == "frame"]
    some = [one for one in told(camera("--json", "--record", "5")) if one["event"]["state"] == "frame"]

    assert [one["event"]["position"] for one in every] == [float(second) for second in range(20)]
    assert [one["label"] for one in every] == ["FAKE" if 5 <= second <= 11 else "REAL" for second in range(20)]
    assert [one["event"]["position"] for one in some] == [0.0, 5.0, 10.0, 15.0]


def test_so_many_frames_and_no_more(camera: Any) -> None:
    done = camera("--max-frames", "7", "--json", "--record", "0")

    assert len([one for one in told(done) if one["event"]["state"] == "frame"]) == 7
    assert told(done)[-1]["event"]["state"] == "ended", "what was going on is over for us"


def test_snapshots_of_the_beginning_and_of_the_peak(camera: Any, tmp_path: Path) -> None:
    began, ended = told(camera("--json", "--snapshots", "seen", "--plain"))

    assert sorted(os.listdir(tmp_path / "seen")) == sorted(
        {os.path.basename(one["event"]["snapshot"]) for one in (began, ended)}
    )
    with Image.open(began["event"]["snapshot"]) as frame:
        assert frame.size == (40, 30)
        assert max(frame.resize((1, 1)).getpixel((0, 0))) < 60, "a dark frame"


def test_an_event_goes_on_without_a_picture_where_none_can_be_kept(camera: Any, tmp_path: Path) -> None:
    done = camera("--json", "--snapshots", tmp_path / "seen", "--free-mb", str(1 << 40))

    assert [one["event"]["snapshot"] for one in told(done)] == [None, None]
    assert "MB left" in done.stderr
    assert done.returncode == 0


@pytest.fixture
def unsure(filmed: Path) -> Path:
    """Another film, for a model that takes views: five seconds each of REAL, UNSURE, FAKE and UNSURE.

    The model is not sure of levels between about 114 and 138. The path is that of the model.
    """
    for second, path in enumerate(sorted(filmed.iterdir())):
        picture(path, (BRIGHT, 125, DARK, 125)[second // 5 % 4], size=(320, 240), seed=second)
    return PHOTO_LIKE


def test_frames_that_are_unsure_are_told_and_counted_and_make_no_event(
    camera: Any, unsure: Path, tmp_path: Path
) -> None:
    seen = told(
        camera("--model", unsure, "--json", "--record", "0", "--enter", "0.5", "--on-fake", f"tee -a {tmp_path}/fakes")
    )

    frames = [one for one in seen if one["event"]["state"] == "frame"]
    assert [one["label"] for one in frames] == [*["REAL"] * 5, *["UNSURE"] * 5, *["FAKE"] * 5, *["UNSURE"] * 5]
    assert {one["model"] for one in seen} == {"photo_like_int8"}
    assert [(one["label"], one["event"]["state"], one["event"]["position"]) for one in seen if one not in frames] == [
        ("FAKE", "began", 10.0),
        ("FAKE", "ended", 10.0),
    ]
    assert [json.loads(line)["label"] for line in (tmp_path / "fakes").read_text().splitlines()] == ["FAKE"]
    assert camera("--model", unsure, "--event", "REAL").stderr.splitlines()[-1].startswith("5 FAKE, 5 REAL, 10 UNSURE")


def test_one_threshold_leaves_no_frame_unsure(camera: Any, unsure: Path) -> None:
    seen = told(camera("--model", unsure, "--json", "--record", "0", "--no-unsure"))

    assert {one["label"] for one in seen} == {"REAL", "FAKE"}


def test_a_snapshot_is_of_the_label_whose_event_it_is(camera: Any, unsure: Path, tmp_path: Path) -> None:
    camera("--model", unsure, "--snapshots", "seen", "--enter", "0.6")

    assert os.listdir(tmp_path / "seen")
    assert all("_FAKE_" in name for name in os.listdir(tmp_path / "seen"))


def test_a_region_is_classified_alone(camera: Any, filmed: Path) -> None:
    for path in filmed.iterdir():
        path.unlink()
    for second in range(6):  # the left half bright, the right half dark
        both = Image.new("RGB", (40, 30), (255, 255, 255))
        both.paste((0, 0, 0), (20, 0, 40, 30))
        both.save(filmed / f"{second}.png")

    left = told(camera("--json", "--record", "0", "--region", "0%,0%,50%,100%"))
    right = told(camera("--json", "--record", "0", "--region", "20,0,20,30"))
    turned = told(camera("--json", "--record", "0", "--region", "20,0,20,30", "--flip", "horizontal"))

    assert {one["label"] for one in left} == {"REAL"}
    assert {one["label"] for one in right} == {"FAKE"}
    assert {one["label"] for one in turned} == {"REAL"}


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--region", "0,0,400,30"], "does not lie within the picture"),
        (["--region", "a"], "invalid region"),
        (["--schedule", "8-9"], "invalid time span; write it as 08:00-20:00"),
        (["--event", "DOG"], "no label of this model; it has FAKE and REAL"),
        (["--event", "UNSURE"], "no event is made of frames that the model is not sure of; use FAKE or REAL"),
        (["--enter", "0.2"], "--leave must not be above --enter"),
        (["--fps", "1", "--interval", "1"], "exclude each other"),
        (["--size", "big"], "not a valid size"),
        (["--source", "/nowhere.mp4"], "no such file or camera"),
        (["--source", "/dev/video99"], "no such device"),
        (["--source", "picamera2"], "python3-picamera2"),
        (["--source", "gopher://host/x"], "not an address of a camera"),
        (["--on-fake", "true", "--event", "REAL"], "use --on-verdict"),
        (["--name", "/srv/inbox"], "'/srv/inbox' is not a valid name"),
        (["--keep-days", "nan"], "nan is not a number"),
        (["--fps", "nan"], "nan is not a number"),
    ],
)
def test_a_mistake_is_said_in_one_line(camera: Any, options: list[str], reason: str) -> None:
    done = camera(*options)

    assert done.returncode == 2
    assert reason in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("source", ["rtsp:/u:Geheim@h/s", "u:Geheim@h/s", " rtsp://u:Geheim@127.0.0.1:1/s"])
def test_the_password_of_a_mistyped_address_is_neither_said_nor_recorded(
    camera: Any, tmp_path: Path, source: str
) -> None:
    done = camera("--source", source)

    assert done.returncode == 2
    assert "Geheim" not in done.stderr
    ledger = b"".join(path.read_bytes() for path in (tmp_path / "state").iterdir())
    assert b"output" in ledger, "it had come so far"
    assert b"Geheim" not in ledger


def test_a_camera_can_be_given_a_name(camera: Any) -> None:
    assert {one["path"] for one in told(camera("--json", "--name", "front door"))} == {"front door"}


def test_without_a_camera_what_was_found_and_what_to_install_is_said(edge_detect: Run) -> None:
    done = edge_detect("camera")

    assert done.returncode == 2
    assert "no camera found" in done.stderr
    assert "python3-picamera2" in done.stderr


def test_an_event_that_a_killed_run_left_open_is_closed_by_the_next(camera: Any, tmp_path: Path) -> None:
    camera("--json")
    with sqlite3.connect(tmp_path / "state" / "ledger.sqlite3") as database:  # as a power cut leaves it
        database.execute("UPDATE answers SET state = 'frame' WHERE state = 'ended'")
    database.close()

    interrupted, began, ended = told(camera("--json"))

    assert interrupted["event"]["state"] == "interrupted"
    assert interrupted["event"]["seconds"] is None
    assert interrupted["event"]["position"] == 5.0
    assert [one["event"]["state"] for one in (began, ended)] == ["began", "ended"]


def test_old_events_can_be_forgotten(camera: Any, edge_detect: Run, tmp_path: Path) -> None:
    camera("--record", "0")
    with sqlite3.connect(tmp_path / "state" / "ledger.sqlite3") as database:
        database.execute("UPDATE answers SET answered_at = 0")
    database.close()

    pruned = edge_detect("results", "--state", tmp_path / "state", "prune", "--older-than", "1d")

    assert "21 deleted" in pruned.stdout, "all but the last, whose id must not be given away again"
