"""`edge-detect watch` on a FAT file system: names that differ only in case are one file."""

import ctypes
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.conftest import Run, age, environment, picture
from tests.support.packages import missing
from tests.support.watching import Watching

Mount = Callable[[], None]
LIBRARY = "libfuse.so.2"  # fusepy's own search needs a compiler


def _unmount(point: Path) -> None:
    subprocess.run(["umount", point], check=True, capture_output=True)


@contextmanager
def _image(tmp_path: Path, point: Path) -> Iterator[Mount]:
    """A real VFAT in an image file."""
    if os.geteuid():
        pytest.skip("only the super-user can mount")
    if not shutil.which("mkfs.vfat"):
        missing("dosfstools")
    image = tmp_path / "card.img"
    with image.open("wb") as file:
        file.truncate(20 << 20)
    subprocess.run(["mkfs.vfat", image], check=True, capture_output=True)

    def mount() -> None:
        if done := subprocess.run(["mount", "-t", "vfat", "-o", "loop", image, point], capture_output=True).returncode:
            pytest.skip(f"the kernel mounts no VFAT here (mount ends with {done})")

    yield mount


@contextmanager
def _served(tmp_path: Path, point: Path) -> Iterator[Mount]:
    """A stand-in by FUSE."""
    if os.geteuid() or not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip("needs the super-user and /dev/fuse")
    try:
        ctypes.CDLL(LIBRARY)
    except OSError:
        missing("libfuse2")
    folder, servers = tmp_path / "behind", list[subprocess.Popen[bytes]]()
    folder.mkdir()

    def mount() -> None:
        words = [sys.executable, "-m", "tests.support.fat", str(folder), str(point)]
        servers.append(subprocess.Popen(words, env=environment(FUSE_LIBRARY_PATH=LIBRARY), stderr=subprocess.PIPE))
        deadline = time.monotonic() + 30
        while not os.path.ismount(point):
            if servers[-1].poll() is not None or time.monotonic() > deadline:
                _, reason = servers[-1].communicate()
                pytest.skip(f"FUSE cannot be used here: {reason.decode().strip().splitlines()[-1:]}")
            time.sleep(0.05)

    yield mount
    for server in servers:
        _, output = server.communicate(timeout=30)
        assert server.returncode == 0, output.decode()


@pytest.fixture(params=[_image, _served], ids=["vfat", "fuse"])
def remount(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Mount]:
    """Unmounts the FAT file system that is mounted at tmp_path/card, and mounts it again."""
    point = tmp_path / "card"
    point.mkdir()
    with request.param(tmp_path, point) as mount, ExitStack() as stack:
        mount()
        stack.callback(_unmount, point)

        def remount() -> None:
            _unmount(point)
            mount()

        yield remount


@pytest.fixture
def inbox(tmp_path: Path, remount: Mount) -> Path:
    folder = tmp_path / "card" / "inbox"
    folder.mkdir()
    return folder


def names(done: subprocess.CompletedProcess[str]) -> list[str]:
    """Of the answered files; the run must have succeeded."""
    assert done.returncode == 0, done.stderr
    return sorted(Path(line.split()[-1]).name for line in done.stdout.splitlines())


@pytest.mark.parametrize("is_remounted", [False, True])
def test_file_renamed_in_capitals_only_is_not_answered_again(
    inbox: Path, remount: Mount, is_remounted: bool, edge_detect: Run, brightness: Path
) -> None:
    for number in range(3):
        age(picture(inbox / f"IMG_{number}.PNG", seed=number))
    watch = ("watch", inbox, "--once", "--model", brightness, "--state", inbox.parents[1] / "state")
    assert names(edge_detect(*watch)) == ["IMG_0.PNG", "IMG_1.PNG", "IMG_2.PNG"]
    (inbox / "IMG_0.PNG").rename(inbox / "img_0.png")
    (inbox / "IMG_1.PNG").rename(inbox / "Img_1.png")
    age(picture(inbox / "img_3.png", seed=3))
    if is_remounted:
        remount()
    assert names(edge_detect(*watch)) == ["img_3.png"]
    (inbox / "Img_1.png").rename(inbox / "IMG_1.png")
    assert names(edge_detect(*watch)) == []
    (inbox / "IMG_2.PNG").unlink()
    age(picture(inbox / "img_2.png", seed=9))  # another content at the name in other capitals
    assert names(edge_detect(*watch)) == ["img_2.png"]


def test_file_renamed_in_capitals_only_while_watching_is_not_answered_again(
    inbox: Path, watching: Callable[..., Watching]
) -> None:
    watcher = watching("--state", str(inbox.parents[1] / "state"))
    picture(inbox / "IMG_1.PNG", seed=1)
    watcher.until(lambda w: w.names == ["IMG_1.PNG"])
    (inbox / "IMG_1.PNG").rename(inbox / "img_1.png")
    picture(inbox / "last.png", seed=2)
    watcher.until(lambda w: "last.png" in w.names)
    watcher.stop()
    assert watcher.names == ["IMG_1.PNG", "last.png"]


def test_files_are_sorted_into_fat_folder(inbox: Path, tmp_path: Path, edge_detect: Run, brightness: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for number, name in enumerate(("12:30.png", "a.PNG", "A.png")):
        age(picture(elsewhere / name, seed=number))
    watch = ("watch", elsewhere, "--once", "--model", brightness, "--sort-into", inbox, "--state", tmp_path / "state")
    assert len(names(edge_detect(*watch))) == 3
    found = sorted(os.listdir(inbox / "REAL"), key=str.lower)
    assert found in (["12_30.png", "a (2).PNG", "A.png"], ["12_30.png", "A (2).png", "a.PNG"])
    assert os.listdir(elsewhere) == []
