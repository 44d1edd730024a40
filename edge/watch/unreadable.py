"""Files that were sorted into UNREADABLE, and whose content changes there.

The program that writes a file may go on after a long pause: its open file
follows the move. Or somebody repairs the file where it lies. Such a file goes
back into the watched folder, where it is classified like a new one.
"""

import hashlib
import math
import os
import stat
import time
from collections.abc import Callable
from functools import partial

from edge.daemon.recorder import Recorder
from edge.errors import reason_of
from edge.files import FileId, has_writer
from edge.imaging.preprocess import MAX_BYTES
from edge.retry import LONGEST_SECONDS
from edge.sources.mounts import is_remote
from edge.store.ledger import Move, SetAside
from edge.watch.error_report import ErrorReport
from edge.watch.move import UNREADABLE, Sorter, perform

CHECK_SECONDS = 10.0  # between two checks of at most CHECKED_AT_ONCE files; one costs a stat(2)
CHECKED_AT_ONCE = 256
QUIET_SECONDS = 5.0  # without a change, where the kernel does not report whether a program is writing the file
_CHUNK_BYTES = 1 << 20


class UnreadableFolder:
    """The files in UNREADABLE that this ledger had moved there."""

    def __init__(self, recorder: Recorder, sorter: Sorter, errors: ErrorReport) -> None:
        self._recorder, self._life, self._errors = recorder, recorder.life, errors
        self._folder = os.path.join(sorter.directory, UNREADABLE)
        self._checked_up_to = ""  # a path; the next check begins behind it
        self._due = 0.0
        self._refused: dict[str, float] = {}  # files that cannot be moved, and when to try again

    def return_changed(self, admits: Callable[[str], bool]) -> None:
        """Move changed files back into the watched folder.

        A continuous watcher checks some of the files every CHECK_SECONDS; with `once`, the first call checks all, and
        further calls do nothing.

        Args:
            admits: whether a file at a path in the watched folder would be classified.

        Raises:
            LedgerError: with `once`.
            Stopped: while waiting for the ledger.
        """
        ledger, once = self._recorder.ledger, self._life.once
        if time.monotonic() < self._due:
            return
        self._due = math.inf if once else time.monotonic() + CHECK_SECONDS
        while not self._life.stopping:
            page = partial(ledger.set_aside, self._folder, self._checked_up_to, CHECKED_AT_ONCE)
            files = self._recorder.retry(page)
            for file in files:
                self._check(file, admits)
                self._life.heartbeat()
            is_last = len(files) < CHECKED_AT_ONCE
            self._checked_up_to = "" if is_last else files[-1].path
            if is_last or not once:
                return

    def _check(self, file: SetAside, admits: Callable[[str], bool]) -> None:
        ledger = self._recorder.ledger
        try:
            status = os.lstat(file.path)
        except (FileNotFoundError, NotADirectoryError):
            if os.path.isdir(self._folder):  # else its disk may just not be mounted
                self._recorder.retry(partial(ledger.forget_set_aside, file.path))
            return
        except OSError:
            return
        stamp = FileId.of(status)
        if file.is_unchanged(stamp):
            if file.ctime_ns is None:
                self._recorder.retry(partial(ledger.note_set_aside, file.path, stamp, file.sha256))
            return
        target = os.path.join(self._recorder.root, os.path.relpath(file.path, self._folder))
        if self._refused.get(file.path, 0.0) > time.monotonic() or not (
            stat.S_ISREG(status.st_mode) and admits(target)
        ):
            return
        try:
            self._return(file, stamp, target)
            self._refused.pop(file.path, None)
        except OSError as error:
            self._refused[file.path] = time.monotonic() + LONGEST_SECONDS
            reason = f"has changed, and cannot be moved back: {reason_of(error)}"
            if failure := self._errors.report(file.path, reason):
                self._recorder.stats.count(failure)

    def _return(self, file: SetAside, stamp: FileId, target: str) -> None:
        """Move a file back if its content has changed and no program is writing it."""
        ledger, folder = self._recorder.ledger, os.path.dirname(file.path)
        if os.path.realpath(folder) != folder:
            return  # a link leads elsewhere now
        sha256 = self._digest(file.path, stamp)
        if sha256 == file.sha256:
            self._recorder.retry(partial(ledger.note_set_aside, file.path, stamp, sha256))
        elif sha256 and perform(Move(file.path, target, str(stamp), sha256), self._life.heartbeat):
            self._recorder.retry(partial(ledger.forget_set_aside, file.path))

    def _digest(self, path: str, stamp: FileId) -> bytes | None:
        """The SHA-256 of a file's content; None if it is being written, or too large to be classified."""
        if stamp.size > MAX_BYTES:
            return None
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        with open(descriptor, "rb", buffering=0) as opened:
            if FileId.of(os.fstat(descriptor)) != stamp or _may_be_written(path, descriptor):
                return None
            digest = hashlib.sha256()
            while chunk := opened.read(_CHUNK_BYTES):
                digest.update(chunk)
                self._life.heartbeat()
            return digest.digest() if FileId.of(os.fstat(descriptor)) == stamp else None


def _may_be_written(path: str, descriptor: int) -> bool:
    """Whether a program may have a file open for writing: the kernel reports it, or else a file is left to settle."""
    status = os.fstat(descriptor)
    if is_remote(path) or os.geteuid() not in (0, status.st_uid):
        return 0 <= time.time() - status.st_mtime < QUIET_SECONDS
    return has_writer(descriptor)
