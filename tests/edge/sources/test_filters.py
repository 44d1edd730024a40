"""Selection of files by name."""

import errno
import os
import threading
from pathlib import Path

import pytest

from edge.sources.filters import Names
from edge.sources.folder import Folder
from edge.sources.inotify import Inotify


@pytest.mark.parametrize(
    ("include", "exclude", "admitted", "refused"),
    [
        ((), (), ["a.jpg", "A.JPG", "sub/b.webp"], ["a.txt", ".a.jpg", "a.jpg.part", "a.jpg~", "a.JPG.TMP"]),
        (("*.jpg",), (), ["a.jpg", "A.JPG", "sub/a.jpg"], ["a.png", ".a.jpg"]),
        (("*",), (), ["a.jpg", "a.dat"], [".a.jpg", "a.part"]),
        ((".*", "*.tmp"), (), [".a.jpg", "a.tmp"], ["a.jpg", "a.part", ".a.part"]),
        (("sub/*",), (), ["sub/a.jpg"], ["a.jpg"]),
        ((), ("draft*", "sub/*"), ["a.jpg"], ["Draft 1.jpg", "sub/a.jpg"]),
    ],
)
def test_names_are_selected_by_patterns(
    include: tuple[str, ...], exclude: tuple[str, ...], admitted: list[str], refused: list[str]
) -> None:
    names = Names(include, exclude)
    for name in admitted:
        assert names.admit(f"/in/{name}", "/in"), name
    for name in refused:
        assert not names.admit(f"/in/{name}", "/in"), name


def listed(folder: Folder) -> list[str]:
    """The paths that a folder yields before it first waits."""
    stop, found = threading.Event(), []
    for files in folder.files(stop.is_set):
        if files is None:
            stop.set()
        else:
            found += [path for path, _ in files]
    return found


@pytest.mark.parametrize(
    ("exclude", "entered", "skipped"),
    [
        ((), ["sub", "sub/deep"], [".hidden", "@eaDir", "sub/@eaDir", "#recycle", "$RECYCLE.BIN", "lost+found"]),
        (("drafts/*",), ["sub/drafts", "draft"], ["drafts", "Drafts"]),
        (("*old/*",), ["older"], ["old", "sub/old", "very old"]),
        (("drafts",), ["draft"], ["drafts", "sub/drafts"]),
        (("*.jpg",), ["sub"], ["photo.jpg"]),
    ],
)
def test_excluded_and_system_folders_are_not_entered(
    exclude: tuple[str, ...], entered: list[str], skipped: list[str]
) -> None:
    names = Names((), exclude)
    for name in entered:
        assert names.admit_folder(f"/in/{name}", "/in"), name
    for name in skipped:
        assert not names.admit_folder(f"/in/{name}", "/in"), name


def test_excluded_folder_is_neither_listed_nor_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("kept", "drafts/deep", "@eaDir"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "a.jpg").touch()
        os.utime(tmp_path / folder / "a.jpg", (0, 0))
    watched: list[str] = []
    add = Inotify.add
    monkeypatch.setattr(Inotify, "add", lambda self, folder: (watched.append(folder), add(self, folder)))
    found = listed(Folder(str(tmp_path), recursive=True, names=Names((), ("drafts/*",))))
    assert found == [str(tmp_path / "kept" / "a.jpg")]
    assert watched == [str(tmp_path), str(tmp_path / "kept")]


def test_limit_of_watched_folders_is_logged_once_and_loses_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: list[str]
) -> None:
    for number in range(4):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "a.jpg").touch()
        os.utime(tmp_path / str(number) / "a.jpg", (0, 0))
    add = Inotify.add

    def limited(self: Inotify, folder: str) -> None:
        if folder != str(tmp_path):
            raise OSError(errno.ENOSPC, "too many folders to watch", folder)
        add(self, folder)

    monkeypatch.setattr(Inotify, "add", limited)
    folder = Folder(str(tmp_path), recursive=True)
    found = listed(folder)
    assert len(found) == 4
    assert logged == ["too many folders to watch; new files in unwatched folders are found by a listing every hour"]
    assert folder.failures == []
