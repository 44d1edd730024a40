"""`edge-detect watch` on files that are written in several goes, with real writers."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import Run, age, environment, picture
from tests.support.watching import Watching

Watch = Callable[..., Watching]


@pytest.fixture
def sorted_folder(tmp_path: Path) -> Path:
    return tmp_path / "sorted"


@pytest.fixture
def jpeg(tmp_path: Path) -> bytes:
    return picture(tmp_path / "whole.jpg", 240, (400, 300)).read_bytes()


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def started(watching: Watch, inbox: Path, *options: str) -> Watching:
    """A watcher that has begun: it has answered a first picture."""
    watcher = watching(*options)
    picture(inbox / "first.png", 240, seed=9)
    watcher.until(lambda w: w.names == ["first.png"])
    return watcher


def test_placeholder_that_its_writer_opens_again_is_one_file(
    inbox: Path, watching: Watch, sorted_folder: Path, jpeg: bytes
) -> None:
    watcher = started(watching, inbox, "--sort-into", str(sorted_folder))
    (inbox / "a.jpg").touch()
    time.sleep(1.5)  # longer than a file takes to settle
    with (inbox / "a.jpg").open("r+b") as file:  # without O_CREAT: it must still be there
        file.write(jpeg)
    watcher.until(lambda w: len(w.names) == 2)
    assert watcher.answers[1]["label"] == "REAL"
    watcher.stop()
    assert watcher.names == ["first.png", "a.jpg"]
    assert files(sorted_folder) == ["REAL/a.jpg", "REAL/first.png"]


def test_placeholder_replaced_by_finished_download_is_one_file(inbox: Path, watching: Watch, jpeg: bytes) -> None:
    watcher = started(watching, inbox)
    (inbox / "photo.jpg").touch()
    (inbox / "x.jpg.part").write_bytes(jpeg)
    time.sleep(1.5)
    (inbox / "x.jpg.part").rename(inbox / "photo.jpg")
    watcher.until(lambda w: len(w.names) == 2)
    watcher.stop()
    assert [answer.get("label") for answer in watcher.answers] == ["REAL", "REAL"]


def test_pieces_appended_with_pauses_are_one_file(
    inbox: Path, watching: Watch, sorted_folder: Path, jpeg: bytes
) -> None:
    watcher = started(watching, inbox, "--sort-into", str(sorted_folder))
    size = len(jpeg) // 4 + 1
    for start in range(0, len(jpeg), size):
        with (inbox / "camera.jpg").open("ab") as file:
            file.write(jpeg[start : start + size])
        time.sleep(1.2)
    watcher.until(lambda w: len(w.names) == 2)
    watcher.stop()
    assert [answer.get("label") for answer in watcher.answers] == ["REAL", "REAL"]
    assert (sorted_folder / "REAL" / "camera.jpg").read_bytes() == jpeg


def test_page_appended_to_tiff_finds_file_in_place(inbox: Path, watching: Watch, sorted_folder: Path) -> None:
    watcher = started(watching, inbox, "--sort-into", str(sorted_folder))
    page = Image.new("RGB", (64, 64), "white")
    page.paste("silver", (0, 0, 32, 32))
    page.save(inbox / "scan.tif")
    time.sleep(1.5)
    page.save(pages := BytesIO(), "tiff", save_all=True, append_images=[page])
    with (inbox / "scan.tif").open("r+b") as scan:  # raises if there is no file
        scan.write(pages.getvalue())
    watcher.until(lambda w: len(w.names) == 2)
    watcher.stop()
    assert watcher.names == ["first.png", "scan.tif"]
    with Image.open(sorted_folder / "REAL" / "scan.tif") as found:
        assert getattr(found, "n_frames", 1) == 2


def test_damaged_file_is_answered_after_quiet_and_stays_where_it_is(
    inbox: Path, watching: Watch, sorted_folder: Path, jpeg: bytes
) -> None:
    watcher = started(watching, inbox, "--sort-into", str(sorted_folder))
    (inbox / "cut.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    began = time.monotonic()
    watcher.until(lambda w: len(w.names) == 2)
    assert time.monotonic() - began > 8
    assert "error" in watcher.answers[1]
    assert (inbox / "cut.jpg").exists(), "its writer may still come back"
    assert "1 waiting" in str(watcher.stop()) or (inbox / "cut.jpg").exists()
    age(inbox / "cut.jpg", 120)
    again = watching("--sort-into", str(sorted_folder))
    again.until(lambda _: files(sorted_folder) == ["REAL/first.png", "UNREADABLE/cut.jpg"])
    assert again.names in ([], ["cut.jpg"])


@pytest.fixture
def slow_upload(inbox: Path, jpeg: bytes) -> Iterator[threading.Thread]:
    """One open file, written in bursts."""

    def write() -> None:
        with (inbox / "slow.jpg").open("wb", buffering=0) as file:
            for start in range(0, len(jpeg), len(jpeg) // 4 + 1):
                file.write(jpeg[start : start + len(jpeg) // 4 + 1])
                time.sleep(2.5)

    thread = threading.Thread(target=write)
    thread.start()
    while not (inbox / "slow.jpg").exists():
        time.sleep(0.01)
    yield thread
    thread.join()


@pytest.mark.parametrize("options", [("--once",), ("--poll", "0.5"), ()])
def test_upload_under_way_at_start_is_answered_when_complete(
    slow_upload: threading.Thread, watching: Watch, sorted_folder: Path, jpeg: bytes, options: tuple[str, ...]
) -> None:
    time.sleep(1.7)  # between two bursts, quiet for longer than a file takes to settle
    watcher = watching("--sort-into", str(sorted_folder), *options)
    while not files(sorted_folder):
        assert "--once" not in options or watcher.process.poll() is None or files(sorted_folder)
        time.sleep(0.05)
    assert files(sorted_folder) == ["REAL/slow.jpg"]
    slow_upload.join()
    assert (sorted_folder / "REAL" / "slow.jpg").read_bytes() == jpeg


def test_once_reports_file_that_stays_open_and_leaves_it(
    inbox: Path, jpeg: bytes, brightness: Path, edge_detect: Run
) -> None:
    (inbox / "open.jpg").write_bytes(jpeg)
    program = "from edge.watch import loop; loop.WRITER_SECONDS = 1.5\nfrom edge.cli import main; main()"
    words = [sys.executable, "-c", program, "watch", str(inbox), "--once", "--model", str(brightness)]
    with (inbox / "open.jpg").open("r+b"):
        done = subprocess.run(
            words, env=environment(HOME=str(inbox.parent)), capture_output=True, text=True, timeout=60
        )
    assert (done.returncode, done.stdout) == (1, "")
    assert "open.jpg: is still being written by another program" in done.stderr
    done = edge_detect("watch", inbox, "--once", "--model", brightness)
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 1)


def test_link_opened_by_reader_at_once_is_answered_soon(inbox: Path, watching: Watch, tmp_path: Path) -> None:
    watcher = started(watching, inbox)
    os.link(picture(tmp_path / "hard.png", seed=1), inbox / "hard.png")
    (inbox / "hard.png").read_bytes()
    (inbox / "symbolic.png").symlink_to(picture(inbox / ".hidden.png", seed=2).name)
    (inbox / "symbolic.png").read_bytes()
    descriptor, descriptors = os.open(inbox, os.O_TMPFILE | os.O_RDWR, 0o644), os.open("/proc/self/fd", os.O_RDONLY)
    os.write(descriptor, picture(tmp_path / "other.png", seed=3).read_bytes())
    os.link(str(descriptor), inbox / "unnamed.png", src_dir_fd=descriptors, follow_symlinks=True)
    os.close(descriptor)
    os.close(descriptors)
    (inbox / "unnamed.png").read_bytes()
    began = time.monotonic()
    watcher.until(lambda w: len(w.names) == 4)
    assert time.monotonic() - began < 15


def test_card_mounted_below_watched_folder_is_listed(inbox: Path, watching: Watch) -> None:
    card = inbox / "CARD"
    watcher = started(watching, inbox, "--recursive")
    card.mkdir()
    time.sleep(0.5)
    if subprocess.run(["mount", "-t", "tmpfs", "none", card], capture_output=True).returncode:
        pytest.skip("mounting is not permitted here")
    try:
        picture(card / "written.png", seed=1)
        watcher.until(lambda w: "written.png" in w.names)
        picture(card / "later.png", seed=2)
        watcher.until(lambda w: "later.png" in w.names)
    finally:
        subprocess.run(["umount", card], check=True)
    picture(card / "below.png", seed=3)
    watcher.until(lambda w: "below.png" in w.names)
    watcher.stop()
