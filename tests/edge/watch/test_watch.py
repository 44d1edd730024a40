"""`edge-detect watch`, as a real process: what it remembers, how it ends, what it says."""

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
    """The names that one `watch --once` answers; it must say nothing else."""
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


def test_once_answers_every_file_once_and_never_again(inbox: Path, brightness: Path) -> None:
    names = sorted(path.name for path in samples(inbox))
    assert once(inbox, brightness) == names
    assert once(inbox, brightness) == []


def test_touching_or_renaming_a_file_is_no_new_file_but_new_content_is(inbox: Path, brightness: Path) -> None:
    for number in range(4):
        age(picture(inbox / f"{number}.png", seed=number))
    assert once(inbox, brightness) == ["0.png", "1.png", "2.png", "3.png"]
    (inbox / "0.png").touch()
    (inbox / "1.png").rename(inbox / "renamed.png")
    age(picture(inbox / "2.png", seed=99), 30)
    age(picture(inbox / "copy of 3.png", seed=3))  # another file, though of the same content
    assert once(inbox, brightness) == ["2.png", "copy of 3.png"]
    assert once(inbox, brightness) == []


def test_a_file_renamed_after_its_old_name_was_taken_is_answered(inbox: Path, brightness: Path) -> None:
    age(picture(inbox / "a.png", seed=1))
    assert once(inbox, brightness) == ["a.png"]
    (inbox / "a.png").rename(inbox / "b.png")
    age(picture(inbox / "a.png", seed=2))
    # The old name is a file again, so nothing shows that b.png is the old a.png: better twice than never.
    assert once(inbox, brightness) == ["a.png", "b.png"]


def test_the_folder_may_be_spelt_in_another_way(inbox: Path, brightness: Path) -> None:
    age(picture(inbox / "a.png"))
    assert once(inbox, brightness) == ["a.png"]
    link = inbox.parent / "link"
    link.symlink_to(inbox)
    assert once(link, brightness) == []


def test_a_file_answered_elsewhere_is_another_file(inbox: Path, brightness: Path) -> None:
    other = inbox.parent / "other"
    other.mkdir()
    age(picture(inbox / "a.png"))
    assert once(inbox, brightness) == ["a.png"]
    (inbox / "a.png").rename(other / "a.png")
    assert once(other, brightness) == ["a.png"]


def test_another_state_folder_remembers_nothing(inbox: Path, brightness: Path) -> None:
    age(picture(inbox / "a.png"))
    assert once(inbox, brightness, "--state", "one") == ["a.png"]
    assert once(inbox, brightness, "--state", "two") == ["a.png"]
    assert once(inbox, brightness, "--state", "one") == []


def test_sub_folders_only_if_told(inbox: Path, brightness: Path) -> None:
    (inbox / "deep" / "deeper").mkdir(parents=True)
    (inbox / ".hidden").mkdir()
    for name in ("top.png", "deep/a.png", "deep/deeper/b.png", ".hidden/c.png"):
        age(picture(inbox / name))
    assert once(inbox, brightness) == ["top.png"]
    assert once(inbox, brightness, "--recursive") == ["a.png", "b.png"]


def test_a_name_that_is_no_text_is_answered_once(inbox: Path, brightness: Path) -> None:
    raw = os.fsencode(inbox) + b"/caf\xe9.png"
    age(picture(inbox / "x.png"))
    os.rename(inbox / "x.png", raw)
    (name,) = once(inbox, brightness)
    assert os.fsencode(name) == b"caf\xe9.png"
    assert once(inbox, brightness) == []


