"""Image files named on the command line, themselves or by their folder."""

import errno
import os
from collections.abc import Iterable, Iterator

from edge.sources.filters import Names


def entries(folder: str, recursive: bool, names: Names, root: str) -> Iterator[tuple[str, bool]]:
    """What a folder holds, in the order of the disk: (path, is it a sub-folder to enter); "" for what is not for us.

    A sub-folder is entered only with `recursive`, never through a symbolic
    link; otherwise one that is named like an image counts as a bad image.

    Args:
        root: the folder that patterns with a slash are relative to.

    Raises:
        OSError: the folder cannot be listed.
    """
    with os.scandir(folder) as found:
        for entry in found:
            is_folder = recursive and entry.is_dir(follow_symlinks=False)
            if is_folder and not entry.name.startswith("."):
                yield entry.path, True
            else:
                yield ("" if is_folder or not names.admit(entry.path, root) else entry.path), False


def images(paths: Iterable[str], recursive: bool) -> Iterator[str | OSError]:
    """The files themselves as they are, and what the folders hold, sorted by name.

    A folder that cannot be listed, or that holds no image, comes out as an
    error whose `filename` names it, and the rest goes on.
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
            hint = "" if recursive else "; --recursive looks into its sub-folders"
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
