"""Signals, noted for the loop that does the work."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType


@dataclass
class Requests:
    """What we have been asked by signals.

    Attributes:
        stop: set by SIGINT, SIGTERM and SIGHUP: the work that is under way is to end.
        ended_by: the first that asks us to end; None if none came. SIGHUP does where we were started from a terminal,
            for it says that the terminal is gone.
        reload: whether the work is to begin again: because of another SIGHUP, say.
        is_patient: whether to wait at the start for what is missing: a Coral, room on the disk.
    """

    stop: threading.Event = field(default_factory=threading.Event)
    ended_by: int | None = None
    reload: bool = False
    is_patient: bool = False

    def reloaded(self) -> None:
        """The work begins again, unless we are to end."""
        self.reload = False
        self.stop.clear()
        if self.ended_by is not None or self.reload:  # which a signal may have set just now
            self.stop.set()


@contextmanager
def noted() -> Iterator[Requests]:
    """Note SIGINT, SIGTERM and SIGHUP; puts the former handlers back."""
    requests = Requests()
    has_terminal = any(os.isatty(descriptor) for descriptor in (0, 1, 2))

    def note(number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGHUP and not has_terminal:
            requests.reload = True
        else:
            requests.ended_by = requests.ended_by or number
        requests.stop.set()

    numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # nohup
        numbers.remove(signal.SIGHUP)
    former = {number: signal.signal(number, note) for number in numbers}
    try:
        yield requests
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
