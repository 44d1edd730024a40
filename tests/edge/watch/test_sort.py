"""`edge-detect watch --sort-into` where some files cannot be moved, or have changed without a sign."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from edge.watch import sort
from tests.conftest import Run, age, command, environment, picture, without_privileges
from tests.support.watching import Watching


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_once_goes_on_after_a_file_that_cannot_be_moved(
    inbox: Path, tmp_path: Path, brightness: Path, edge_detect: Run
) -> None:
    (inbox / "sub").mkdir()
    age(picture(inbox / "sub" / "a.png"))
    age(picture(inbox / "b.png", seed=1))
    folder = tmp_path / "sorted"
    (folder / "REAL").mkdir(parents=True)
    (folder / "REAL" / "sub").write_text("a file where a folder should be")
    command = ("watch", inbox, "--once", "--recursive", "--json", "--sort-into", folder, "--model", brightness)
    for again in (False, True):
        if again:
            age(picture(inbox / "c.png", seed=2))
        done = edge_detect(*command)
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        (failure,) = [line for line in lines if "error" in line]
        assert done.returncode == 1
        assert failure["path"].endswith("sub/a.png")
        assert failure["error"].startswith(f"cannot be moved: {folder}/REAL/sub")
    assert names(folder) == ["REAL/b.png", "REAL/c.png", "REAL/sub"]
    (folder / "REAL" / "sub").unlink()
    done = edge_detect(*command)
    assert (done.returncode, names(folder)) == (0, ["REAL/b.png", "REAL/c.png", "REAL/sub/a.png"])


def test_watch_reports_a_file_that_cannot_be_moved_once_and_moves_others(
    inbox: Path, tmp_path: Path, watching: Callable[..., Watching]
) -> None:
    (inbox / "sub").mkdir()
    age(picture(inbox / "sub" / "a.png"))
    folder = tmp_path / "sorted"
    (folder / "REAL").mkdir(parents=True)
    (folder / "REAL" / "sub").write_text("a file where a folder should be")
    watcher = watching("--recursive", "--sort-into", str(folder))
    for number in range(4):
        picture(inbox / f"{number}.png", seed=number + 1)
        watcher.until(lambda _, number=number: (folder / "REAL" / f"{number}.png").exists())  # type: ignore[misc]
    watcher.stop()
    assert len([answer for answer in watcher.answers if "error" in answer]) == 1


@pytest.mark.parametrize("count", [1, sort.MOST_FAILURES + 20])
def test_once_answers_all_files_of_a_read_only_inbox(
    inbox: Path, tmp_path: Path, brightness: Path, edge_detect: Run, count: int
) -> None:
    for number in range(count):
        age(picture(inbox / f"{number}.png", seed=number))
    inbox.chmod(0o555)
    words = command(
        "watch",
        inbox,
        "--once",
        "--sort-into",
        tmp_path / "sorted",
        "--model",
        brightness,
        "--state",
        tmp_path / "state",
    )
    for answers in (count, 0):
        done = subprocess.run(
            [*without_privileges(), *words],
            env=environment(HOME=str(tmp_path)),
            capture_output=True,
            text=True,
            timeout=90,
        )
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        assert (done.returncode, len(done.stdout.splitlines()), len(errors)) == (1, answers, count)
        assert all(f"cannot be moved: the folder {inbox} cannot be written to" in line for line in errors)
    inbox.chmod(0o755)


def test_sticky_folder_of_another_account_is_recognised(inbox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = picture(inbox / "a.png")
    inbox.chmod(0o1777)
    assert not sort._is_sticky_for(str(file))
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert sort._is_sticky_for(str(file))
    inbox.chmod(0o777)
    assert not sort._is_sticky_for(str(file))


def test_new_content_with_size_and_time_of_the_old_is_answered(
    inbox: Path, tmp_path: Path, brightness: Path, edge_detect: Run
) -> None:
    command = ("watch", inbox, "--once", "--json", "--model", brightness, "--state", tmp_path / "state")
    path, then = inbox / "a.bmp", 1_500_000_000
    picture(path, 240)
    os.utime(path, (then, then))
    (first,) = map(json.loads, edge_detect(*command).stdout.splitlines())
    size, inode = path.stat().st_size, path.stat().st_ino
    path.write_bytes(picture(tmp_path / "dark.bmp", 20).read_bytes())
    os.utime(path, (then, then))
    assert (path.stat().st_size, path.stat().st_ino) == (size, inode)
    (second,) = map(json.loads, edge_detect(*command, "--sort-into", tmp_path / "sorted").stdout.splitlines())
    assert (first["label"], second["label"]) == ("REAL", "FAKE")
    assert names(tmp_path / "sorted") == ["FAKE/a.bmp"]


def test_file_whose_permissions_changed_is_read_again_without_a_second_answer(
    inbox: Path, brightness: Path, edge_detect: Run
) -> None:
    age(picture(inbox / "a.png"))
    command = ("watch", inbox, "--once", "--model", brightness)
    assert len(edge_detect(*command).stdout.splitlines()) == 1
    (inbox / "a.png").chmod(0o600)
    for _ in range(2):
        done = edge_detect(*command)
        assert done.stdout == ""
        assert "1 answered before" in done.stderr
