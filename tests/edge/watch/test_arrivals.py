"""`edge-detect watch` while files are written, moved, linked and renamed."""

import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edge.sources.folder import Folder
from tests.conftest import age, command, environment, picture
from tests.support.watching import PATIENCE, Watching


def test_existing_and_arriving_files_are_answered(inbox: Path, watching: Callable[..., Watching]) -> None:
    age(picture(inbox / "before.png"))
    watcher = watching()
    watcher.until(lambda w: w.names == ["before.png"])
    picture(inbox / "written.png", 30, seed=1)
    picture(inbox.parent / "outside.png", seed=2).rename(inbox / "moved in.png")
    os.link(picture(inbox.parent / "linked.png", seed=3), inbox / "linked.png")
    (inbox / "notes.txt").write_text("no image")
    watcher.until(lambda w: len(w.names) == 4)
    assert sorted(watcher.names) == ["before.png", "linked.png", "moved in.png", "written.png"]
    summary = watcher.stop()
    assert watcher.process.returncode == 0
    assert "1 FAKE, 3 REAL" in summary
    assert len(watcher.names) == 4


def test_file_is_answered_only_when_complete(inbox: Path, watching: Callable[..., Watching]) -> None:
    content = picture(inbox.parent / "whole.png", size=(200, 150)).read_bytes()
    watcher = watching()
    picture(inbox / "first.png")
    watcher.until(lambda w: w.names == ["first.png"])
    with (inbox / "slow.png").open("wb") as file:
        for start in range(0, len(content), len(content) // 5):
            file.write(content[start : start + len(content) // 5])
            file.flush()
            time.sleep(0.5)
        assert watcher.names == ["first.png"]
    watcher.until(lambda w: w.names == ["first.png", "slow.png"])
    assert "error" not in watcher.answers[1]


def test_file_being_written_at_start_settles_first(inbox: Path, watching: Callable[..., Watching]) -> None:
    content = picture(inbox.parent / "whole.png", size=(200, 150)).read_bytes()
    with (inbox / "slow.png").open("wb") as file:
        file.write(content[: len(content) // 2])
        file.flush()
        watcher = watching()
        for byte in range(len(content) // 2, len(content), len(content) // 8):
            file.write(content[byte : byte + len(content) // 8])
            file.flush()
            time.sleep(0.4)
    watcher.until(lambda w: len(w.names) >= 1)
    assert "error" not in watcher.answers[0]


def test_rewritten_file_is_answered_again_but_not_one_closed_unchanged(
    inbox: Path, watching: Callable[..., Watching]
) -> None:
    watcher = watching()
    picture(inbox / "a.png", 230)
    watcher.until(lambda w: len(w.names) == 1)
    (inbox / "a.png").open("ab").close()
    picture(inbox / "a.png", 20)
    watcher.until(lambda w: len(w.names) == 2)
    assert [answer["label"] for answer in watcher.answers] == ["REAL", "FAKE"]


def test_file_renamed_after_its_answer_is_not_answered_again(inbox: Path, watching: Callable[..., Watching]) -> None:
    watcher = watching()
    picture(inbox / "a.png", seed=1)
    watcher.until(lambda w: w.names == ["a.png"])
    (inbox / "a.png").rename(inbox / "b.png")
    picture(inbox / "last.png", seed=2)
    watcher.until(lambda w: "last.png" in w.names)
    watcher.stop()
    assert watcher.names == ["a.png", "last.png"]


def test_link_that_becomes_the_only_name_of_a_file_arrives(inbox: Path) -> None:
    stop, found = threading.Event(), []
    other = picture(inbox.parent / "other.png")
    for files in Folder(str(inbox), settle_seconds=0.5).files(stop.is_set):
        if files is None and other.exists():
            os.link(other, inbox / "linked.png")
            other.unlink()
            deadline = time.monotonic() + PATIENCE
        elif files:
            found += [path for path, _ in files]
            stop.set()
        elif time.monotonic() > deadline:
            break
    assert found == [str(inbox / "linked.png")]


def test_sub_folder_moved_out_is_no_longer_watched(inbox: Path, watching: Callable[..., Watching]) -> None:
    (inbox / "sub").mkdir()
    watcher = watching("--recursive")
    picture(inbox / "sub" / "first.png")
    watcher.until(lambda w: w.names == ["first.png"])
    outside = inbox.parent / "outside"
    (inbox / "sub").rename(outside)
    (inbox / "sub").mkdir()
    time.sleep(1)  # until the watcher has handled the events
    half = picture(inbox.parent / "half.png").read_bytes()[:500]
    with (inbox / "sub" / "x.png").open("wb") as unfinished:
        unfinished.write(half)
        unfinished.flush()
        picture(outside / "x.png", seed=3)  # an event of the old folder must not count for the new one
        picture(inbox / "sub" / "last.png", seed=4)
        watcher.until(lambda w: "last.png" in w.names)
        assert watcher.names == ["first.png", "last.png"]


def test_root_that_cannot_be_watched_ends_the_start(inbox: Path, brightness: Path) -> None:
    if not shutil.which("unshare"):
        pytest.skip("needs unshare (util-linux) for a limit of its own")
    limited = 'echo 0 > /proc/sys/user/max_inotify_watches && exec "$@"'
    arguments = command("watch", inbox, "--model", brightness, "--state", inbox.parent / "state")
    done = subprocess.run(
        ["unshare", "-Ur", "sh", "-c", limited, "sh", *arguments],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    if "unshare" in done.stderr or "Permission denied" in done.stderr:
        pytest.skip(f"no user namespaces here: {done.stderr.strip()}")
    assert done.returncode == 2
    assert "fs.inotify.max_user_watches" in done.stderr.splitlines()[-1]


def test_overflow_of_the_kernel_queue_loses_nothing(inbox: Path, watching: Callable[..., Watching]) -> None:
    content = picture(inbox / "first.png", size=(8, 8)).read_bytes()
    watcher = watching()
    watcher.until(lambda w: len(w.names) == 1)
    room = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    if room > 20_000:
        pytest.skip(f"{room} events are too many to make")
    watcher.process.send_signal(signal.SIGSTOP)
    count = room // 2 + 100  # a creation and a closing each
    for number in range(count):
        (inbox / f"{number}.png").write_bytes(content)
    watcher.process.send_signal(signal.SIGCONT)
    watcher.until(lambda w: len(w.names) == count + 1)
    assert len(set(watcher.names)) == count + 1


def test_new_sub_folders_are_watched_and_their_files_answered(inbox: Path, watching: Callable[..., Watching]) -> None:
    watcher = watching("--recursive")
    picture(inbox / "first.png")
    watcher.until(lambda w: w.names == ["first.png"])
    (inbox / "new").mkdir()
    picture(inbox / "new" / "inside.png", seed=1)
    brought = inbox.parent / "brought"
    (brought / "deep").mkdir(parents=True)
    age(picture(brought / "deep" / "with it.png", seed=2))
    brought.rename(inbox / "brought")
    watcher.until(lambda w: len(w.names) == 3)
    picture(inbox / "brought" / "deep" / "later.png", seed=3)
    watcher.until(lambda w: len(w.names) == 4)
    assert sorted(watcher.names) == ["first.png", "inside.png", "later.png", "with it.png"]


def test_file_of_slow_writer_is_answered_when_closed(inbox: Path, watching: Callable[..., Watching]) -> None:
    content = picture(inbox.parent / "whole.png", size=(200, 150)).read_bytes()
    watcher = watching()
    picture(inbox / "first.png")
    watcher.until(lambda w: w.names == ["first.png"])
    with (inbox / "slow.png").open("wb") as file:
        file.write(content[:5000])
        file.flush()
        time.sleep(3)  # much longer than the settling time
        assert watcher.names == ["first.png"]
        file.write(content[5000:])
    watcher.until(lambda w: w.names == ["first.png", "slow.png"])
    assert "error" not in watcher.answers[1]


def test_link_to_file_being_written_is_answered_when_complete(inbox: Path, watching: Callable[..., Watching]) -> None:
    content = picture(inbox.parent / "whole.png", size=(200, 150)).read_bytes()
    watcher = watching()
    picture(inbox / "first.png")
    watcher.until(lambda w: w.names == ["first.png"])
    with (inbox / ".target.png").open("wb") as file:
        (inbox / "link.png").symlink_to(file.name)
        for start in range(0, len(content), len(content) // 5):
            file.write(content[start : start + len(content) // 5])
            file.flush()
            time.sleep(0.4)
    watcher.until(lambda w: w.names == ["first.png", "link.png"])
    assert "error" not in watcher.answers[1]


def test_broken_link_is_reported(inbox: Path, watching: Callable[..., Watching]) -> None:
    watcher = watching()
    picture(inbox / "first.png")
    watcher.until(lambda w: w.names == ["first.png"])
    (inbox / "link.png").symlink_to("nowhere.png")
    watcher.until(lambda w: w.names == ["first.png", "link.png"])
    assert watcher.answers[1]["error"] == "broken symbolic link"


@pytest.mark.parametrize("years", [-30, 30])
def test_files_from_past_and_future_are_answered_once(
    inbox: Path, watching: Callable[..., Watching], years: int
) -> None:
    """File times in the past and the future, as after a jump of the clock."""
    for number in range(4):
        path = picture(inbox / f"{number}.png", seed=number)
        shifted = time.time() + (years * 31_556_952 if number % 2 else 0)
        os.utime(path, (shifted, shifted))
    watcher = watching()
    watcher.until(lambda w: len(w.names) == 4)
    watcher.stop()
    again = watching()
    picture(inbox / "last.png", seed=9)
    again.until(lambda w: w.names == ["last.png"])
    again.stop()
    assert sorted(watcher.names) == [f"{number}.png" for number in range(4)]
