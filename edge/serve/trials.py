"""What was uploaded on the page Try, kept for some minutes, so that its result has an address of its own."""

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from edge.verdict import Answer

KEPT_SECONDS = 600.0
MOST_TRIALS = 64
MOST_BYTES = 6_000_000  # of all pictures; the oldest are forgotten beyond it


@dataclass(frozen=True)
class Trial:
    """A checked picture.

    Attributes:
        picture: JPEG; empty if there is none.
        at: when, by the clock of `Trials`.
    """

    answer: Answer
    picture: bytes
    at: float


class Trials:
    """The trials of the last minutes, in memory; for one thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._trials: OrderedDict[str, Trial] = OrderedDict()

    def add(self, answer: Answer, picture: bytes) -> str:
        """Keep a trial and return its id, which nobody can guess."""
        id_ = secrets.token_urlsafe(16)
        self._trials[id_] = Trial(answer, picture, self._clock())
        self._forget()
        return id_

    def get(self, id_: str) -> Trial | None:
        """The trial with an id; None if it is not kept any more."""
        self._forget()
        return self._trials.get(id_)

    def _forget(self) -> None:
        nbytes = sum(len(one.picture) for one in self._trials.values())
        while self._trials:
            oldest = next(iter(self._trials.values()))
            is_over = nbytes > MOST_BYTES or len(self._trials) > MOST_TRIALS
            if not is_over and self._clock() - oldest.at < KEPT_SECONDS:
                return
            self._trials.popitem(last=False)
            nbytes -= len(oldest.picture)
