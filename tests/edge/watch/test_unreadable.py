"""`edge-detect watch --sort-into`: files in UNREADABLE that change later, by real writers."""

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import BinaryIO

import pytest
from inotify_simple import INotify, flags

from edge.files import FileId
from edge.store.ledger import Entry, Ledger, Move, SetAside
from edge.verdict import Answer, Failure, Verdict
from tests.conftest import Run, age, command, environment, picture, without_privileges
from tests.support.watching import Watching

OLD_SECONDS = 1000.0  # so that a file counts as quiet although a program has it open


@pytest.fixture
def jpeg(tmp_path: Path) -> bytes:
    return picture(tmp_path / "whole.jpg", 240, (400, 300)).read_bytes()


@pytest.fixture
def sorted_folder(tmp_path: Path) -> Path:
    return tmp_path / "sorted"


@pytest.fixture
def writer(inbox: Path, jpeg: bytes) -> Iterator[BinaryIO]:
    """A program that has written half of cut.jpg, long ago."""
    with (inbox / "cut.jpg").open("wb") as file:
        file.write(jpeg[: len(jpeg) // 2])
        file.flush()
        age(inbox / "cut.jpg", OLD_SECONDS)
        yield file


@pytest.fixture
def once(inbox: Path, tmp_path: Path, sorted_folder: Path, brightness: Path, edge_detect: Run) -> Callable[..., str]:
    """Runs `watch --once --sort-into`, and returns its output, the errors last."""

    def run(*options: str) -> str:
        words = ("watch", inbox, "--once", "--model", brightness, "--sort-into", sorted_folder)
        done = edge_detect(*words, "--state", tmp_path / "state", *options)
        assert done.returncode == (1 if "failed" in done.stderr else 0), done.stderr
        return done.stdout + done.stderr

    return run


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("options", [(), ("--poll", "0.5")])
def test_file_finished_by_its_writer_after_the_move_gets_its_verdict(
    writer: BinaryIO, watching: Callable[..., Watching], sorted_folder: Path, jpeg: bytes, options: tuple[str, ...]
) -> None:
    watcher = watching("--sort-into", str(sorted_folder), *options)
    watcher.until(lambda _: files(sorted_folder) == ["UNREADABLE/cut.jpg"])
    writer.write(jpeg[len(jpeg) // 2 :])
    writer.close()
    watcher.until(lambda _: files(sorted_folder) == ["REAL/cut.jpg"])
    watcher.stop()
    assert [answer.get("label") for answer in watcher.answers] == [None, "REAL"]
    assert (sorted_folder / "REAL" / "cut.jpg").read_bytes() == jpeg


def test_once_leaves_file_that_is_still_being_written(
    writer: BinaryIO, once: Callable[..., str], sorted_folder: Path, jpeg: bytes
) -> None:
    assert "cut.jpg: image file is truncated" in once()
    assert files(sorted_folder) == ["UNREADABLE/cut.jpg"]
    writer.write(jpeg[len(jpeg) // 2 : -100])
    writer.flush()
    assert "nothing new" in once()
    assert files(sorted_folder) == ["UNREADABLE/cut.jpg"]
    writer.write(jpeg[-100:])
    writer.close()
    assert "1 REAL" in once()
    assert files(sorted_folder) == ["REAL/cut.jpg"]
    assert "nothing new" in once()


@pytest.mark.parametrize("target", ["sorted", "elsewhere"])
def test_file_repaired_in_unreadable_overwrites_nothing(
    inbox: Path, once: Callable[..., str], tmp_path: Path, jpeg: bytes, target: str, request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(target) if target == "elsewhere" else tmp_path / "sorted"
    options = ("--recursive", "--sort-into", str(folder))
    (inbox / "sub").mkdir()
    (inbox / "sub" / "a.jpg").write_bytes(jpeg[:3000])
    age(inbox / "sub" / "a.jpg", OLD_SECONDS)
    once(*options)
    assert files(folder) == ["UNREADABLE/sub/a.jpg"]
    (folder / "UNREADABLE" / "sub" / "a.jpg").write_bytes(jpeg)
    age(picture(inbox / "sub" / "a.jpg", 240, seed=1))  # another file has the name meanwhile, here
    (folder / "REAL" / "sub").mkdir(parents=True)
    picture(folder / "REAL" / "sub" / "a.jpg", 240, seed=2)  # and there
    assert "2 REAL" in once(*options)
    assert len(files(folder)) == 3, files(folder)
    assert all(name.startswith("REAL/sub/a (") or name == "REAL/sub/a.jpg" for name in files(folder))
    contents = {(folder / name).read_bytes() for name in files(folder)}
    assert len(contents) == 3
    assert jpeg in contents
    assert files(inbox) == []


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A folder on another file system."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK) or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system here")
    folder = memory / f"edge-detect-unreadable-{os.getpid()}"
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def test_touched_or_excluded_file_stays_in_unreadable(
    inbox: Path, once: Callable[..., str], sorted_folder: Path, jpeg: bytes
) -> None:
    for name in ("touched.jpg", "excluded.jpg", "sub.jpg"):
        (inbox / name).write_bytes(jpeg[:3000] + name.encode())
        age(inbox / name, OLD_SECONDS)
    once()
    aside = sorted_folder / "UNREADABLE"
    assert len(files(aside)) == 3
    age(aside / "touched.jpg", 5)
    (aside / "excluded.jpg").write_bytes(jpeg)
    (aside / "sub.jpg").unlink()
    assert "nothing new" in once("--exclude", "excl*")
    assert files(aside) == ["excluded.jpg", "touched.jpg"]
    assert "1 REAL" in once()
    assert files(sorted_folder) == ["REAL/excluded.jpg", "UNREADABLE/touched.jpg"]


def test_unchanged_files_in_unreadable_are_not_opened(
    inbox: Path, once: Callable[..., str], sorted_folder: Path, jpeg: bytes
) -> None:
    for number in range(3):
        (inbox / f"{number}.jpg").write_bytes(jpeg[: 3000 + number])
        age(inbox / f"{number}.jpg", OLD_SECONDS)
    once()
    aside = sorted_folder / "UNREADABLE"
    with INotify() as opened:
        opened.add_watch(aside, flags.OPEN | flags.ONLYDIR)
        once()
        assert [event for event in opened.read(timeout=0) if event.name] == []
        age(aside / "1.jpg", 5)
        once()
        assert {event.name for event in opened.read(timeout=0) if event.name} == {"1.jpg"}
        once()
        assert [event for event in opened.read(timeout=0) if event.name] == []


def test_what_is_no_file_any_more_stays_in_unreadable(
    inbox: Path, once: Callable[..., str], sorted_folder: Path, tmp_path: Path, jpeg: bytes
) -> None:
    (inbox / "sub").mkdir()
    names = ("link.jpg", "fifo.jpg", "folder.jpg", "sub/below.jpg")
    for number, name in enumerate(names):
        (inbox / name).write_bytes(jpeg[: 3000 + number])
        age(inbox / name, OLD_SECONDS)
    once("--recursive")
    aside = sorted_folder / "UNREADABLE"
    assert files(aside) == sorted(names)
    for name in names:
        (aside / name).unlink()
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "below.jpg").write_bytes(jpeg)
    (aside / "sub").rmdir()
    (aside / "sub").symlink_to(foreign)
    (aside / "link.jpg").symlink_to(foreign / "below.jpg")
    os.mkfifo(aside / "fifo.jpg")
    (aside / "folder.jpg").mkdir()
    assert "nothing new" in once("--recursive")
    assert files(foreign) == ["below.jpg"]
    assert sorted(os.listdir(aside)) == ["fifo.jpg", "folder.jpg", "link.jpg", "sub"]
    assert files(inbox) == []


def test_file_that_changes_and_stays_undecodable_gets_an_error_and_returns(
    inbox: Path, once: Callable[..., str], sorted_folder: Path, jpeg: bytes
) -> None:
    age(Path(shutil.copyfile(os.devnull, inbox / "a.jpg")), OLD_SECONDS)
    once()
    changed = sorted_folder / "UNREADABLE" / "a.jpg"
    changed.write_bytes(jpeg[:5000])
    age(changed, OLD_SECONDS)
    assert "1 failed" in once()
    assert files(sorted_folder) == ["UNREADABLE/a.jpg"]
    assert "nothing new" in once()


def test_changed_file_that_cannot_be_moved_back_is_reported(
    inbox: Path, tmp_path: Path, sorted_folder: Path, brightness: Path, edge_detect: Run, jpeg: bytes
) -> None:
    (inbox / "a.jpg").write_bytes(jpeg[:5000])
    age(inbox / "a.jpg", OLD_SECONDS)
    words = ("watch", inbox, "--once", "--model", brightness, "--sort-into", sorted_folder)
    words = (*words, "--state", tmp_path / "state")
    edge_detect(*words)
    (sorted_folder / "UNREADABLE" / "a.jpg").write_bytes(jpeg)
    inbox.chmod(0o500)
    try:
        done = subprocess.run(
            [*without_privileges(), *command(*words)],
            env=environment(HOME=str(tmp_path)),
            capture_output=True,
            text=True,
            timeout=60,
        )
    finally:
        inbox.chmod(0o700)
    assert done.returncode == 1
    assert "UNREADABLE/a.jpg: has changed, and cannot be moved back: permission denied" in (done.stdout + done.stderr)
    assert edge_detect(*words).returncode == 0
    assert files(sorted_folder) == ["REAL/a.jpg"]


def test_ledger_knows_moved_files_without_a_verdict(tmp_path: Path) -> None:
    stamp, digest = FileId(1, 2, 3, 4), b"d" * 32
    failed: tuple[Answer, ...] = (Failure("/in/a", "empty"), Failure("/in/b", "empty"))
    good = Verdict("/in/c", "REAL", True, 0.9, 0.9, None, 0.0)
    with Ledger(tmp_path) as ledger:
        for answer in (*failed, good):
            ledger.record([Entry(answer.path, stamp, 5, digest, answer, "m", f"/out/x{answer.path}")], "/in")
        moves = ledger.moves("/in")
        assert [move.source for move in moves] == ["/in/a", "/in/b", "/in/c"]
        ledger.moved([(move, move.target) for move in moves])
        first, second = (SetAside(f"/out/x/in/{name}", str(stamp), None, digest) for name in "ab")
        assert ledger.set_aside("/out/x") == [first, second]
        assert ledger.set_aside("/out/x", first.path) == [second]
        assert ledger.set_aside("/out") == [first, second]
        assert ledger.set_aside("/ou") == ledger.set_aside("/out/x/in/a") == []
        assert ledger.known([(first.path, stamp)]) == [None]
        ledger.note_set_aside(first.path, FileId(9, 9, 3, 5, 6), digest)
        ledger.forget_set_aside(second.path)
        (noted,) = ledger.set_aside("/out/x")
    assert noted.is_unchanged(FileId(7, 8, 3, 5, 6)), "another device number, as after mounting again"
    assert not noted.is_unchanged(FileId(9, 9, 3, 5, 7))
    assert not noted.is_unchanged(FileId(9, 9, 4, 5, 6))
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite3")) as database:
        assert database.execute("SELECT COUNT(*) FROM moves").fetchone() == (0,)
    assert isinstance(moves[0], Move)
