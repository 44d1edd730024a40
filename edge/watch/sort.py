"""Performs the file moves that the ledger has recorded."""

import errno
import os
from functools import partial

from edge.daemon.recorder import Recorder
from edge.errors import SinkError, printable, reason_of
from edge.retry import Backoff
from edge.store.ledger import Move
from edge.watch.move import perform

MOST_FAILURES = 100  # failed moves that end a pass
NO_ROOM = frozenset((errno.ENOSPC, errno.EDQUOT))


class Mover:
    """Moves answered files into their label's folder, and retries moves that the disk refused.

    Attributes:
        backoff: after a failed pass, the time of the next one.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder, self._life = recorder, recorder.life
        self._tried_up_to = ""  # kept across passes, so that failing moves do not block the rest
        self._failures = 0  # of this pass; a full disk counts as MOST_FAILURES
        self._error: SinkError | None = None  # the first of this pass
        self.backoff = Backoff("; the files stay where they are until then")

    def move(self) -> None:
        """Perform the recorded moves, unless a failed pass has to wait; ends early on a full disk or many failures.

        Raises:
            LedgerError, SinkError: with `once`.
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
        return self._life.stopping or self._failures >= MOST_FAILURES

    def _perform_all(self, moves: list[Move]) -> list[tuple[Move, str | None]]:
        """Each performed move with the file's new path, see `perform`; the ledger has to know all of them."""
        done: list[tuple[Move, str | None]] = []
        for move in moves:
            self._tried_up_to = move.source
            try:
                done.append((move, perform(move, self._life.heartbeat)))
            except OSError as error:
                folder = printable(os.path.dirname(move.target))
                self._error = self._error or SinkError(f"{folder}: files cannot be moved there: {reason_of(error)}")
                self._failures += MOST_FAILURES if error.errno in NO_ROOM else 1
            self._life.heartbeat()
            if self._is_cut_short:
                break
        return done
