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
    """Twenty images, one a second: dark from 5 s to 11 s, a FAKE event for the brightness model; otherwise bright."""
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


def emitted(done: Any) -> list[dict[str, Any]]:
    """The JSON lines of standard output."""
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_event_has_begin_end_and_peak(camera: Any, filmed: Path) -> None:
    done = camera("--json")

    assert done.returncode == 0, done.stderr
    began, ended = emitted(done)
    assert (began["event"]["state"], ended["event"]["state"]) == ("began", "ended")
    assert began["event"]["position"] == ended["event"]["position"] == 5.0
    assert (began["event"]["seconds"], ended["event"]["seconds"]) == (1.0, 6.0)
    assert began["label"] == ended["label"] == "FAKE"
    assert ended["event"]["peak"] >= began["event"]["peak"] > 0.9
    assert ended["confidence"] == pytest.approx(ended["event"]["peak"])
    assert ended["score"] == pytest.approx(1 - ended["confidence"])
    assert began["path"] == f"{filmed}/"


def test_event_option_selects_other_label(camera: Any) -> None:
    states = [
        (one["label"], one["event"]["state"], one["event"]["position"])
        for one in emitted(camera("--json", "--event", "REAL"))
    ]

    # The cool-down lasts ten seconds after the end of the first event, at 5 s.
    assert states == [("REAL", "began", 0.0), ("REAL", "ended", 0.0), ("REAL", "began", 15.0), ("REAL", "ended", 15.0)]


def test_events_are_in_log_and_results(camera: Any, edge_detect: Run, filmed: Path, tmp_path: Path) -> None:
    seen = emitted(camera("--json", "--log", tmp_path / "log.jsonl"))

    assert [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()] == seen
    results = edge_detect("results", "--state", tmp_path / "state", "--json")
    assert emitted(results) == seen
    table = edge_detect("results", "--state", tmp_path / "state", "--csv").stdout.splitlines()
    assert table[0].endswith("event,began,position,seconds,peak,snapshot,model,provenance")
    assert [line.split(",")[9] for line in table[1:]] == ["began", "ended"]
    lines = edge_detect("results", "--state", tmp_path / "state").stdout.splitlines()
    assert lines[0].endswith("event began at 5.0 s")
    assert lines[1].endswith("event ended at 11.0 s after 6.0 s")


def test_on_fake_runs_at_begin_of_event_only(camera: Any, tmp_path: Path) -> None:
    camera("--on-fake", f"tee -a {tmp_path}/fakes", "--on-verdict", f"tee -a {tmp_path}/all")

    assert [json.loads(line)["event"]["state"] for line in (tmp_path / "fakes").read_text().splitlines()] == ["began"]
    assert [json.loads(line)["event"]["state"] for line in (tmp_path / "all").read_text().splitlines()] == [
        "began",
        "ended",
    ]


def test_record_option_emits_frames_at_interval(camera: Any) -> None:
    every = [one for one in emitted(camera("--json", "--record", "0")) if one["event"]["state"] == "frame"]
    some = [one for one in emitted(camera("--json", "--record", "5")) if one["event"]["state"] == "frame"]

    assert [one["event"]["position"] for one in every] == [float(second) for second in range(20)]
    assert [one["label"] for one in every] == ["FAKE" if 5 <= second <= 11 else "REAL" for second in range(20)]
    assert [one["event"]["position"] for one in some] == [0.0, 5.0, 10.0, 15.0]


def test_max_frames_stops_after_number_of_frames(camera: Any) -> None:
    done = camera("--max-frames", "7", "--json", "--record", "0")

    assert len([one for one in emitted(done) if one["event"]["state"] == "frame"]) == 7
    assert emitted(done)[-1]["event"]["state"] == "ended", "the end of the work must end the event"


def test_snapshots_are_written_of_begin_and_peak(camera: Any, tmp_path: Path) -> None:
    began, ended = emitted(camera("--json", "--snapshots", "seen", "--plain"))

    assert sorted(os.listdir(tmp_path / "seen")) == sorted(
        {os.path.basename(one["event"]["snapshot"]) for one in (began, ended)}
    )
    with Image.open(began["event"]["snapshot"]) as frame:
        assert frame.size == (40, 30)
        assert max(frame.resize((1, 1)).getpixel((0, 0))) < 60, "a dark frame"


