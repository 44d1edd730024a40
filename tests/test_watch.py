"""`edge-detect watch`, as a real process on a real folder."""

import json
import os
import pty
import select
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge.sources.folder import Folder
from tests.conftest import age, command, environment, picture, samples

PATIENCE = 30.0


class Watching:
    """A running `edge-detect watch --json`, and the lines it has printed."""

    def __init__(self, folder: Path, model: Path, *options: str) -> None:
        arguments = command("watch", folder, "--json", "--model", model, *options)
        self.process = subprocess.Popen(
            arguments,
            cwd=folder.parent,
            env=environment(HOME=str(folder.parent)),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.answers: list[dict[str, object]] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.answers.append(json.loads(line))

    @property
    def names(self) -> list[str]:
        return [Path(str(answer["path"])).name for answer in self.answers]

    def until(self, condition: Callable[["Watching"], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition(self):
            assert time.monotonic() < deadline, f"waited in vain; so far {self.names}"
            assert self.process.poll() is None, self.process.stderr and self.process.stderr.read()
            time.sleep(0.02)

    def stop(self, number: int = signal.SIGTERM) -> str:
        """Send a signal, and return what was said on stderr."""
        self.process.send_signal(number)
        _, said = self.process.communicate(timeout=PATIENCE) if self._finished() else ("", "")
        return said

    def _finished(self) -> bool:
        self._reader.join(PATIENCE)
        return not self._reader.is_alive()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join()
        for stream in (self.process.stdout, self.process.stderr):
            if stream:
                stream.close()


@pytest.fixture
def watching(inbox: Path, brightness: Path) -> Iterator[Callable[..., Watching]]:
    started: list[Watching] = []

    def start(*options: str) -> Watching:
        started.append(Watching(inbox, brightness, *options))
        return started[-1]

    yield start
    for watcher in started:
        watcher.kill()


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


def test_what_lies_there_then_what_arrives(inbox: Path, watching: Callable[..., Watching]) -> None:
    age(picture(inbox / "before.png"))
    watcher = watching()
    watcher.until(lambda w: w.names == ["before.png"])
    picture(inbox / "written.png", 30, seed=1)
    picture(inbox.parent / "outside.png", seed=2).rename(inbox / "moved in.png")
    os.link(picture(inbox.parent / "linked.png", seed=3), inbox / "linked.png")
    (inbox / "notes.txt").write_text("not for us")
    watcher.until(lambda w: len(w.names) == 4)
    assert sorted(watcher.names) == ["before.png", "linked.png", "moved in.png", "written.png"]
    said = watcher.stop()
    assert watcher.process.returncode == 0
    assert "1 FAKE, 3 REAL" in said
    assert len(watcher.names) == 4


def test_a_file_is_answered_when_it_is_complete_and_not_before(inbox: Path, watching: Callable[..., Watching]) -> None:
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


def test_a_file_that_was_being_written_when_we_came_is_left_to_settle(
    inbox: Path, watching: Callable[..., Watching]
) -> None:
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


def test_rewriting_a_file_is_answered_again_and_closing_it_unchanged_is_not(
    inbox: Path, watching: Callable[..., Watching]
) -> None:
    watcher = watching()
    picture(inbox / "a.png", 230)
    watcher.until(lambda w: len(w.names) == 1)
    (inbox / "a.png").open("ab").close()
    picture(inbox / "a.png", 20)
    watcher.until(lambda w: len(w.names) == 2)
    assert [answer["label"] for answer in watcher.answers] == ["REAL", "FAKE"]


def test_a_file_renamed_after_its_answer_gets_no_second_line(inbox: Path, watching: Callable[..., Watching]) -> None:
    watcher = watching()
    picture(inbox / "a.png", seed=1)
    watcher.until(lambda w: w.names == ["a.png"])
    (inbox / "a.png").rename(inbox / "b.png")
    picture(inbox / "last.png", seed=2)
    watcher.until(lambda w: "last.png" in w.names)
    watcher.stop()
    assert watcher.names == ["a.png", "last.png"]


def test_a_link_that_is_a_file_s_only_name_arrives_too(inbox: Path) -> None:
    stop, found = threading.Event(), []
    other = picture(inbox.parent / "other.png")
    for path in Folder(str(inbox), settle_seconds=0.5).files(stop):
        if path is None and other.exists():
            os.link(other, inbox / "linked.png")
            other.unlink()
            deadline = time.monotonic() + PATIENCE
        elif path is not None:
            found.append(path)
            stop.set()
        elif time.monotonic() > deadline:
            break
    assert found == [str(inbox / "linked.png")]


def test_what_is_moved_out_of_the_folder_is_watched_no_longer(inbox: Path, watching: Callable[..., Watching]) -> None:
    (inbox / "sub").mkdir()
    watcher = watching("--recursive")
    picture(inbox / "sub" / "first.png")
    watcher.until(lambda w: w.names == ["first.png"])
    outside = inbox.parent / "outside"
    (inbox / "sub").rename(outside)
    (inbox / "sub").mkdir()
    time.sleep(1)  # let it notice
    half = picture(inbox.parent / "half.png").read_bytes()[:500]
    with (inbox / "sub" / "x.png").open("wb") as unfinished:
        unfinished.write(half)
        unfinished.flush()
        picture(outside / "x.png", seed=3)  # an event of the old folder must not count for the new one
        picture(inbox / "sub" / "last.png", seed=4)
        watcher.until(lambda w: "last.png" in w.names)
        assert watcher.names == ["first.png", "last.png"]


def test_a_root_that_cannot_be_watched_is_an_error_at_once(inbox: Path, brightness: Path) -> None:
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


def test_an_overflow_of_the_kernel_s_queue_loses_nothing(inbox: Path, watching: Callable[..., Watching]) -> None:
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


def test_new_sub_folders_are_watched_with_what_they_bring(inbox: Path, watching: Callable[..., Watching]) -> None:
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


def test_a_writer_may_take_its_time(inbox: Path, watching: Callable[..., Watching]) -> None:
    content = picture(inbox.parent / "whole.png", size=(200, 150)).read_bytes()
    watcher = watching()
    picture(inbox / "first.png")
    watcher.until(lambda w: w.names == ["first.png"])
    with (inbox / "slow.png").open("wb") as file:
        file.write(content[:5000])
        file.flush()
        time.sleep(3)  # much longer than anything that settles
        assert watcher.names == ["first.png"]
        file.write(content[5000:])
    watcher.until(lambda w: w.names == ["first.png", "slow.png"])
    assert "error" not in watcher.answers[1]


def test_a_link_to_a_file_that_is_being_written_waits_for_it(inbox: Path, watching: Callable[..., Watching]) -> None:
    content = picture(inbox.parent / "whole.png", size=(200, 150)).read_bytes()
    watcher = watching()
    picture(inbox / "first.png")
    watcher.until(lambda w: w.names == ["first.png"])
    with (inbox.parent / "target.png").open("wb") as file:
        (inbox / "link.png").symlink_to(file.name)
        for start in range(0, len(content), len(content) // 5):
            file.write(content[start : start + len(content) // 5])
            file.flush()
            time.sleep(0.4)
    watcher.until(lambda w: w.names == ["first.png", "link.png"])
    assert "error" not in watcher.answers[1]


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
