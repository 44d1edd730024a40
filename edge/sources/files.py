"""Image files that the command line names, directly or by their folder."""

import errno
import os
from collections.abc import Iterable, Iterator

from edge.sources.filters import Names


def entries(folder: str, recursive: bool, names: Names, root: str) -> Iterator[tuple[str, bool]]:
    """The entries of a folder, unsorted: (path, whether it is a sub-folder to enter); path "" for entries to skip.

    Sub-folders are entered only with `recursive`, and never through a symbolic
    link. Otherwise one with the name of an image counts as a bad image.

    Args:
        names: which files are chosen.
        root: patterns with a slash are relative to this folder.

    Raises:
        OSError: the folder cannot be listed.
    """
    with os.scandir(folder) as found:
        for entry in found:
            is_folder = recursive and entry.is_dir(follow_symlinks=False)
            if is_folder and names.admit_folder(entry.path, root):
                yield entry.path, True
            else:
                yield ("" if is_folder or not names.admit(entry.path, root) else entry.path), False


def images(paths: Iterable[str], recursive: bool) -> Iterator[str | OSError]:
    """The named files, and the images of the named folders, sorted by name.

    A folder that cannot be listed or has no image yields an OSError, whose
    `filename` is the folder; the iteration goes on.
    """
    for path in paths:
        if not os.path.isdir(path):
            yield path
            continue
        found = False
        for inner in _below(path, recursive):
            found = True
            yield inner
        if not found:
            hint = "" if recursive else "; --recursive includes its sub-folders"
            yield OSError(errno.ENOENT, f"no images in this folder{hint}", path)


def _below(folder: str, recursive: bool) -> Iterator[str | OSError]:
    waiting = [(folder, True)]
    while waiting:
        path, is_folder = waiting.pop()
        if not is_folder:
            yield path
            continue
        try:
            waiting += sorted((one for one in entries(path, recursive, Names(), folder) if one[0]), reverse=True)
        except OSError as error:
            yield error
