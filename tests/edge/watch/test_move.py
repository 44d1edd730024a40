"""Moving files: none is overwritten, and a move that was interrupted at any point is finished."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.files import FileId
from edge.store.ledger import Move
from edge.watch import move
from edge.watch.move import Sorter

CONTENT = b"the bytes of a picture"


def moved(source: Path, target: Path) -> Move:
    stamp = str(FileId.of(source.stat()))
    return Move(str(source), str(target), stamp, hashlib.sha256(source.read_bytes()).digest())


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "inbox" / "a.jpg"
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    return path


@pytest.fixture(params=["same", "other"])
def sorted_folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A folder on the same file system as the source, or on another one."""
    if request.param == "same":
        yield tmp_path / "sorted"
        return
    shared_memory = Path("/dev/shm")
    if not os.access(shared_memory, os.W_OK) or shared_memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system here")
    folder = shared_memory / tmp_path.name
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def test_target_is_the_folder_of_the_label_with_the_sub_folder(tmp_path: Path) -> None:
    sorter = Sorter(str(tmp_path / "sorted"), str(tmp_path / "inbox"))
    inside = str(tmp_path / "inbox" / "deep" / "a.jpg")
    assert sorter.target(inside, "FAKE") == str(tmp_path / "sorted" / "FAKE" / "deep" / "a.jpg")
    assert sorter.target(inside, None) == str(tmp_path / "sorted" / "UNREADABLE" / "deep" / "a.jpg")


def test_moved_file_is_complete_and_in_one_place(source: Path, sorted_folder: Path) -> None:
    os.utime(source, (1e9, 1e9))
    target = sorted_folder / "REAL" / "a.jpg"
    assert move.perform(moved(source, target)) == str(target)
    assert target.read_bytes() == CONTENT
    assert target.stat().st_mtime == 1e9
    assert not source.exists()
    assert os.listdir(target.parent) == ["a.jpg"]


def test_move_overwrites_no_file(source: Path, sorted_folder: Path) -> None:
    target = sorted_folder / "REAL" / "a.jpg"
    target.parent.mkdir(parents=True)
    target.write_bytes(b"another's")
    (target.parent / "a (2).jpg").symlink_to("nowhere")
    assert move.perform(moved(source, target)) == str(target.parent / "a (3).jpg")
    assert target.read_bytes() == b"another's"
    assert os.readlink(target.parent / "a (2).jpg") == "nowhere"


def test_file_with_new_content_is_not_moved(source: Path, sorted_folder: Path) -> None:
    decided = moved(source, sorted_folder / "a.jpg")
    source.write_bytes(b"new content")
    assert move.perform(decided) is None
    assert source.read_bytes() == b"new content"
    assert not (sorted_folder / "a.jpg").exists()


def test_missing_file_is_no_error(source: Path, sorted_folder: Path) -> None:
    decided = moved(source, sorted_folder / "a.jpg")
    source.unlink()
    assert move.perform(decided) is None


def test_repeated_move_finds_the_moved_file(source: Path, sorted_folder: Path) -> None:
    decided = moved(source, sorted_folder / "a.jpg")
    assert move.perform(decided) == move.perform(decided) == str(sorted_folder / "a.jpg")
    assert os.listdir(sorted_folder) == ["a.jpg"]


def test_interrupted_copy_is_finished(source: Path, sorted_folder: Path) -> None:
    decided = moved(source, sorted_folder / "a.jpg")
    sorted_folder.mkdir(exist_ok=True)
    across = sorted_folder.stat().st_dev != source.stat().st_dev
    if not across:
        pytest.skip("on one file system nothing is copied")
    digest = hashlib.sha256(os.fsencode(source)).hexdigest()[:16]
    (sorted_folder / f".{digest}.part").write_bytes(CONTENT[:5])  # stopped while it was copied
    assert move.perform(decided) == str(sorted_folder / "a.jpg")
    assert (sorted_folder / "a.jpg").read_bytes() == CONTENT

    source.write_bytes(CONTENT)  # and stopped between the copy's last step and the removal of the source
    again = moved(source, sorted_folder / "a.jpg")
    assert move.perform(again) == str(sorted_folder / "a.jpg")
    assert os.listdir(sorted_folder) == ["a.jpg"]
    assert not source.exists()


def test_rename_interrupted_after_its_link_is_finished(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "sorted" / "a.jpg"
    target.parent.mkdir()
    os.link(source, target)
    assert move.perform(moved(source, target)) == str(target)
    assert not source.exists()
    assert os.listdir(target.parent) == ["a.jpg"]


def test_file_stays_if_its_target_cannot_be_created(source: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="file"):
        move.perform(moved(source, tmp_path / "file" / "REAL" / "a.jpg"))
    assert source.read_bytes() == CONTENT


def test_file_that_replaces_the_source_during_the_move_is_untouched(
    source: Path, sorted_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer that replaces the file just before it is renamed, or between its copy and its removal."""
    decided = moved(source, sorted_folder / "a.jpg")
    sorted_folder.mkdir(exist_ok=True)
    across = sorted_folder.stat().st_dev != source.stat().st_dev
    original = os.rename if across else move._rename

    def newer(before: str, after: str) -> None:
        if before == str(source):
            (source.parent / "new").write_bytes(b"newer content")
            (source.parent / "new").replace(source)
        original(before, after)

    monkeypatch.setattr(*((os, "rename") if across else (move, "_rename")), newer)
    move.perform(decided)
    assert source.read_bytes() == b"newer content"
    assert os.listdir(source.parent) == ["a.jpg"]


def test_interrupted_removal_of_the_source_is_finished(source: Path, sorted_folder: Path) -> None:
    decided = moved(source, sorted_folder / "a.jpg")
    sorted_folder.mkdir(exist_ok=True)
    shutil.copyfile(source, sorted_folder / "a.jpg")
    source.rename(move._aside(str(source)))  # power cut here
    assert move.perform(decided) == str(sorted_folder / "a.jpg")
    assert os.listdir(source.parent) == []


@pytest.mark.parametrize(
    ("name", "portable"),
    [
        ("a.jpg", "a.jpg"),
        ("Screenshot 12:30:11.jpg", "Screenshot 12_30_11.jpg"),
        ("what?*.png", "what__.png"),
        ("dots...", "dots_"),
        ("ü" * 125 + ".jpg", "ü" * 63 + ".jpg"),
    ],
)
def test_name_that_a_file_system_refuses_is_replaced(tmp_path: Path, name: str, portable: str) -> None:
    (tmp_path / "REAL").mkdir()
    assert move.portable_path(str(tmp_path / "REAL" / name)) == str(tmp_path / "REAL" / portable)
    assert move.portable_path(str(tmp_path / "REAL" / "new:" / name)) == str(tmp_path / "REAL" / "new_" / portable)


def test_longest_name_that_is_taken_is_shortened(tmp_path: Path, source: Path) -> None:
    name = "ü" * 125 + ".jpg"  # 254 bytes: no number fits behind it
    target = tmp_path / "sorted" / name
    target.parent.mkdir()
    target.write_text("another's")
    place = move.perform(moved(source, target))
    assert place is not None
    assert Path(place).name == "ü" * 63 + ".jpg"
    assert target.read_text() == "another's"
    assert not source.exists()


def test_move_to_shortened_name_is_found_done(tmp_path: Path, source: Path) -> None:
    target = tmp_path / "sorted" / ("ü" * 125 + ".jpg")
    target.parent.mkdir()
    target.write_text("another's")
    pending = moved(source, target)
    assert move.perform(pending) == move.perform(pending), "as after a kill between the move and its record"
