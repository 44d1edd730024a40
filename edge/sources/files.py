"""Image files named on the command line, themselves or by their folder."""

import errno
import os
from collections.abc import Iterable, Iterator

from edge.figure import is_figure
from edge.image import SUFFIXES


def is_candidate(path: str) -> bool:
    """Whether a file found in a folder is named like an image, and is neither hidden nor a figure of ours."""
    name = os.path.basename(path)
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in SUFFIXES and not is_figure(path)


def entries(folder: str, recursive: bool) -> Iterator[tuple[str, bool]]:
    """What a folder holds for us, in the order of the disk: (path, is it a sub-folder to enter).

    A sub-folder is entered only with `recursive`, never through a symbolic
    link; otherwise one that is named like an image counts as a bad image.

    Raises:
        OSError: the folder cannot be listed.
    """
    with os.scandir(folder) as found:
        for entry in found:
            is_folder = recursive and entry.is_dir(follow_symlinks=False)
            if is_folder and not entry.name.startswith("."):
                yield entry.path, True
            elif not is_folder and is_candidate(entry.path):
                yield entry.path, False


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
            waiting += sorted(entries(path, recursive), reverse=True)
        except OSError as error:
            yield error
