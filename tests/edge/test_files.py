"""Identity of files, atomic writes, free space, base folders, reasons of the operating system."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edge.board import Board
from edge.errors import reason_of
from edge.files import FileId, are_two_files, free_bytes, ignores_case, inode, mode_permits, whole_file
from edge.paths import xdg_folder
from tests.conftest import environment


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("before")
    with whole_file(path, mode=0o600) as file:
        file.write(b"after")
        file.flush()
        assert path.read_text() == "before"
        assert (tmp_path / ".x.part").read_text() == "after"
    assert path.read_text() == "after"
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["x"]


def test_an_error_while_writing_leaves_the_former_file(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("before")

    def interrupted() -> None:
        with whole_file(path) as file:
            file.write(b"af")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "before"
    assert os.listdir(tmp_path) == ["x"]


def test_a_partial_file_of_someone_else_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "theirs").write_text("kept")
    with pytest.raises(FileExistsError), whole_file(tmp_path / "x", partial="theirs") as file:
        file.write(b"after")
    assert (tmp_path / "theirs").read_text() == "kept"
    assert not (tmp_path / "x").exists()


def test_without_a_mode_the_umask_applies(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with whole_file(tmp_path / "x") as file:
            file.write(b"")
        with whole_file(tmp_path / "y", mode=0o644) as file:
            file.write(b"")
    finally:
        os.umask(before)
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in ("x", "y")] == [0o640, 0o644]


def test_an_inode_outlives_a_write_and_a_file_id_does_not(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("a")
    before = inode(path), FileId.of(path.stat())
    path.rename(tmp_path / "y")
    assert (inode(tmp_path / "y"), FileId.of((tmp_path / "y").stat())) == before
    (tmp_path / "y").write_text("longer")
    assert inode(tmp_path / "y") == before[0]
    assert FileId.of((tmp_path / "y").stat()) != before[1]
    path.write_text("a")
    assert inode(path) != before[0]
    with open(path) as file:
        assert inode(file.fileno()) == inode(path)


def test_free_bytes_are_those_of_the_file_system(tmp_path: Path) -> None:
    status = os.statvfs(tmp_path)
    assert 0 <= free_bytes(tmp_path) <= status.f_blocks * status.f_frsize


def test_the_mode_of_owner_group_or_others_decides(tmp_path: Path) -> None:
    tmp_path.chmod(0o751)
    status = tmp_path.stat()
    owner, group = status.st_uid, status.st_gid
    assert mode_permits(status, 7, owner, ())
    assert mode_permits(status, 5, owner + 1, {group})
    assert not mode_permits(status, 7, owner + 1, {group})
    assert mode_permits(status, 1, owner + 1, {group + 1})
    assert not mode_permits(status, 4, owner + 1, {group + 1})


def test_base_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/anna")
    assert xdg_folder("XDG_STATE_HOME", ".local/state", {"XDG_STATE_HOME": "/x"}) == Path("/x")
    assert xdg_folder("XDG_STATE_HOME", ".local/state", {"XDG_STATE_HOME": "x"}) == Path("/home/anna/.local/state")
    assert xdg_folder("XDG_STATE_HOME", ".local/state", {}) == Path("/home/anna/.local/state")
    assert xdg_folder("XDG_RUNTIME_DIR", environment={}) is None


def test_reasons_of_the_operating_system(tmp_path: Path) -> None:
    def reason(path: Path | str) -> str:
        with pytest.raises((OSError, ValueError)) as caught:
            os.stat(path)
        return reason_of(caught.value)

    (tmp_path / "link").symlink_to("nowhere")
    assert reason(tmp_path / "missing") == "no such file or directory"
    assert reason(tmp_path / "link") == reason(str(tmp_path / "link")) == "broken symbolic link"
    assert "null" in reason("a\0b")
    assert reason_of(OSError("odd")) == "odd"


def test_a_board_reads_files_below_its_root(tmp_path: Path) -> None:
    (tmp_path / "sys/class").mkdir(parents=True)
    (tmp_path / "sys/class/temp").write_text("48312\n")
    (tmp_path / "sys/class/name").write_text(" Pi \0")
    board = Board(tmp_path, {"PATH": ""})
    assert board.number("/sys/class/temp") == 48312
    assert board.text("/sys/class/name") == "Pi"
    assert board.number("/sys/class/name") is board.text("/sys/class/none") is None
    assert board.names("/sys/class") == ["/sys/class/name", "/sys/class/temp"]
    assert (board.model, board.is_raspberry_pi, board.throttling()) == (None, False, None)
    assert board.run("vcgencmd") is None


def test_names_that_differ_in_case_are_two_files_where_case_matters(tmp_path: Path) -> None:
    first, second = tmp_path / "A.jpg", tmp_path / "a.jpg"
    first.write_bytes(b"same")
    assert not are_two_files(str(first), str(second)), "there is only one"
    assert not are_two_files(str(first), str(first))
    if second.exists():
        pytest.skip("this file system ignores case")
    assert not ignores_case(str(first))
    os.link(first, second)
    assert are_two_files(str(first), str(second)), "two links to one file"
    second.unlink()
    shutil.copy2(first, second)
    assert are_two_files(str(first), str(second)), "copies that only the listing tells apart"
    (tmp_path / "SUB").mkdir()
    (tmp_path / "sub").mkdir()
    for folder in ("SUB", "sub"):
        shutil.copy2(first, tmp_path / folder)
    assert are_two_files(str(tmp_path / "SUB" / "A.jpg"), str(tmp_path / "sub" / "A.jpg"))


def test_program_that_opens_a_file_while_its_writers_are_asked_for_ends_no_process(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.touch()
    program = """
import os, sys, threading, time
from edge.files import has_writer
def write():
    while time.monotonic() < end:
        os.close(os.open(sys.argv[1], os.O_WRONLY))
end = time.monotonic() + 1.5
threading.Thread(target=write).start()
found, descriptor = set(), os.open(sys.argv[1], os.O_RDONLY)
while time.monotonic() < end:
    found.add(has_writer(descriptor))
print(sorted(found))
"""
    done = subprocess.run(
        [sys.executable, "-c", program, path], env=environment(), capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, "[False, True]\n"), done.stderr
