"""Files of formats that are not read are counted and reported once, not passed over in silence."""

import shutil
import threading
from pathlib import Path

import pytest

from edge.imaging import avif, heic
from edge.imaging.preprocess import SUFFIXES
from edge.sources.filters import UNREAD, Names, UnreadFormats
from edge.sources.folder import Folder
from tests.conftest import CIFAKE, Run, age


def counted(paths: list[str], names: Names | None = None) -> str | None:
    unread = UnreadFormats()
    for path in paths:
        unread.note(path, "/in", names or Names())
    return unread.line()


def test_line_counts_each_suffix_the_most_frequent_first() -> None:
    assert counted(["/in/a.jxl", "/in/b.CR2", "/in/c.cr2"]) == (
        "3 files skipped: 2 .cr2, 1 .jxl: formats that are not read"
    )
    assert counted(["/in/a.NEF"]) == "1 file skipped: 1 .nef: a format that is not read"


def test_what_is_no_picture_or_not_wanted_is_not_counted() -> None:
    assert counted(["/in/a.txt", "/in/a.jpg", "/in/.a.cr2", "/in/cr2", "/in/a.cr2.part", "/in/a.mp4"]) is None
    assert counted(["/in/a.cr2", "/in/b.jxl"], Names(exclude=("*.CR2",))) == (
        "1 file skipped: 1 .jxl: a format that is not read"
    )
    assert counted(["/in/a.cr2"], Names(include=("*.jpg",))) is None


def test_a_suffix_is_reported_once() -> None:
    unread = UnreadFormats()
    for _ in range(3):  # as at each listing
        unread.note("/in/a.cr2", "/in", Names())
    assert unread.line() is not None
    unread.note("/in/b.cr2", "/in", Names())
    assert unread.line() is None
    unread.note("/in/b.jxl", "/in", Names())
    assert unread.line() == "1 file skipped: 1 .jxl: a format that is not read"


def test_no_suffix_is_both_read_and_unread() -> None:
    assert not UNREAD & SUFFIXES
    assert {*avif.SUFFIXES, *heic.SUFFIXES, ".hif", ".heic", ".avif"} <= SUFFIXES


@pytest.fixture
def mixed(inbox: Path) -> Path:
    (inbox / "sub").mkdir()
    for name in ("a.CR2", "b.cr2", "sub/c.jxl", "notes.txt"):
        (inbox / name).write_bytes(b"x")
    age(Path(shutil.copyfile(next((CIFAKE / "test" / "REAL").iterdir()), inbox / "x.jpg")))
    return inbox


def test_classify_reports_skipped_files_once(edge_detect: Run, mixed: Path, brightness: Path) -> None:
    done = edge_detect("classify", mixed, "--recursive", "--model", brightness)
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 1)
    assert done.stderr == "edge-detect: 3 files skipped: 2 .cr2, 1 .jxl: formats that are not read\n"


def test_watch_reports_skipped_files_once(edge_detect: Run, mixed: Path, brightness: Path) -> None:
    done = edge_detect("watch", mixed, "--once", "--recursive", "--model", brightness)
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 1)
    expected = f"edge-detect: {mixed}: 3 files skipped: 2 .cr2, 1 .jxl: formats that are not read\n"
    assert done.stderr.count(expected) == 1
    assert done.stderr.count("files skipped:") == 1


def test_arriving_file_is_reported(inbox: Path, caplog: pytest.LogCaptureFixture) -> None:
    stop = threading.Event()
    for count, _ in enumerate(Folder(str(inbox)).files(stop.is_set)):
        (inbox / f"{count}.dng").write_bytes(b"x")
        if "skipped" in caplog.text or count > 20:
            stop.set()
    assert caplog.messages == [f"{inbox}: 1 file skipped: 1 .dng: a format that is not read"]
