"""Performs the file moves that the ledger has recorded."""

import errno
import os
import stat
import time
from functools import partial

from edge.daemon.recorder import Recorder
from edge.errors import SinkError, printable, reason_of
from edge.retry import LONGEST_SECONDS, Backoff
from edge.store.ledger import Move
from edge.watch.error_report import ErrorReport
from edge.watch.move import perform

MOST_FAILURES = 100  # failed moves that end a pass of a continuous watcher
# Errors of the folder or disk that files are sorted into: other files cannot be moved there either.
DISK_ERRORS = frozenset(
    (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ENOTCONN, errno.ESTALE, errno.ENODEV, errno.ETIMEDOUT)
)


class Mover:
    """Moves answered files into their label's folder, and retries moves that were refused.

    A file that cannot be moved is reported once, and the others are moved; a full or missing disk ends the pass.

    Attributes:
        backoff: after a pass that the disk ended, the time of the next one.
    """

    def __init__(self, recorder: Recorder, errors: ErrorReport) -> None:
        self._recorder, self._life, self._errors = recorder, recorder.life, errors
        self._tried_up_to = ""  # kept across passes, so that failing moves do not block the rest
        self._failures = 0  # of this pass
        self._error: SinkError | None = None  # that ended this pass
        self._refused: dict[str, float] = {}  # sources that cannot be moved, and when to try again
        self.backoff = Backoff("; the files stay where they are until then")

    def move(self) -> None:
        """Perform the recorded moves, unless a failed pass has to wait; ends early on an error of the disk.

        A continuous watcher also ends a pass after many failures, and waits; with `once` every file is tried.

        Raises:
            LedgerError, SinkError: with `once`, from the ledger or the disk.
            Stopped: while waiting for the ledger.
        """
        recorder, once = self._recorder, self._life.once
        if not (once or self.backoff.is_due):
            return
        self._failures, self._error = 0, None
        while moves := recorder.retry(partial(recorder.ledger.moves, recorder.root, self._tried_up_to)):
            done = self._perform_all(moves)
            recorder.retry(partial(recorder.ledger.moved, done))
            if self._is_cut_short:
                break
        else:
            self._tried_up_to = ""  # the next pass starts from the beginning
        if self._error is None:
            self.backoff.succeeded()
        elif once:
            raise self._error
        else:
            self.backoff.failed(self._error)

    @property
    def _is_cut_short(self) -> bool:
        return self._life.stopping or self._error is not None

    def _perform_all(self, moves: list[Move]) -> list[tuple[Move, str | None]]:
        """Each performed move with the file's new path, see `perform`; the ledger has to know all of them."""
        done: list[tuple[Move, str | None]] = []
        for move in moves:
            self._tried_up_to = move.source
            if self._refused.get(move.source, 0.0) > time.monotonic():
                continue
            try:
                done.append((move, perform(move, self._life.heartbeat)))
                self._refused.pop(move.source, None)
            except OSError as error:
                self._failed(move, error)
            self._life.heartbeat()
            if self._is_cut_short:
                break
        return done

    def _failed(self, move: Move, error: OSError) -> None:
        self._failures += 1
        is_of_disk = error.errno in DISK_ERRORS
        if not is_of_disk:
            self._refused[move.source] = time.monotonic() + LONGEST_SECONDS
            if failure := self._errors.report(move.source, f"cannot be moved: {_reason(error, move)}"):
                self._recorder.stats.count(failure)
        if is_of_disk or (self._failures >= MOST_FAILURES and not self._life.once):
            folder = printable(os.path.dirname(move.target))
            self._error = SinkError(f"{folder}: files cannot be moved there: {reason_of(error)}")


def _reason(error: OSError, move: Move) -> str:
    """What refuses a move, with the name of the folder or file whose fault it is."""
    folder = os.path.dirname(move.source)
    if error.errno in (errno.EACCES, errno.EPERM):
        if not os.access(folder, os.W_OK | os.X_OK):
            return f"the folder {printable(folder)} cannot be written to"
        if _is_sticky_for(move.source):
            return f"the folder {printable(folder)} has the sticky bit, and the file belongs to another account"
    culprit = error.filename2 or error.filename or move.target
    return f"{printable(os.fsdecode(culprit))}: {reason_of(error)}"


def _is_sticky_for(path: str) -> bool:
    """Whether only the owner of a file or of its folder may move it, and this account is neither (rename(2))."""
    try:
        folder, file = os.stat(os.path.dirname(path)), os.stat(path, follow_symlinks=False)
    except OSError:
        return False
    return bool(folder.st_mode & stat.S_ISVTX) and os.geteuid() not in (0, folder.st_uid, file.st_uid)
