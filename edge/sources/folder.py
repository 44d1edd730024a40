"""A watched folder: what lies in it, then what arrives."""

import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Iterator

from edge.errors import SourceError, printable
from edge.sources.files import entries, is_candidate
from edge.sources.inotify import Events, Happened
from edge.stamp import Stamp

SETTLE_SECONDS = 1.0
WAIT_SECONDS = 0.5  # also the longest time until a signal is noticed


class Folder:
    """Yields the files of a folder, each when it is completely written.

    What lies there is listed first. New files are known to be complete when
    their writer closes them or when they are moved in (inotify). Where there
    is no such event, for a link and for a file that was being written when we
    came, it counts as complete when it has been left alone for a while.

    The same file may be yielded more than once; the ledger tells.

    Attributes:
        failures: sub-folders that could not be listed or watched; whoever reads them takes them out.
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
            raise self._lost(error) from error
        self._unlisted: deque[str] = deque([root])
        self._listing: Iterator[tuple[str, bool]] = iter(())
        self._arrived: deque[str] = deque()
        self._unsettled: dict[str, tuple[Stamp, float]] = {}  # as it was, and when to look at it again
        self._due: deque[tuple[float, str]] = deque()  # the same in the order of time
        self._created: set[str] = set()  # those of the unsettled that nobody has opened since

    def files(self, stop: threading.Event, *, once: bool = False) -> Iterator[str | None]:
        """The paths, beginning with `root`; None whenever there is nothing to do just now.

        Args:
            stop: ends the iteration soon after it is set.
            once: ends it when all that lies there has been yielded.

        Raises:
            SourceError: the folder has gone, or it cannot be watched.
        """
        with contextlib.nullcontext() if once else Events(self.root) as events:
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

    def defer(self, path: str) -> None:
        """Yield a file later, when it has been left alone for a while: it is changing just now."""
        with contextlib.suppress(OSError):  # it vanished: nothing is left to answer
            due = time.monotonic() + self.settle_seconds
            self._unsettled[path] = Stamp.of(os.stat(path)), due
            self._due.append((due, path))

    def _next(self, events: Events | None) -> str | None:
        """An arrival first, so that none waits for a long backlog; then the backlog; then what has settled."""
        if self._arrived:
            return self._arrived.popleft()
        for path in self._backlog(events):
            if not self._is_fresh(path):
                return path
            self.defer(path)
        return self._settled()

    def _backlog(self, events: Events | None) -> Iterator[str]:
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
                self._begin(self._unlisted.popleft(), events)
            except OSError as error:
                self._listing = iter(())
                if error.filename == self.root:
                    raise self._lost(error) from error
                if not isinstance(error, FileNotFoundError):  # has gone; its parent tells if it comes back
                    self.failures.append(error)

    def _begin(self, folder: str, events: Events | None) -> None:
        if events:
            try:
                events.add(folder)  # before the listing, so that nothing falls in between
            except OSError as error:
                if folder == self.root:
                    raise
                self.failures.append(error)  # what lies there is answered all the same
        self._listing = entries(folder, self.recursive)

    def _is_fresh(self, path: str) -> bool:
        try:
            return abs(time.time() - os.stat(path).st_mtime) < self.settle_seconds
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
                if Stamp.of(os.stat(path)) == stamp:
                    return path
                self.defer(path)
        return None

    def _forget(self, path: str) -> None:
        self._unsettled.pop(path, None)
        self._created.discard(path)

    def _note(self, events: Events) -> None:
        for event in events.read():
            if event.is_folder:
                is_hidden = os.path.basename(event.path).startswith(".")
                if self.recursive and not is_hidden and event.happened is not Happened.OPENED:
                    self._unlisted.append(event.path)
            elif event.happened is Happened.OPENED:
                if event.path in self._created:  # a writer, who will close it
                    self._forget(event.path)
            elif not is_candidate(event.path):
                continue
            elif event.happened is Happened.CREATED:
                self.defer(event.path)
                if event.path in self._unsettled:
                    self._created.add(event.path)
                else:  # gone again, or a link to nothing: whoever reads it tells which
                    self._arrived.append(event.path)
            else:
                self._forget(event.path)
                self._arrived.append(event.path)
        if events.is_overflown:
            self._unlisted.append(self.root)

    def _lost(self, error: OSError) -> SourceError:
        return SourceError(f"{printable(self.root)}: cannot watch it: {(error.strerror or str(error)).lower()}")
