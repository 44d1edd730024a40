"""Pictures of events: whole, within their limits, and nobody else's file touched."""

import os
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge.errors import SinkError
from edge.snapshots import Limits, Snapshots
from edge.verdict import Verdict

VERDICT = Verdict("/dev/video0", "FAKE", False, 0.1, 0.9, None, 0.001)
ROOMY = Limits(bytes=1_000_000_000, seconds=1e9, free_bytes=0)
NOW = time.time()
SEEN = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)


def written(folder: Path, limits: Limits, count: int) -> list[str]:
    """So many snapshots, each a second older than the next."""
    snapshots, paths = Snapshots(folder, ROOMY), []
    for number in range(count):
        paths.append(snapshots.write(SEEN, VERDICT, "began", NOW))
        os.utime(paths[-1], (time.time() - count + number,) * 2)
    Snapshots(folder, limits).tidy()
    return paths


def test_a_snapshot_is_the_frame_with_the_verdict_below(tmp_path: Path) -> None:
    path = Snapshots(tmp_path / "new", ROOMY).write(SEEN, VERDICT, "peak", NOW)

    with Image.open(path) as picture:
        assert picture.size == (160, 144)
    assert os.listdir(tmp_path / "new") == [os.path.basename(path)]
    assert "_peak_FAKE_" in path


def test_a_plain_one_is_the_frame_alone(tmp_path: Path) -> None:
    flat = np.full((48, 64, 3), (200, 100, 50), np.uint8)

    path = Snapshots(tmp_path, ROOMY, is_plain=True).write(flat, VERDICT, "began", NOW)

    with Image.open(path) as picture:
        assert picture.size == (64, 48)
        assert np.abs(np.asarray(picture).astype(int) - flat).max() <= 3


def test_the_oldest_go_first_when_there_are_too_many_bytes(tmp_path: Path) -> None:
    size = os.path.getsize(written(tmp_path / "one", ROOMY, 1)[0])

    paths = written(tmp_path / "all", Limits(int(3.5 * size), 1e9, 0), 6)

    assert sorted(paths[3:]) == sorted(str(path) for path in (tmp_path / "all").iterdir())


def test_one_more_is_written_within_the_limit_not_beyond_it(tmp_path: Path) -> None:
    size = os.path.getsize(written(tmp_path, ROOMY, 1)[0])
    snapshots = Snapshots(tmp_path, Limits(int(2.5 * size), 1e9, 0))
    for _ in range(5):
        snapshots.write(SEEN, VERDICT, "began", NOW)
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 2.5 * size


def test_those_that_are_too_old_go(tmp_path: Path) -> None:
    paths = written(tmp_path, Limits(1_000_000_000, 2.5, 0), 5)

    assert sorted(paths[3:]) == sorted(str(path) for path in tmp_path.iterdir())


def test_without_free_space_nothing_is_written_and_ours_have_made_room(tmp_path: Path) -> None:
    written(tmp_path, ROOMY, 3)
    snapshots = Snapshots(tmp_path, Limits(1_000_000_000, 1e9, free_bytes=1 << 60))

    with pytest.raises(SinkError, match="MB left"):
        snapshots.write(SEEN, VERDICT, "began", NOW)

    assert os.listdir(tmp_path) == []


def test_files_of_others_stay(tmp_path: Path) -> None:
    others = ["holiday.jpg", "20260101_began_FAKE.jpg", ".20260101.part", "notes.txt"]
    for name in others:
        (tmp_path / name).write_bytes(b"x")
    outside = tmp_path.parent / "outside.jpg"
    outside.write_bytes(b"x")
    linked = tmp_path / "20260101T000000.000Z_began_FAKE_0000.jpg"
    linked.symlink_to(outside)

    Snapshots(tmp_path, Limits(0, 0, 0)).tidy()

    assert sorted(os.listdir(tmp_path)) == sorted([*others, linked.name])
    assert outside.exists()


def test_what_a_killed_run_left_unfinished_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".20260101T000000.000Z_peak_FAKE_0a0b.jpg.part").write_bytes(b"half")

    Snapshots(tmp_path, ROOMY).prepare()

    assert os.listdir(tmp_path) == []


def test_a_label_cannot_lead_out_of_the_folder(tmp_path: Path) -> None:
    hostile = Verdict("cam", "../../x", False, 0.1, 0.9, None, 0.0)

    path = Snapshots(tmp_path / "in", ROOMY).write(SEEN, hostile, "began", NOW)

    assert os.path.dirname(path) == str(tmp_path / "in")


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(SinkError, match="cannot keep snapshots"):
        Snapshots(tmp_path / "file", ROOMY).prepare()
