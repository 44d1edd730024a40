"""A watched folder: what lies in it, then what arrives."""

import contextlib
import errno
import os
import select
import threading
import time
from collections import deque
from collections.abc import Iterator

from edge.errors import SourceError, printable
from edge.sources.files import entries, is_candidate
from edge.stamp import Stamp

SETTLE_SECONDS = 1.0
WAIT_SECONDS = 0.5  # also the longest time until a signal is noticed


class Folder:
    """Yields the files of a folder, each when it is completely written.

    What lies there is listed first. New files are known to be complete when
    their writer closes them or when they are moved in (inotify). Where there
    is no such event, for a file that was being written when we came, it counts
    as complete when it has been left alone for `settle_seconds`.

    The same file may be yielded more than once; the ledger tells.
    """

    def __init__(self, root: str, recursive: bool = False, settle_seconds: float = SETTLE_SECONDS) -> None:
        """
        Raises:
            SourceError: the folder is missing or cannot be listed.
        """
        self.root, self.recursive, self.settle_seconds = root, recursive, settle_seconds
        self.failures: list[OSError] = []
        try:
            os.scandir(root).close()
        except OSError as error:
            raise SourceError(f"{printable(root)}: cannot watch it: {(error.strerror or '').lower()}") from error
        self._unlisted: deque[str] = deque([root])
        self._listing: Iterator[tuple[str, bool]] = iter(())
        self._arrived: deque[str] = deque()
        self._unsettled: dict[str, tuple[Stamp, float]] = {}

    def files(self, stop: threading.Event, *, once: bool = False) -> Iterator[str | None]:
        """The paths, beginning with `root`; None whenever there is nothing to do just now.

        Args:
            stop: ends the iteration soon after it is set.
            once: ends it when all that lies there has been yielded.

        Raises:
            SourceError: the folder has gone, or it cannot be watched.
        """
        events = None if once else _Events(self)
        try:
            while not stop.is_set():
                path = self._next(events)
                if path is not None:
                    yield path
                elif once and not self._unsettled:
                    return
                else:
                    yield None
                    if events:
                        events.wait(WAIT_SECONDS)
                    else:
                        stop.wait(self.settle_seconds / 4)
                if events:
                    self._note(events)
        finally:
            if events:
                events.close()

    def defer(self, path: str) -> None:
        """Yield a file again when it has settled: it changed while it was being read."""
        with contextlib.suppress(OSError):  # it vanished: nothing is left to answer
            self._unsettled[path] = (Stamp.of(os.stat(path)), time.monotonic())

    def _next(self, events: "_Events | None") -> str | None:
        """An arrival first, so that none waits for a long backlog; then the backlog; then what has settled."""
        if self._arrived:
            return self._arrived.popleft()
        for path in self._backlog(events):
            if not self._is_fresh(path):
                return path
            self.defer(path)
        return self._settled()

    def _backlog(self, events: "_Events | None") -> Iterator[str]:
        """Go on listing where the last call stopped, one folder after the other, never one whole in memory."""
        while True:
            try:
                for path, is_folder in self._listing:
                    if is_folder:
                        self._unlisted.append(path)
                    else:
                        yield path
                if not self._unlisted:
                    return
                folder = self._unlisted.popleft()
                if events:
                    events.add(folder)  # before the listing, so that nothing falls in between
                self._listing = entries(folder, self.recursive)
            except FileNotFoundError:
                pass  # a sub-folder that has gone; its parent tells if it comes back
            except OSError as error:
                self.failures.append(error)

    def _is_fresh(self, path: str) -> bool:
        try:
            return abs(time.time() - os.stat(path).st_mtime) < self.settle_seconds
        except OSError:
            return False  # whoever reads it says why it cannot be read

    def _settled(self) -> str | None:
        for path, (stamp, since) in list(self._unsettled.items()):
            if time.monotonic() - since < self.settle_seconds:
                continue
            del self._unsettled[path]
            try:
                unchanged = Stamp.of(os.stat(path)) == stamp
            except OSError:
                continue
            if unchanged:
                return path
            self.defer(path)
        return None

    def _note(self, events: "_Events") -> None:
        for path, is_folder in events.read():
            if is_folder:
                self._unlisted.append(path)
            elif is_candidate(path):
                self._unsettled.pop(path, None)
                self._arrived.append(path)


class _Events:
    """inotify on a set of folders."""

    def __init__(self, source: Folder) -> None:
        try:
            from inotify_simple import INotify, flags
        except ImportError as error:
            raise SourceError("watching a folder needs Linux and inotify_simple; `--once` works without") from error
        self._source, self._flags = source, flags
        try:
            self._inotify = INotify()
        except OSError as error:
            raise SourceError(f"cannot watch folders: {error.strerror} (inotify)") from error
        self._folders: dict[int, str] = {}
        self._mask = (
            flags.CLOSE_WRITE | flags.MOVED_TO | flags.CREATE | flags.DELETE_SELF | flags.MOVE_SELF | flags.ONLYDIR
        )

    def add(self, folder: str) -> None:
        try:
            self._folders[self._inotify.add_watch(os.fsencode(folder), self._mask)] = folder
        except OSError as error:
            if error.errno == errno.ENOSPC:
                error.strerror = "too many folders to watch; raise the sysctl fs.inotify.max_user_watches"
            error.filename = folder
            raise

    def wait(self, seconds: float) -> None:
        """Until something happens, at most so long."""
        select.select([self._inotify], [], [], seconds)

    def read(self) -> Iterator[tuple[str, bool]]:
        """(path, is it a folder) of all that is new; after an overflow of the kernel's queue the root itself."""
        flags = self._flags
        for event in self._inotify.read(timeout=0):
            if event.mask & flags.Q_OVERFLOW:
                yield self._source.root, True
                continue
            folder = self._folders.get(event.wd)
            if event.mask & (flags.DELETE_SELF | flags.MOVE_SELF) and folder == self._source.root:
                raise SourceError(f"{printable(folder)}: the folder has been moved or deleted")
            if event.mask & flags.IGNORED:
                self._folders.pop(event.wd, None)
            if folder is None or not event.name:
                continue
            path = os.path.join(folder, event.name)
            if event.mask & flags.ISDIR:
                # A folder may bring files with it; its listing finds them. Not if it only looks like an image.
                if self._source.recursive and not event.name.startswith("."):
                    yield path, True
            elif event.mask & (flags.CLOSE_WRITE | flags.MOVED_TO) or _arrives_whole(path):
                yield path, False

    def close(self) -> None:
        self._inotify.close()


def _arrives_whole(path: str) -> bool:
    """Whether a new name is a link: no one writes to it, so no close will follow its creation."""
    try:
        status = os.lstat(path)
    except OSError:
        return False
    return os.path.islink(path) or status.st_nlink > 1
