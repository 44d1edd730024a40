"""A watched folder: its existing files, then new ones."""

import contextlib
import errno
import heapq
import logging
import os
import stat
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import connection
from multiprocessing.connection import Connection
from typing import Any

from edge.errors import SourceError, printable, reason_of
from edge.files import FileId, has_writer, inode
from edge.sources.files import entries
from edge.sources.filters import Names, UnreadFormats
from edge.sources.inotify import Happened, Inotify
from edge.sources.mounts import MountTable, is_remote

_log = logging.getLogger(__name__)

SETTLE_SECONDS = 1.0  # without a change, after which a file counts as complete
REMOTE_SETTLE_SECONDS = 5.0  # an NFS client caches times and sizes for about three seconds (nfs(5))
WAIT_SECONDS = 0.5  # longest wait for events; also the longest delay of the reaction to a signal
RESCAN_SECONDS = 3600.0  # interval of listing the folder beside inotify, for files whose event was lost
CHECK_SECONDS = 5.0  # interval of checking that the path still leads to the same folder
# A remote machine's clock may be wrong by hours: only a file older than this counts as complete at once.
REMOTE_FRESH_SECONDS = 86_400.0
OPEN_SECONDS = 600.0  # after which a file that its writer has not closed is yielded as it is
LISTED_AT_ONCE = 500  # entries that are listed before other work gets its turn
LISTING = ""  # instead of a path: many entries were listed without a file to yield
FOUND_AT_ONCE = 128  # files that are yielded together
MAX_IN_MEMORY = 10_000  # paths; further ones stay in the folder or in the kernel's queue

Waitable = Connection | Inotify | int
Found = tuple[str, os.stat_result | None]  # a path below the root, and its status if that was asked for just before


