"""Signals that stop the work or reload the settings."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from edge.daemon.lifecycle import Lifecycle


@contextmanager
def handled(life: Lifecycle) -> Iterator[None]:
    """Stop the work at SIGINT, SIGTERM and SIGHUP; restores the former handlers at the end.

    SIGHUP reloads the settings; but it ends a process that was started from a terminal, because it means that the
    terminal was closed.
    """
    has_terminal = any(os.isatty(descriptor) for descriptor in (0, 1, 2))

    def note(number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGHUP and not has_terminal:
            life.reload = True
        else:
            life.ended_by = life.ended_by or number
        life.stop.set()

    numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # nohup
        numbers.remove(signal.SIGHUP)
    former = {number: signal.signal(number, note) for number in numbers}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
