"""A work loop that runs from one heartbeat to the next, as a test asks for it."""

import threading
from contextlib import AbstractContextManager
from typing import Generic, Protocol, Self, TypeVar

from edge.daemon.lifecycle import Lifecycle

SECONDS = 60.0


class Loop(Protocol):
    def run(self) -> None: ...


AnyLoop = TypeVar("AnyLoop", bound=Loop)


class Stepping(Generic[AnyLoop]):
    """Runs a loop on a thread of its own, which stands still at each heartbeat until the next step is asked for.

    As an iterator it ends when the loop has ended, and raises what the loop raised.

    Attributes:
        loop: made on the thread too, because a ledger can only be used by the thread that opened it.
    """

    loop: AnyLoop

    def __init__(self, life: Lifecycle, opened: AbstractContextManager[AnyLoop]) -> None:
        self._life, self._opened = life, opened
        self._go, self._arrived = threading.Semaphore(0), threading.Semaphore(0)
        self._error: BaseException | None = None
        self._is_over = self._is_closed = False
        life.on_heartbeat = self._stand_still
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()
        self._wait()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> None:
        if self._is_over:
            raise StopIteration
        self._go.release()
        self._wait()
        if self._is_over:
            raise StopIteration

    def close(self) -> None:
        """Stop the loop, and wait for its end."""
        self._is_closed = True
        self._life.stop.set()
        self._go.release()
        self._thread.join(SECONDS)
        assert not self._thread.is_alive()

    def _wait(self) -> None:
        assert self._arrived.acquire(timeout=SECONDS), "the loop does not come to a heartbeat"
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _work(self) -> None:
        try:
            with self._opened as self.loop:
                self._stand_still()
                self.loop.run()
        except BaseException as error:  # raised again by the step
            self._error = error
        finally:
            self._is_over = True
            self._arrived.release()

    def _stand_still(self) -> None:
        if not self._is_closed:
            self._arrived.release()
            self._go.acquire()
