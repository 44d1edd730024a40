"""Snapshots of events: their contents, names and limits, and what is deleted."""

import os
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge.camera.snapshots import SnapshotLimits, Snapshots
from edge.errors import SinkError
from edge.verdict import Verdict

VERDICT = Verdict("/dev/video0", "FAKE", False, 0.1, 0.9, None, 0.001)
ROOMY = SnapshotLimits(bytes=1_000_000_000, seconds=1e9, free_bytes=0)
NOW = time.time()
SEEN = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)


def written(folder: Path, limits: SnapshotLimits, count: int) -> list[str]:
    """Paths of new snapshots, each a second older than the next; the limits are applied after the last."""
    snapshots, paths = Snapshots(folder, ROOMY), []
    for number in range(count):
        paths.append(snapshots.write(SEEN, VERDICT, "began", NOW))
        os.utime(paths[-1], (time.time() - count + number,) * 2)
    Snapshots(folder, limits).tidy()
    return paths


def test_snapshot_shows_verdict_below_frame(tmp_path: Path) -> None:
    path = Snapshots(tmp_path / "new", ROOMY).write(SEEN, VERDICT, "peak", NOW)

    with Image.open(path) as picture:
        assert picture.size == (160, 144)
    assert os.listdir(tmp_path / "new") == [os.path.basename(path)]
    assert "_peak_FAKE_" in path


def test_plain_snapshot_is_frame_alone(tmp_path: Path) -> None:
    flat = np.full((48, 64, 3), (200, 100, 50), np.uint8)

    path = Snapshots(tmp_path, ROOMY, is_plain=True).write(flat, VERDICT, "began", NOW)

    with Image.open(path) as picture:
        assert picture.size == (64, 48)
        assert np.abs(np.asarray(picture).astype(int) - flat).max() <= 3


def test_oldest_snapshots_above_size_limit_are_deleted(tmp_path: Path) -> None:
    size = os.path.getsize(written(tmp_path / "one", ROOMY, 1)[0])

    paths = written(tmp_path / "all", SnapshotLimits(int(3.5 * size), 1e9, 0), 6)

    assert sorted(paths[3:]) == sorted(str(path) for path in (tmp_path / "all").iterdir())


def test_size_limit_is_never_exceeded_by_new_snapshot(tmp_path: Path) -> None:
    size = os.path.getsize(written(tmp_path, ROOMY, 1)[0])
    snapshots = Snapshots(tmp_path, SnapshotLimits(int(2.5 * size), 1e9, 0))
    for _ in range(5):
        snapshots.write(SEEN, VERDICT, "began", NOW)
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 2.5 * size


def test_snapshots_above_age_limit_are_deleted(tmp_path: Path) -> None:
    paths = written(tmp_path, SnapshotLimits(1_000_000_000, 2.5, 0), 5)

    assert sorted(paths[3:]) == sorted(str(path) for path in tmp_path.iterdir())


def test_full_disk_deletes_all_snapshots_and_writes_none(tmp_path: Path) -> None:
    written(tmp_path, ROOMY, 3)
    snapshots = Snapshots(tmp_path, SnapshotLimits(1_000_000_000, 1e9, free_bytes=1 << 60))

    with pytest.raises(SinkError, match="MB left"):
        snapshots.write(SEEN, VERDICT, "began", NOW)

    assert os.listdir(tmp_path) == []


def test_foreign_files_are_never_deleted(tmp_path: Path) -> None:
    others = ["holiday.jpg", "20260101_began_FAKE.jpg", ".20260101.part", "notes.txt"]
    for name in others:
        (tmp_path / name).write_bytes(b"x")
    outside = tmp_path.parent / "outside.jpg"
    outside.write_bytes(b"x")
    linked = tmp_path / "20260101T000000.000Z_began_FAKE_0000.jpg"
    linked.symlink_to(outside)

    Snapshots(tmp_path, SnapshotLimits(0, 0, 0)).tidy()

    assert sorted(os.listdir(tmp_path)) == sorted([*others, linked.name])
    assert outside.exists()


def test_partial_file_of_killed_run_is_deleted(tmp_path: Path) -> None:
    (tmp_path / ".20260101T000000.000Z_peak_FAKE_0a0b.jpg.part").write_bytes(b"half")

    Snapshots(tmp_path, ROOMY).prepare()

    assert os.listdir(tmp_path) == []


def test_label_with_path_stays_within_folder(tmp_path: Path) -> None:
    hostile = Verdict("cam", "../../x", False, 0.1, 0.9, None, 0.0)

    path = Snapshots(tmp_path / "in", ROOMY).write(SEEN, hostile, "began", NOW)

    assert os.path.dirname(path) == str(tmp_path / "in")


def test_deleted_folder_is_created_again(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path / "in", ROOMY)
    os.unlink(snapshots.write(SEEN, VERDICT, "began", NOW))
    (tmp_path / "in").rmdir()

    assert os.path.exists(snapshots.write(SEEN, VERDICT, "peak", NOW))


def test_file_name_has_time_part_and_label(tmp_path: Path) -> None:
    path = Snapshots(tmp_path, ROOMY).write(SEEN, VERDICT, "peak", 1_700_000_000.25)

    assert os.path.basename(path).startswith("20231114T221320.250Z_peak_FAKE_")


def test_clock_change_makes_no_snapshot_too_old(tmp_path: Path) -> None:
    day = SnapshotLimits(1_000_000_000, 86_400, 0)
    of_a_former_run = Snapshots(tmp_path, day).write(SEEN, VERDICT, "began", 0.0)
    os.utime(of_a_former_run, (100, 100))
    snapshots = Snapshots(tmp_path, day)
    of_this_run = snapshots.write(SEEN, VERDICT, "began", 0.0)
    os.utime(of_this_run, (200, 200))  # as if written before the clock was set, or long ago

    snapshots.tidy()
    assert sorted(os.listdir(tmp_path)) == sorted(map(os.path.basename, (of_a_former_run, of_this_run)))

    newest = snapshots.write(SEEN, VERDICT, "began", NOW)
    room_for_two = SnapshotLimits(int(2.5 * os.path.getsize(newest)), 86_400, 0)
    Snapshots(tmp_path, room_for_two).tidy()
    assert not os.path.exists(of_a_former_run), "the oldest must be deleted first"
    assert os.path.exists(newest)


def test_tidy_runs_once_a_minute_and_again_after_failure(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"")
    snapshots = Snapshots(tmp_path / "in", ROOMY)
    for _ in range(2):
        with pytest.raises(SinkError):
            snapshots.tidy_if_due()
    (tmp_path / "in").unlink()

    assert snapshots.tidy_if_due()
    assert not snapshots.tidy_if_due()


def test_unencodable_frame_raises_sink_error_and_any_label_is_accepted(tmp_path: Path) -> None:
    with pytest.raises(SinkError, match="cannot write snapshots"):
        Snapshots(tmp_path, ROOMY).write(np.zeros((1, 65_501, 3), np.uint8), VERDICT, "began", NOW)

    for label in ("", "\N{SNOWMAN}\n"):
        strange = Verdict("cam", label, False, 0.1, 0.9, None, 0.0)
        Snapshots(tmp_path, ROOMY).write(SEEN, strange, "began", NOW)
    Snapshots(tmp_path, SnapshotLimits(0, 0, 0)).tidy()
    assert os.listdir(tmp_path) == [], "files with these labels are not recognised as snapshots"


def test_uncreatable_folder_raises_sink_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(SinkError, match="cannot write snapshots"):
        Snapshots(tmp_path / "file", ROOMY).prepare()
