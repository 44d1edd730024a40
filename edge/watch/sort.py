"""Performs the file moves that the ledger has recorded."""

import errno
import os
import threading
from collections.abc import Callable, Iterator
from functools import partial

from edge.delivery.recorder import Recorder
from edge.errors import SinkError, printable
from edge.retry import Backoff, Say
from edge.stats import Stats
from edge.store.ledger import Move
from edge.watch.move import perform

REFUSED_AT_ONCE = 100  # failed moves that end a pass
NO_ROOM = frozenset((errno.ENOSPC, errno.EDQUOT))


class Mover:
    """Moves answered files into their label's folder, and retries moves that the disk refused.

    Attributes:
        backoff: after a failed pass, the time of the next one.
    """

    def __init__(self, recorder: Recorder, say: Say, alive: Callable[[], None]) -> None:
        self._recorder, self._alive = recorder, alive
        self._moved_up_to = ""
        self.backoff = Backoff(say, "; the files stay where they are until then")

    def move(self, stop: threading.Event) -> Iterator[Stats]:
        """Perform the recorded moves; ends early when the disk is full or many moves fail.

        Raises:
            LedgerError, SinkError: if the recorder raises what goes wrong.
        """
        recorder = self._recorder
        if not (recorder.once or self.backoff.is_due):
            return
        refused: SinkError | None = None
        refusals = 0
        while moves := (
            yield from recorder.persistently(partial(recorder.ledger.moves, recorder.root, self._moved_up_to), stop)
        ):
            done: list[tuple[Move, str | None]] = []
            for move in moves:
                self._moved_up_to = move.source  # kept across passes, so that failing moves do not block the rest
                try:
                    done.append((move, perform(move, self._alive)))
                except OSError as error:
                    folder, reason = printable(os.path.dirname(move.target)), (error.strerror or str(error)).lower()
                    refused = refused or SinkError(f"{folder}: files cannot be moved there: {reason}")
                    refusals += REFUSED_AT_ONCE if error.errno in NO_ROOM else 1
                yield recorder.stats
                if stop.is_set() or refusals >= REFUSED_AT_ONCE:
                    break
            yield from recorder.persistently(partial(recorder.ledger.moved, done), stop)
            if stop.is_set() or refusals >= REFUSED_AT_ONCE:
                break
        else:
            self._moved_up_to = ""
        if refused is None:
            self.backoff.succeeded()
        elif recorder.once:
            raise refused
        else:
            self.backoff.failed(refused)
