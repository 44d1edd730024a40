"""`edge-detect watch`, as a real process: what it remembers, how it ends, what it says."""

import json
import os
import pty
import select
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import age, command, environment, picture, samples
from tests.watching import PATIENCE, Watching


def once(inbox: Path, model: Path, *options: str) -> list[str]:
    """The names that one `watch --once` answers; it must say nothing else."""
    done = subprocess.run(
        command("watch", inbox, "--once", "--json", "--model", model, *options),
        cwd=inbox.parent,
        env=environment(HOME=str(inbox.parent)),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
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
    for number in range(300):
        age(picture(inbox / f"{number}.png", seed=number))
    watcher = watching()
    watcher.until(lambda w: len(w.names) >= 64)
    watcher.kill()
    first = set(watcher.names)
    again = watching("--once")
    again.process.wait(PATIENCE)
    again._finished()
    second = set(again.names)
    assert first.isdisjoint(second)
    # Between commit and print a killed process may have told less than it had committed (a group of 64), never more.
    assert 300 - 64 <= len(first | second) <= 300


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


def test_a_folder_that_is_missing_or_goes_away_is_one_line(inbox: Path, watching: Callable[..., Watching]) -> None:
    watcher = watching()
    picture(inbox / "a.png")
    watcher.until(lambda w: len(w.names) == 1)
    shutil.rmtree(inbox)
    _, said = watcher.process.communicate(timeout=PATIENCE) if watcher._finished() else ("", "")
    assert watcher.process.returncode == 2
    assert said.splitlines()[-1].endswith("the folder has been moved, deleted or unmounted")
    done = subprocess.run(command("watch", inbox), env=environment(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr == f"edge-detect: {inbox}: cannot watch it: no such file or directory\n"


def test_a_state_folder_that_cannot_be_is_one_line(inbox: Path, brightness: Path) -> None:
    (inbox.parent / "file").write_text("in the way")
    (inbox.parent / "damaged").mkdir()
    (inbox.parent / "damaged" / "ledger.sqlite3").write_bytes(b"this is no database" * 100)
    for state, reason in (("file", "cannot make the state folder"), ("damaged", "not a database")):
        done = subprocess.run(
            command("watch", inbox, "--once", "--model", brightness, "--state", state),
            cwd=inbox.parent,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 2
        assert reason in done.stderr
        assert len(done.stderr.splitlines()) == 1


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
