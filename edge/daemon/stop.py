"""An event that signal handlers can set."""

import contextlib
import math
import os
import select


class StopEvent:
    """Like threading.Event, but a signal handler may set it while the same thread waits for it.

    threading.Event holds a lock while it begins to wait. A handler that sets the event at that moment waits for this
    lock forever, because it runs in the thread that holds it.
    """

    def __init__(self) -> None:
        self._is_set = False
        self._counter = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)  # above 0 while the event is set
        self._poll = select.poll()
        self._poll.register(self._counter, select.POLLIN)

    def __del__(self) -> None:
        os.close(self._counter)

    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        self._is_set = True
        os.eventfd_write(self._counter, 1)

    def clear(self) -> None:
        """Undo `set`, and perhaps one that a signal handler makes during this call."""
        self._is_set = False
        with contextlib.suppress(BlockingIOError):  # it was not set
            os.eventfd_read(self._counter)

    def wait(self, seconds: float) -> bool:
        """Wait until the event is set, at most for some seconds; returns whether it is set."""
        return bool(self._poll.poll(math.ceil(seconds * 1000)))