def test_full_disk_leaves_events_without_snapshot(camera: Any, tmp_path: Path) -> None:
    done = camera("--json", "--snapshots", tmp_path / "seen", "--free-mb", str(1 << 40))

    assert [one["event"]["snapshot"] for one in emitted(done)] == [None, None]
    assert "MB left" in done.stderr
    assert done.returncode == 0


@pytest.fixture
def unsure(filmed: Path) -> Path:
    """Replaces the images: five seconds each of REAL, UNSURE, FAKE and UNSURE for the model whose path is returned.

    The model calls levels between about 114 and 138 UNSURE.
    """
    for second, path in enumerate(sorted(filmed.iterdir())):
        picture(path, (BRIGHT, 125, DARK, 125)[second // 5 % 4], size=(320, 240), seed=second)
    return PHOTO_LIKE


def test_unsure_frames_are_emitted_and_counted_but_begin_no_event(camera: Any, unsure: Path, tmp_path: Path) -> None:
    seen = emitted(
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


def test_no_unsure_option_leaves_no_frame_unsure(camera: Any, unsure: Path) -> None:
    seen = emitted(camera("--model", unsure, "--json", "--record", "0", "--no-unsure"))

    assert {one["label"] for one in seen} == {"REAL", "FAKE"}


def test_snapshot_is_named_after_label_of_event(camera: Any, unsure: Path, tmp_path: Path) -> None:
    camera("--model", unsure, "--snapshots", "seen", "--enter", "0.6")

    assert os.listdir(tmp_path / "seen")
    assert all("_FAKE_" in name for name in os.listdir(tmp_path / "seen"))


def test_only_region_is_classified(camera: Any, filmed: Path) -> None:
    for path in filmed.iterdir():
        path.unlink()
    for second in range(6):  # the left half bright, the right half dark
        both = Image.new("RGB", (40, 30), (255, 255, 255))
        both.paste((0, 0, 0), (20, 0, 40, 30))
        both.save(filmed / f"{second}.png")

    left = emitted(camera("--json", "--record", "0", "--region", "0%,0%,50%,100%"))
    right = emitted(camera("--json", "--record", "0", "--region", "20,0,20,30"))
    turned = emitted(camera("--json", "--record", "0", "--region", "20,0,20,30", "--flip", "horizontal"))

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
def test_invalid_option_reports_one_line_error(camera: Any, options: list[str], reason: str) -> None:
    done = camera(*options)

    assert done.returncode == 2
    assert reason in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("source", ["rtsp:/u:Geheim@h/s", "u:Geheim@h/s", " rtsp://u:Geheim@127.0.0.1:1/s"])
def test_password_of_mistyped_address_is_neither_logged_nor_recorded(camera: Any, tmp_path: Path, source: str) -> None:
    done = camera("--source", source)

    assert done.returncode == 2
    assert "Geheim" not in done.stderr
    ledger = b"".join(path.read_bytes() for path in (tmp_path / "state").iterdir())
    assert b"output" in ledger, "nothing was written to the ledger, so that the test proves nothing"
    assert b"Geheim" not in ledger


def test_name_option_names_camera_in_output(camera: Any) -> None:
    assert {one["path"] for one in emitted(camera("--json", "--name", "front door"))} == {"front door"}


def test_missing_camera_error_names_package_to_install(edge_detect: Run) -> None:
    done = edge_detect("camera")

    assert done.returncode == 2
    assert "no camera found" in done.stderr
    assert "python3-picamera2" in done.stderr


def test_open_event_of_killed_run_is_recorded_as_interrupted(camera: Any, tmp_path: Path) -> None:
    camera("--json")
    with sqlite3.connect(tmp_path / "state" / "ledger.sqlite3") as database:  # as after a power cut
        database.execute("UPDATE answers SET state = 'frame' WHERE state = 'ended'")
    database.close()

    interrupted, began, ended = emitted(camera("--json"))

    assert interrupted["event"]["state"] == "interrupted"
    assert interrupted["event"]["seconds"] is None
    assert interrupted["event"]["position"] == 5.0
    assert [one["event"]["state"] for one in (began, ended)] == ["began", "ended"]


def test_prune_deletes_old_events(camera: Any, edge_detect: Run, tmp_path: Path) -> None:
    camera("--record", "0")
    with sqlite3.connect(tmp_path / "state" / "ledger.sqlite3") as database:
        database.execute("UPDATE answers SET answered_at = 0")
    database.close()

    pruned = edge_detect("results", "--state", tmp_path / "state", "prune", "--older-than", "1d")

    assert "21 deleted" in pruned.stdout, "all but the last, whose id must not be used again"
