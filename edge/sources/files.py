"""Image files named on the command line, directly or by their folder."""

import errno
import os
from collections.abc import Callable, Iterable, Iterator

from edge.sources.filters import Names, UnreadFormats


def entries(folder: str, recursive: bool, names: Names, root: str, unread: UnreadFormats) -> Iterator[tuple[str, bool]]:
    """The entries of a folder, unsorted, as (path, whether it is a sub-folder to list); path "" for entries to skip.

    Skipped entries are yielded so that the caller can do other work during a long listing.

    Args:
        recursive: list sub-folders, but not hidden ones or symbolic links to folders. Otherwise a folder is an entry
            like a file, selected by its name.
        names: selects files.
        root: patterns with a slash are relative to this folder.
        unread: counts the skipped files of formats that are not read.

    Raises:
        OSError: the folder cannot be listed.
    """
    with os.scandir(folder) as found:
        for entry in found:
            is_folder = recursive and entry.is_dir(follow_symlinks=False)
            if is_folder and names.admit_folder(entry.path, root):
                yield entry.path, True
            elif is_folder:
                yield "", False
            elif names.admit(entry.path, root):
                yield entry.path, False
            else:
                unread.note(entry.path, root, names)
                yield "", False


def images(
    paths: Iterable[str], recursive: bool, report: Callable[[str], None] | None = None
) -> Iterator[str | OSError]:
    """The named files, and the images in the named folders, sorted by name.

    For a folder that cannot be listed or has no image it yields an OSError, whose `filename` is the folder, and goes
    on with the next.

    Args:
        report: receives a line at the end if there are files of formats that are not read.
    """
    unread = UnreadFormats()
    for path in paths:
        if not os.path.isdir(path):
            yield path
            continue
        found = False
        for inner in _below(path, recursive, unread):
            found = True
            yield inner
        if not found:
            hint = "" if recursive else "; --recursive includes its sub-folders"
            yield OSError(errno.ENOENT, f"no images in this folder{hint}", path)
    if report and (line := unread.line()):
        report(line)


def _below(folder: str, recursive: bool, unread: UnreadFormats) -> Iterator[str | OSError]:
    waiting = [(folder, True)]
    while waiting:
        path, is_folder = waiting.pop()
        if not is_folder:
            yield path
            continue
        try:
            found = entries(path, recursive, Names(), folder, unread)
            waiting += sorted((entry for entry in found if entry[0]), reverse=True)
        except OSError as error:
            yield error
