"""`edge-detect watch` as a real process: remembered answers, end of the process, output."""

import contextlib
import json
import os
import pty
import select
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edge.store.ledger import DELIVERED_AT_ONCE
from tests.conftest import Run, age, command, environment, picture, samples
from tests.support.watching import PATIENCE, Watching


def once(inbox: Path, model: Path, *options: str, status: int = 0) -> list[str]:
    """The names that one `watch --once` answers; it must print nothing else."""
    done = subprocess.run(
        command("watch", inbox, "--once", "--json", "--model", model, *options),
        cwd=inbox.parent,
        env=environment(HOME=str(inbox.parent)),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (status, "")
    return sorted(Path(json.loads(line)["path"]).name for line in done.stdout.splitlines())


def test_once_answers_each_file_and_none_again(inbox: Path, brightness: Path) -> None:
    names = sorted(path.name for path in samples(inbox))
    assert once(inbox, brightness) == names
    assert once(inbox, brightness) == []


def test_new_content_is_answered_but_not_a_touched_or_renamed_file(inbox: Path, brightness: Path) -> None:
    for number in range(4):
        age(picture(inbox / f"{number}.png", seed=number))
    assert once(inbox, brightness) == ["0.png", "1.png", "2.png", "3.png"]
    (inbox / "0.png").touch()
    (inbox / "1.png").rename(inbox / "renamed.png")
    age(picture(inbox / "2.png", seed=99), 30)
    age(picture(inbox / "copy of 3.png", seed=3))  # another file, though of the same content
    assert once(inbox, brightness) == ["2.png", "copy of 3.png"]
    assert once(inbox, brightness) == []


def test_renamed_file_is_answered_again_if_its_old_name_is_taken(inbox: Path, brightness: Path) -> None:
    age(picture(inbox / "a.png", seed=1))
    assert once(inbox, brightness) == ["a.png"]
    (inbox / "a.png").rename(inbox / "b.png")
    age(picture(inbox / "a.png", seed=2))
    # The old name is a file again, so nothing shows that b.png is the old a.png: better twice than never.
    assert once(inbox, brightness) == ["a.png", "b.png"]


def test_same_folder_by_another_path_has_its_answers(inbox: Path, brightness: Path) -> None:
    age(picture(inbox / "a.png"))
    assert once(inbox, brightness) == ["a.png"]
    link = inbox.parent / "link"
    link.symlink_to(inbox)
    assert once(link, brightness) == []


def test_file_moved_to_another_watched_folder_is_answered_there(inbox: Path, brightness: Path) -> None:
    other = inbox.parent / "other"
    other.mkdir()
    age(picture(inbox / "a.png"))
    assert once(inbox, brightness) == ["a.png"]
    (inbox / "a.png").rename(other / "a.png")
    assert once(other, brightness) == ["a.png"]


def test_state_folders_are_independent(inbox: Path, brightness: Path) -> None:
    age(picture(inbox / "a.png"))
    assert once(inbox, brightness, "--state", "one") == ["a.png"]
    assert once(inbox, brightness, "--state", "two") == ["a.png"]
    assert once(inbox, brightness, "--state", "one") == []


def test_sub_folders_are_read_only_with_recursive(inbox: Path, brightness: Path) -> None:
    (inbox / "deep" / "deeper").mkdir(parents=True)
    (inbox / ".hidden").mkdir()
    for name in ("top.png", "deep/a.png", "deep/deeper/b.png", ".hidden/c.png"):
        age(picture(inbox / name))
    assert once(inbox, brightness) == ["top.png"]
    assert once(inbox, brightness, "--recursive") == ["a.png", "b.png"]


def test_name_that_is_not_utf8_is_answered_once(inbox: Path, brightness: Path) -> None:
    raw = os.fsencode(inbox) + b"/caf\xe9.png"
    age(picture(inbox / "x.png"))
    os.rename(inbox / "x.png", raw)
    (name,) = once(inbox, brightness)
    assert os.fsencode(name) == b"caf\xe9.png"
    assert once(inbox, brightness) == []


def test_kill_loses_no_answer_and_repeats_at_most_one_batch(inbox: Path, watching: Callable[..., Watching]) -> None:
    for number in range(700):
        age(picture(inbox / f"{number}.png", seed=number))
    watcher = watching()
    watcher.until(lambda w: len(w.names) >= 64)
    watcher.kill()
    first = set(watcher.names)
    again = watching("--once")
    again.process.wait(PATIENCE)
    again.kill()  # ended already; this waits for its last lines
    second = set(again.names)
    # Killed while it printed, it may print the last batch once more.
    assert len(first & second) <= DELIVERED_AT_ONCE
    assert len(first | second) == 700


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_watching_with_summary(
    inbox: Path, watching: Callable[..., Watching], number: signal.Signals
) -> None:
    picture(inbox / "a.png")
    watcher = watching()
    watcher.until(lambda w: len(w.names) == 1)
    output = watcher.stop(number)
    assert watcher.process.returncode == 0
    assert "1 REAL in" in output
    assert "Traceback" not in output


def has_server(pid: int) -> bool:
    """Whether a watcher has begun to start its fork server."""
    with contextlib.suppress(OSError):
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return any("forkserver" in Path(f"/proc/{child}/cmdline").read_text() for child in children)
    return False


@pytest.mark.parametrize("seconds", [0.0, 0.05, 0.1])
def test_ctrl_c_during_start_ends_watcher_without_traceback(inbox: Path, brightness: Path, seconds: float) -> None:
    """The terminal also sends the signal to the fork server, which is importing the decoders then."""
    process = subprocess.Popen(
        command("watch", inbox, "--model", brightness),
        env=environment(HOME=str(inbox.parent)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + PATIENCE
    while not has_server(process.pid):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    time.sleep(seconds)
    os.killpg(process.pid, signal.SIGINT)
    _, output = process.communicate(timeout=PATIENCE)
    assert "Traceback" not in output
    assert process.returncode == 0, output


def test_missing_folder_is_one_line_error(inbox: Path) -> None:
    inbox.rmdir()
    done = subprocess.run(command("watch", inbox), env=environment(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr == f"edge-detect: {inbox}: cannot watch it: no such file or directory\n"


def test_impossible_state_folder_is_one_line_error(inbox: Path, brightness: Path) -> None:
    (inbox.parent / "file").write_text("in the way")
    done = subprocess.run(
        command("watch", inbox, "--once", "--model", brightness, "--state", "file"),
        cwd=inbox.parent,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert "cannot make the state folder" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_fifos_and_folders_are_ignored(inbox: Path, brightness: Path) -> None:
    os.mkfifo(inbox / "fifo.png")
    (inbox / "folder.png").mkdir()
    age(picture(inbox / "a.png"))
    assert once(inbox, brightness) == ["a.png"]


def test_link_out_of_folder_is_an_error_and_one_inside_is_followed(
    inbox: Path, edge_detect: Run, brightness: Path
) -> None:
    age(picture(inbox / "a.png"))
    (inbox / "inside.png").symlink_to("a.png")
    (inbox / "outside.png").symlink_to(age(picture(inbox.parent / "secret.png", seed=1)))
    done = edge_detect("watch", inbox, "--once", "--json", "--model", brightness)
    answers = {Path(answer["path"]).name: answer for answer in map(json.loads, done.stdout.splitlines())}
    assert set(answers) == {"a.png", "inside.png", "outside.png"}
    assert answers["outside.png"]["error"] == "is a link that leads out of the folder"


def test_sorting_moves_files_by_verdict_including_earlier_answers(inbox: Path, brightness: Path) -> None:
    (inbox / "deep").mkdir()
    for name, grey in (("bright.png", 220), ("deep/dark.png", 30)):
        age(picture(inbox / name, grey))
    (inbox / "bad.png").write_text("no image")
    age(inbox / "bad.png")
    assert run(inbox, brightness, "--recursive") == 1
    assert run(inbox, brightness, "--recursive", "--sort-into", "sorted") == 0
    sorted_into = inbox.parent / "sorted"
    found = sorted(path.relative_to(sorted_into).as_posix() for path in sorted_into.rglob("*.png"))
    assert found == ["FAKE/deep/dark.png", "REAL/bright.png", "UNREADABLE/bad.png"]
    assert [path for path in inbox.rglob("*") if path.is_file()] == []
    assert run(inbox, brightness, "--sort-into", str(inbox)) == 2, "it would be sorted forever"


def run(inbox: Path, model: Path, *options: str) -> int:
    arguments = command("watch", inbox, "--once", "--model", model, *options)
    variables = environment(HOME=str(inbox.parent))
    return subprocess.run(arguments, cwd=inbox.parent, env=variables, capture_output=True, timeout=60).returncode


def test_polling_waits_until_a_file_is_complete(inbox: Path, watching: Callable[..., Watching]) -> None:
    watcher = watching("--poll", "0.3")
    content = picture(inbox.parent / "whole.png", size=(200, 150)).read_bytes()
    with (inbox / "slow.png").open("wb") as file:
        for start in range(0, len(content), len(content) // 5):
            file.write(content[start : start + len(content) // 5])
            file.flush()
            time.sleep(0.5)
    watcher.until(lambda w: w.names == ["slow.png"])
    assert "error" not in watcher.answers[0]
    (inbox / "slow.png").rename(inbox / "renamed.png")
    age(picture(inbox / "last.png", seed=2), 200_000)
    watcher.until(lambda w: "last.png" in w.names)
    watcher.stop()
    assert watcher.names == ["slow.png", "last.png"]


def test_progress_line_is_rewritten_in_place_on_a_terminal(inbox: Path, brightness: Path) -> None:
    samples(inbox)
    master, slave = pty.openpty()
    process = subprocess.Popen(
        command("watch", inbox, "--once", "--model", brightness),
        env=environment(HOME=str(inbox.parent), COLUMNS="80", LINES="25"),
        stdout=slave,
        stderr=slave,
    )
    os.close(slave)
    seen = b""
    while select.select([master], [], [], PATIENCE)[0]:
        try:
            seen += os.read(master, 65536)
        except OSError:  # as Linux reports that the other end is closed
            break
    os.close(master)
    assert process.wait(PATIENCE) == 0
    assert b"\r\x1b[K" in seen
    assert len([line for line in seen.split(b"\r\n") if b"%  " in line]) == 20
    assert b" a second)" in seen.split(b"\r\n")[-2]


def test_every_hard_link_to_a_file_is_answered(inbox: Path, brightness: Path) -> None:
    """Hard links are one file by several names: they are held until the first is recorded."""
    age(picture(inbox / "good.png"))
    (inbox / "bad.png").write_text("no image")
    age(inbox / "bad.png")
    for number in range(200):
        os.link(inbox / "good.png", inbox / f"good {number}.png")
        os.link(inbox / "bad.png", inbox / f"bad {number}.png")
    names = once(inbox, brightness, status=1)
    assert sorted(names) == sorted(os.listdir(inbox))
    assert once(inbox, brightness) == []