def test_after_a_kill_nothing_committed_is_answered_again(inbox: Path, watching: Callable[..., Watching]) -> None:
    for number in range(700):
        age(picture(inbox / f"{number}.png", seed=number))
    watcher = watching()
    watcher.until(lambda w: len(w.names) >= 64)
    watcher.kill()
    first = set(watcher.names)
    again = watching("--once")
    again.process.wait(PATIENCE)
    again._finished()
    second = set(again.names)
    # Killed while it printed, it may tell the last round once more, and never less than all.
    assert len(first & second) <= DELIVERED_AT_ONCE
    assert len(first | second) == 700


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_a_summary(
    inbox: Path, watching: Callable[..., Watching], number: signal.Signals
) -> None:
    picture(inbox / "a.png")
    watcher = watching()
    watcher.until(lambda w: len(w.names) == 1)
    said = watcher.stop(number)
    assert watcher.process.returncode == 0
    assert "1 REAL in" in said
    assert "Traceback" not in said


def has_server(pid: int) -> bool:
    """Whether a watcher has begun to start the server of its processes."""
    with contextlib.suppress(OSError):
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return any("forkserver" in Path(f"/proc/{child}/cmdline").read_text() for child in children)
    return False


@pytest.mark.parametrize("seconds", [0.0, 0.05, 0.1])
def test_ctrl_c_while_it_starts_is_heard_by_none_but_the_watcher(inbox: Path, brightness: Path, seconds: float) -> None:
    """The terminal sends it to the server of its processes as well, which is loading its libraries then."""
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
    _, said = process.communicate(timeout=PATIENCE)
    assert "Traceback" not in said
    assert process.returncode == 0, said


def test_a_folder_that_is_missing_is_one_line(inbox: Path) -> None:
    inbox.rmdir()
    done = subprocess.run(command("watch", inbox), env=environment(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr == f"edge-detect: {inbox}: cannot watch it: no such file or directory\n"


def test_a_state_folder_that_cannot_be_is_one_line(inbox: Path, brightness: Path) -> None:
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


def test_what_is_no_file_is_left_alone(inbox: Path, brightness: Path) -> None:
    os.mkfifo(inbox / "fifo.png")
    (inbox / "folder.png").mkdir()
    age(picture(inbox / "a.png"))
    assert once(inbox, brightness) == ["a.png"]


def test_a_link_that_leads_out_of_the_folder_is_an_error_and_one_inside_is_followed(
    inbox: Path, edge_detect: Run, brightness: Path
) -> None:
    age(picture(inbox / "a.png"))
    (inbox / "inside.png").symlink_to("a.png")
    (inbox / "outside.png").symlink_to(age(picture(inbox.parent / "secret.png", seed=1)))
    done = edge_detect("watch", inbox, "--once", "--json", "--model", brightness)
    told = {Path(answer["path"]).name: answer for answer in map(json.loads, done.stdout.splitlines())}
    assert set(told) == {"a.png", "inside.png", "outside.png"}
    assert told["outside.png"]["error"] == "is a link that leads out of the folder"


def test_sorting_moves_each_file_by_its_verdict_also_those_answered_before(inbox: Path, brightness: Path) -> None:
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
    assert run(inbox, brightness, "--sort-into", str(inbox)) == 2, "it would be sorted for ever"


def run(inbox: Path, model: Path, *options: str) -> int:
    arguments = command("watch", inbox, "--once", "--model", model, *options)
    variables = environment(HOME=str(inbox.parent))
    return subprocess.run(arguments, cwd=inbox.parent, env=variables, capture_output=True, timeout=60).returncode


def test_polling_needs_no_events_and_waits_for_whoever_writes(inbox: Path, watching: Callable[..., Watching]) -> None:
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


def test_a_terminal_sees_progress_in_place(inbox: Path, brightness: Path) -> None:
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
        except OSError:  # Linux says so when the other end is closed
            break
    os.close(master)
    assert process.wait(PATIENCE) == 0
    assert b"\r\x1b[K" in seen
    assert len([line for line in seen.split(b"\r\n") if b"%  " in line]) == 20
    assert b" a second)" in seen.split(b"\r\n")[-2]


def test_links_to_one_file_get_an_answer_each_or_share_it_and_none_waits(inbox: Path, brightness: Path) -> None:
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