class Folder:
    """Yields the files of a folder, each when it is completely written.

    The existing files are listed first. A new file is complete when its writer closes it or when it is moved in
    (inotify). Without such an event, for a link or for a file that was open at the start, it is complete when it has
    not changed for `settle_seconds`. With `poll_seconds`, inotify is not used and the folder is listed repeatedly, as
    network file systems need it.

    A file may be yielded more than once; the ledger has the answered ones.

    Attributes:
        real_root: the folder's path without links.
        failures: an OSError for each sub-folder that could not be listed or watched; the caller removes those that it
            has reported.
    """

    def __init__(
        self,
        root: str,
        recursive: bool = False,
        names: Names | None = None,
        *,
        except_folder: str | None = None,
        poll_seconds: float | None = None,
        rescan_seconds: float = RESCAN_SECONDS,
        settle_seconds: float | None = None,
    ) -> None:
        """
        Args:
            root: the folder.
            recursive: whether to enter sub-folders.
            names: which files are chosen; None: those with an image's suffix.
            except_folder: real path of a sub-folder to skip, because files are sorted into it.
            poll_seconds: interval of listing the folder instead of using inotify; None: inotify.
            rescan_seconds: interval of listing the folder beside inotify.
            settle_seconds: time without a change after which a file is complete if no event reports it; None: the
                default.

        Raises:
            SourceError: the folder is missing or cannot be listed.
        """
        self.root, self.recursive = root, recursive
        self.settle_seconds = settle_seconds or (REMOTE_SETTLE_SECONDS if poll_seconds else SETTLE_SECONDS)
        self._names, self._except_folder = names or Names(), except_folder
        self._poll_seconds, self._rescan_seconds = poll_seconds, rescan_seconds
        self.failures: list[OSError] = []
        self._unread = UnreadFormats()
        self._is_limit_reported = False
        try:
            os.scandir(root).close()
            self._identity = inode(root)
        except OSError as error:
            raise self._lost(error) from error
        self.real_root = os.path.realpath(root)
        self._listed_at: float | None = None  # when the last listing ended
        self._checked_at = time.monotonic()
        self._unlisted: deque[str] = deque([root])
        self._listing: Iterator[tuple[str, bool]] = iter(())
        self._arrived: deque[str] = deque()
        self._unsettled: dict[str, tuple[FileId, float]] = {}  # identity, and the time at which to compare it again
        self._due: list[tuple[float, str]] = []  # the same files by that time, as a heap
        self._open: dict[str, float] = {}  # files that a program is writing, and the time until which to wait for it
        self._created: set[str] = set()  # unsettled files that were created and not opened yet

    def files(
        self, is_stopping: Callable[[], bool], *, once: bool = False, busy: Callable[[], Sequence[Waitable]] = tuple
    ) -> Iterator[list[Found] | None]:
        """The files, some at a time; none during a long listing, so that the caller can do other work.

        None if there is no file just now.

        Args:
            is_stopping: asked again and again; the iteration ends when it returns True.
            once: end the iteration when all existing files have been yielded.
            busy: returns other descriptors to wait for while there is no file; with `once`, the iteration ends only
                when it returns none.

        Raises:
            SourceError: the folder is missing or cannot be watched.
        """
        inotify = contextlib.nullcontext() if once or self._poll_seconds else Inotify(self.root)
        with MountTable(self.root) as mounts, inotify as events:
            while not is_stopping():
                found = self._next(events)
                yield found
                if found is None:
                    busy_with = busy()
                    if once and not self._unsettled and not busy_with:
                        return
                    if not is_stopping():
                        self._wait(events, busy_with)
                if events and len(self._arrived) + len(self._unsettled) < MAX_IN_MEMORY:
                    self._handle(events)
                if self.recursive and mounts.has_changed():  # a memory card: no event reports its files
                    self._unlisted.append(self.root)
                self._maintain()

    @property
    def queue(self) -> int:
        """Number of paths that wait to be yielded, without those that are not listed yet."""
        return len(self._arrived) + len(self._unsettled) + len(self._open)

    @property
    def has_room(self) -> bool:
        """Whether `defer` may be called without slowing down the listing."""
        return len(self._unsettled) < MAX_IN_MEMORY

    def _wait(self, events: Inotify | None, busy: Sequence[Waitable]) -> None:
        seconds = min(WAIT_SECONDS, self.settle_seconds / 4) if self._unsettled else WAIT_SECONDS
        waited_for: list[Any] = [*([events] if events else []), *busy]  # anything that has a fileno()
        connection.wait(waited_for, seconds)

    def _maintain(self) -> None:
        """Start the next listing when it is due, and check that the path still leads to the same folder."""
        now = time.monotonic()
        again = self._poll_seconds or self._rescan_seconds
        if self._listed_at is not None and now - self._listed_at >= again:
            self._listed_at = None
            self._unlisted.append(self.root)
        if now - self._checked_at >= CHECK_SECONDS:
            self._checked_at = now
            for path in [path for path, until in self._open.items() if until <= now]:
                del self._open[path]
                self.defer(path)
            try:
                identity = inode(self.root)
            except OSError as error:
                raise self._lost(error) from error
            if identity != self._identity:
                raise SourceError(f"{printable(self.root)}: another folder has replaced it")

    def admits(self, path: str) -> bool:
        """Whether a file at a path below `real_root` would be yielded."""
        folder = os.path.dirname(path)
        while folder != self.real_root:
            if not (self.recursive and self._names.admit_folder(folder, self.real_root)):
                return False
            folder = os.path.dirname(folder)
        return self._names.admit(path, self.real_root)

    def defer(self, path: str, seconds: float | None = None) -> None:
        """Yield a file later, when it has not changed for this time; None: `settle_seconds`."""
        with contextlib.suppress(OSError):  # it is gone
            due = time.monotonic() + (self.settle_seconds if seconds is None else seconds)
            self._unsettled[path] = FileId.of(os.stat(path)), due
            heapq.heappush(self._due, (due, path))

    def _next(self, events: Inotify | None) -> list[Found] | None:
        """The next files: arrivals before a long backlog, then the backlog, then settled files."""
        if self._arrived:
            return [(self._arrived.popleft(), None) for _ in range(min(len(self._arrived), FOUND_AT_ONCE))]
        found: list[Found] = []
        if len(self._unsettled) < MAX_IN_MEMORY:
            for path in self._backlog(events):
                if path == LISTING:
                    return found
                if path in self._unsettled or path in self._open:
                    continue  # it is waited for already
                status, is_fresh = self._status(path)
                if not is_fresh:
                    found.append((path, status))
                    if len(found) >= FOUND_AT_ONCE:
                        return found
                    continue
                self.defer(path)
                if len(self._unsettled) >= MAX_IN_MEMORY:
                    break
        if not found:
            found = [(path, None) for path in iter(self._settled, None)]
        return found or None

    def _backlog(self, events: Inotify | None) -> Iterator[str]:
        """Continue the listing where the last call stopped; no listing is held in memory as a whole."""
        listed = 0
        while True:
            listed += 1
            if listed > LISTED_AT_ONCE:
                yield LISTING
            try:
                for path, is_folder in self._listing:
                    listed += 1
                    if is_folder:
                        self._enter(path)
                    elif path:
                        yield path
                    elif listed > LISTED_AT_ONCE:
                        yield LISTING
                if not self._unlisted:
                    if self._listed_at is None:
                        self._listed_at = time.monotonic()
                        self._report_unread()
                    return
                self._begin(self._unlisted.popleft(), events)
            except OSError as error:
                self._listing = iter(())
                if error.filename == self.root:
                    raise self._lost(error) from error
                if not isinstance(error, FileNotFoundError):  # deleted: an event of its parent reports a new one
                    self.failures.append(error)

    def _report_unread(self) -> None:
        if line := self._unread.line():
            _log.warning("%s: %s", printable(self.root), line)

    def _enter(self, folder: str) -> None:
        """List a sub-folder later, unless files are sorted into it."""
        if self._except_folder is None or os.path.realpath(folder) != self._except_folder:
            self._unlisted.append(folder)

    def _begin(self, folder: str, events: Inotify | None) -> None:
        """Watch a folder and start listing it."""
        if events:
            try:
                events.add(folder)  # before the listing, so that no file is missed in between
            except OSError as error:
                if folder == self.root:
                    raise
                if error.errno == errno.ENOSPC:
                    self._report_limit(error)
                else:
                    self.failures.append(error)
                # Its files are listed nevertheless.
        self._listing = entries(folder, self.recursive, self._names, self.root, self._unread)

    def _report_limit(self, error: OSError) -> None:
        """Log once that the kernel watches no further folders."""
        if not self._is_limit_reported:
            _log.warning("%s; new files in unwatched folders are found by a listing every hour", error.strerror)
        self._is_limit_reported = True

    def _status(self, path: str) -> tuple[os.stat_result | None, bool]:
        """A file's status, and whether it was written so recently that its writer may not have finished."""
        try:
            status = os.stat(path)
        except OSError:
            return None, False  # reading the file reports the error
        fresh_seconds = REMOTE_FRESH_SECONDS if self._poll_seconds else self.settle_seconds
        return status, abs(time.time() - status.st_mtime) < fresh_seconds

    def _settled(self) -> str | None:
        """The next file that has not changed while it was deferred; None if there is none."""
        while self._due and self._due[0][0] <= time.monotonic():
            due, path = heapq.heappop(self._due)
            stamp, current = self._unsettled.get(path, (None, None))
            if due != current:
                continue  # it was yielded since because its writer closed it, or it was deferred again
            self._forget(path)
            with contextlib.suppress(OSError):
                if FileId.of(os.stat(path)) == stamp:
                    return path
                self.defer(path)
        return None

    def _forget(self, path: str) -> None:
        self._unsettled.pop(path, None)
        self._created.discard(path)

    def _handle(self, events: Inotify) -> None:
        """Add the files of new events to the arrived, unsettled or open ones."""
        for event in events.read():
            if event.is_folder:
                is_new = event.happened in (Happened.CREATED, Happened.COMPLETED)
                if self.recursive and is_new and self._names.admit_folder(event.path, self.root):
                    self._enter(event.path)
            elif event.happened is Happened.OPENED:
                if event.path in self._created:
                    self._created.discard(event.path)
                    if self._may_have_writer(event.path):  # which will close it
                        self._forget(event.path)
                        if len(self._open) < MAX_IN_MEMORY:
                            self._open[event.path] = time.monotonic() + OPEN_SECONDS
            elif not self._names.admit(event.path, self.root):
                self._unread.note(event.path, self.root, self._names)
                self._report_unread()
            elif event.happened is Happened.PERMITTED:
                if event.path not in self._unsettled:  # else it is compared anyway when it settles
                    self.defer(event.path)
            elif event.happened is Happened.CREATED:
                self.defer(event.path)
                if event.path in self._unsettled:
                    self._created.add(event.path)
                else:  # deleted, or a broken link: reading the file reports the error
                    self._arrived.append(event.path)
            else:
                self._forget(event.path)
                self._open.pop(event.path, None)
                self._arrived.append(event.path)
        if events.is_overflown:
            self._unlisted.append(self.root)

    def _may_have_writer(self, path: str) -> bool:
        """Whether a program may be writing to a new file that was opened; not to a link, whose content exists already.

        For files of this account the kernel reports whether there is a writer. For other files, a reader such as a
        thumbnail generator looks like a writer.
        """
        try:
            status = os.stat(path, follow_symlinks=False)
            if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
                return False
            if status.st_uid != os.geteuid() or is_remote(path):
                return True
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return True
        try:
            return has_writer(descriptor)
        finally:
            os.close(descriptor)

    def _lost(self, error: OSError) -> SourceError:
        return SourceError(f"{printable(self.root)}: cannot watch it: {reason_of(error)}")
