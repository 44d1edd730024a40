"""Changes in folders, as reported by the kernel (inotify(7))."""

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto

from edge import requirements
from edge.errors import SourceError, printable, reason_of


class Happened(Enum):
    """A kind of change in a watched folder."""

    CREATED = auto()  # by a program that opens it next; or as a link, which need not be opened
    OPENED = auto()
    COMPLETED = auto()  # closed after writing, or moved in
    PERMITTED = auto()  # permissions, times or number of links changed: the file may be readable now


@dataclass(frozen=True)
class Event:
    """A change of a file or sub-folder in a watched folder."""

    path: str
    is_folder: bool
    happened: Happened


class Inotify:
    """An inotify instance for a folder and its sub-folders.

    Attributes:
        is_overflown: whether events were lost before the last `read`; everything must be listed again then.
    """

    def __init__(self, root: str) -> None:
        """
        Args:
            root: the folder whose removal makes `read` raise.

        Raises:
            SourceError: inotify or inotify-simple is missing or too old, or the kernel allows no further instance.
        """
        try:
            from inotify_simple import INotify, flags
        except ImportError as error:
            raise SourceError("watching a folder needs Linux and inotify-simple; use `--once` without them") from error
        if problem := requirements.problem("inotify_simple"):
            raise SourceError(problem)
        try:
            self._inotify = INotify()
        except OSError as error:
            raise SourceError(f"cannot watch folders: {reason_of(error)} (inotify)") from error
        self._root, self._flags = root, flags
        self._folders: dict[int, str] = {}
        self._mask = (
            flags.CREATE
            | flags.OPEN
            | flags.CLOSE_WRITE
            | flags.MOVED_TO
            | flags.ATTRIB
            | flags.DELETE_SELF
            | flags.MOVE_SELF
            | flags.ONLYDIR
        )
        self.is_overflown = False

    def __enter__(self) -> "Inotify":
        return self

    def __exit__(self, *_: object) -> None:
        self._inotify.close()

    def add(self, folder: str) -> None:
        """Watch a folder without its sub-folders.

        Raises:
            OSError: it cannot be watched; `filename` is the folder.
        """
        try:
            self._folders[self._inotify.add_watch(os.fsencode(folder), self._mask)] = folder
        except OSError as error:
            reason = error.strerror
            if error.errno == errno.ENOSPC:
                reason = "too many folders to watch; raise the sysctl fs.inotify.max_user_watches"
            raise OSError(error.errno, reason, folder) from error

    def fileno(self) -> int:
        """The descriptor that becomes readable when there are events."""
        return int(self._inotify.fileno())

    def read(self) -> Iterator[Event]:
        """The events since the last call, without waiting.

        Raises:
            SourceError: the root was moved, deleted or unmounted.
        """
        flags = self._flags
        self.is_overflown = False
        for event in self._inotify.read(timeout=0):
            folder = self._folders.get(event.wd)
            if event.mask & flags.Q_OVERFLOW:
                self.is_overflown = True
            elif folder is None:
                continue
            elif event.mask & (flags.DELETE_SELF | flags.MOVE_SELF | flags.UNMOUNT | flags.IGNORED):
                if folder == self._root:
                    raise SourceError(f"{printable(folder)}: the folder has been moved, deleted or unmounted")
                yield from self._forget(event.wd, folder)
            elif event.name:
                kinds = (
                    (flags.CREATE, Happened.CREATED),
                    (flags.OPEN, Happened.OPENED),
                    (flags.ATTRIB, Happened.PERMITTED),
                )
                happened = next((kind for flag, kind in kinds if event.mask & flag), Happened.COMPLETED)
                yield Event(os.path.join(folder, event.name), bool(event.mask & flags.ISDIR), happened)

    def _forget(self, descriptor: int, folder: str) -> Iterator[Event]:
        """Stop watching a moved or deleted folder and those below it; yields an event if the path exists again."""
        for watched, path in list(self._folders.items()):
            if watched == descriptor or path.startswith(folder + os.sep):
                del self._folders[watched]
                try:
                    self._inotify.rm_watch(watched)
                except OSError as error:
                    if error.errno != errno.EINVAL:  # EINVAL: the kernel watches it no longer
                        raise
        if os.path.isdir(folder):  # replaced or moved back: the event of that may have been read already
            yield Event(folder, is_folder=True, happened=Happened.CREATED)
