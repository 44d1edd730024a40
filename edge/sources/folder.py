"""A watched folder: what lies in it, then what arrives."""

import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import connection
from multiprocessing.connection import Connection
from typing import Any

from edge.errors import SourceError, printable, reason_of
from edge.files import FileId, inode
from edge.sources.files import entries
from edge.sources.filters import Names
from edge.sources.inotify import Happened, Inotify

SETTLE_SECONDS = 1.0
DISTANT_SETTLE_SECONDS = 5.0  # a share's client looks at times and sizes anew every three seconds or so (nfs(5))
WAIT_SECONDS = 0.5  # also the longest time until a signal is noticed
RESCAN_SECONDS = 3600.0  # for what no event has told, by whatever fault
LOOK_SECONDS = 5.0  # between two looks whether the folder is still the same one
# Clocks of other machines may be wrong by hours: there only an old time shows that a file is complete.
DISTANT_SECONDS = 86_400.0
OPEN_SECONDS = 600.0  # a file that is not closed by then is taken as it is
LISTED_AT_ONCE = 500  # names that are looked through before something else gets its turn
LISTING = ""  # what is yielded then
AT_ONCE = 10_000  # paths that are kept in memory; the others wait on the disk, or in the kernel's queue

Waitable = Connection | Inotify | int


class Folder:
    """Yields the files of a folder, each when it is completely written.

    What lies there is listed first. New files are known to be complete when
    their writer closes them or when they are moved in (inotify). Where there
    is no such event, for a link and for a file that was being written when we
    came, it counts as complete when it has been left alone for a while.
    With `poll_seconds` nothing is expected of the kernel, and the folder is
    listed again and again: for the shares of other machines.

    The same file may be yielded more than once; the ledger tells.

    Attributes:
        real_root: the folder without links in its path.
        failures: sub-folders that could not be listed or watched; whoever reads them takes them out.
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
            except_folder: the real path of a folder below that is left alone, for it is where we move files to.

        Raises:
            SourceError: the folder is missing or cannot be listed.
        """
        self.root, self.recursive = root, recursive
        self.settle_seconds = settle_seconds or (DISTANT_SETTLE_SECONDS if poll_seconds else SETTLE_SECONDS)
        self._names, self._except_folder = names or Names(), except_folder
        self._poll_seconds, self._rescan_seconds = poll_seconds, rescan_seconds
        self.failures: list[OSError] = []
        try:
            os.scandir(root).close()
            self._identity = inode(root)
        except OSError as error:
            raise self._lost(error) from error
        self.real_root = os.path.realpath(root)
        self._listed_at: float | None = None  # when the last listing came to its end
        self._looked_at = time.monotonic()
        self._unlisted: deque[str] = deque([root])
        self._listing: Iterator[tuple[str, bool]] = iter(())
        self._arrived: deque[str] = deque()
        self._unsettled: dict[str, tuple[FileId, float]] = {}  # as it was, and when to look at it again
        self._due: deque[tuple[float, str]] = deque()  # the same in the order of time
        self._open: dict[str, float] = {}  # those whose writer is known to be at work, and how long we believe that
        self._created: set[str] = set()  # those of the unsettled that nobody has opened since

    def files(
        self, stop: threading.Event, *, once: bool = False, busy: Callable[[], Sequence[Waitable]] = tuple
    ) -> Iterator[str | None]:
        """The paths, beginning with `root`; None when there is nothing to do just now, LISTING while it still looks.

        Args:
            stop: ends the iteration soon after it is set.
            once: ends it when all that lies there has been yielded.
            busy: what else to wait for while there is nothing to do; the iteration does not end before there is none.

        Raises:
            SourceError: the folder has gone, or it cannot be watched.
        """
        with contextlib.nullcontext() if once or self._poll_seconds else Inotify(self.root) as events:
            while not stop.is_set():
                path = self._next(events)
                if path is not None:
                    yield path
                else:
                    yield None
                    busy_with = busy()
                    if once and not self._unsettled and not busy_with:
                        return
                    if not stop.is_set():
                        self._wait(events, busy_with)
                if events and len(self._arrived) + len(self._unsettled) < AT_ONCE:
                    self._note(events)
                self._look_after_itself()

    @property
    def queue(self) -> int:
        """How many paths are known to wait; what has not been listed yet is not among them."""
        return len(self._arrived) + len(self._unsettled)

    def _wait(self, events: Inotify | None, busy: Sequence[Waitable]) -> None:
        seconds = min(WAIT_SECONDS, self.settle_seconds / 4) if self._unsettled else WAIT_SECONDS
        waited_for: list[Any] = [*([events] if events else []), *busy]  # anything that has a fileno()
        connection.wait(waited_for, seconds)

    def _look_after_itself(self) -> None:
        """List anew when it is time, and notice that the folder has become another one."""
        now = time.monotonic()
        again = self._poll_seconds or self._rescan_seconds
        if self._listed_at is not None and now - self._listed_at >= again:
            self._listed_at = None
            self._unlisted.append(self.root)
        if now - self._looked_at >= LOOK_SECONDS:
            self._looked_at = now
            for path in [path for path, until in self._open.items() if until <= now]:
                del self._open[path]
                self.defer(path)
            try:
                identity = inode(self.root)
            except OSError as error:
                raise self._lost(error) from error
            if identity != self._identity:
                raise SourceError(f"{printable(self.root)}: another folder has taken its place")

    def defer(self, path: str) -> None:
        """Yield a file later, when it has been left alone for a while: it is changing just now."""
        with contextlib.suppress(OSError):  # it vanished: nothing is left to answer
            due = time.monotonic() + self.settle_seconds
            self._unsettled[path] = FileId.of(os.stat(path)), due
            self._due.append((due, path))

    def _next(self, events: Inotify | None) -> str | None:
        """An arrival first, so that none waits for a long backlog; then the backlog; then what has settled."""
        if self._arrived:
            return self._arrived.popleft()
        if len(self._unsettled) < AT_ONCE:
            for path in self._backlog(events):
                if path == LISTING:
                    return path
                if path in self._unsettled or path in self._open:
                    continue  # it is waiting already
                if not self._is_fresh(path):
                    return path
                self.defer(path)
                if len(self._unsettled) >= AT_ONCE:
                    break
        return self._settled()

    def _backlog(self, events: Inotify | None) -> Iterator[str]:
        """Go on listing where the last call stopped, one folder after the other, never one whole in memory."""
        looked_through = 0
        while True:
            looked_through += 1
            if looked_through > LISTED_AT_ONCE:
                yield LISTING
            try:
                for path, is_folder in self._listing:
                    looked_through += 1
                    if is_folder:
                        self._enter(path)
                    elif path:
                        yield path
                    elif looked_through > LISTED_AT_ONCE:
                        yield LISTING
                if not self._unlisted:
                    if self._listed_at is None:
                        self._listed_at = time.monotonic()
                    return
                self._begin(self._unlisted.popleft(), events)
            except OSError as error:
                self._listing = iter(())
                if error.filename == self.root:
                    raise self._lost(error) from error
                if not isinstance(error, FileNotFoundError):  # has gone; its parent tells if it comes back
                    self.failures.append(error)

    def _enter(self, folder: str) -> None:
        if self._except_folder is None or os.path.realpath(folder) != self._except_folder:
            self._unlisted.append(folder)

    def _begin(self, folder: str, events: Inotify | None) -> None:
        if events:
            try:
                events.add(folder)  # before the listing, so that nothing falls in between
            except OSError as error:
                if folder == self.root:
                    raise
                self.failures.append(error)  # what lies there is answered all the same
        self._listing = entries(folder, self.recursive, self._names, self.root)

    def _is_fresh(self, path: str) -> bool:
        try:
            fresh_seconds = DISTANT_SECONDS if self._poll_seconds else self.settle_seconds
            return abs(time.time() - os.stat(path).st_mtime) < fresh_seconds
        except OSError:
            return False  # whoever reads it says why it cannot be read

    def _settled(self) -> str | None:
        while self._due and self._due[0][0] <= time.monotonic():
            due, path = self._due.popleft()
            stamp, current = self._unsettled.get(path, (None, None))
            if due != current:
                continue  # its writer has closed it meanwhile, or it was deferred once more
            self._forget(path)
            with contextlib.suppress(OSError):
                if FileId.of(os.stat(path)) == stamp:
                    return path
                self.defer(path)
        return None

    def _forget(self, path: str) -> None:
        self._unsettled.pop(path, None)
        self._created.discard(path)

    def _note(self, events: Inotify) -> None:
        for event in events.read():
            if event.is_folder:
                is_hidden = os.path.basename(event.path).startswith(".")
                if self.recursive and not is_hidden and event.happened in (Happened.CREATED, Happened.COMPLETED):
                    self._enter(event.path)
            elif event.happened is Happened.OPENED:
                if event.path in self._created:  # a writer, who will close it
                    self._forget(event.path)
                    if len(self._open) < AT_ONCE:
                        self._open[event.path] = time.monotonic() + OPEN_SECONDS
            elif not self._names.admit(event.path, self.root):
                continue
            elif event.happened is Happened.PERMITTED:
                if event.path not in self._unsettled:  # else it is looked at anyhow, when it has come to rest
                    self.defer(event.path)
            elif event.happened is Happened.CREATED:
                self.defer(event.path)
                if event.path in self._unsettled:
                    self._created.add(event.path)
                else:  # gone again, or a link to nothing: whoever reads it tells which
                    self._arrived.append(event.path)
            else:
                self._forget(event.path)
                self._open.pop(event.path, None)
                self._arrived.append(event.path)
        if events.is_overflown:
            self._unlisted.append(self.root)

    def _lost(self, error: OSError) -> SourceError:
        return SourceError(f"{printable(self.root)}: cannot watch it: {reason_of(error)}")
