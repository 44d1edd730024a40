"""Delivers answers from the ledger to the sinks: each once, also across sink failures and restarts."""

import logging
import threading
from pathlib import Path

from edge.delivery.hooks import Command
from edge.delivery.stdout import Sink
from edge.errors import CommandStoppedError, EdgeDetectError, NotRunnableError, SinkError, printable
from edge.retry import Backoff
from edge.store.ledger import Ledger
from edge.verdict import Recorded

_log = logging.getLogger(__name__)

ATTEMPTS = 3  # at a command for one answer
LOOK_SECONDS = 60.0  # between two looks of a command's thread, for what was recorded while the ledger was locked


class Outlet:
    """Delivers to a quick sink, between two rounds of work.

    Attributes:
        name: under which the ledger knows it.
        backoff: after a failure of the sink, the time of the next attempt.
    """

    def __init__(self, ledger: Ledger, folder: str, sink: Sink) -> None:
        self._ledger, self._folder, self._sink = ledger, folder, sink
        self._accepted: tuple[tuple[int, int], int] | None = None  # which ledger's answers the sink has, up to which
        self.name = sink.name
        self.backoff = Backoff("; it receives pending answers on retry")
        ledger.subscribe(folder, sink.name)

    def deliver(self, *, at_once: bool = False) -> bool:
        """Tell it some of what it has not been recorded, unless it has just failed; returns whether there may be more.

        Args:
            at_once: also if it has just failed, and raise if it fails again.
        """
        if not (at_once or self.backoff.is_due):
            return False
        self._note()  # of the last delivery, if the ledger failed just then: else answers would be emitted twice
        batch = self._ledger.undelivered(self._folder, self._sink.name)
        if not batch:
            self.backoff.succeeded()
            return False
        try:
            self._sink.emit(batch)
        except SinkError as error:
            if error.delivered is not None:  # the sink took a part of the batch
                self._accepted = self._ledger.identity, error.delivered
                self._note()
            if at_once:
                raise
            self.backoff.failed(error)
            return False
        self._accepted = self._ledger.identity, batch[-1].id
        self._note()
        return True

    def _note(self) -> None:
        if self._accepted and self._accepted[0] == self._ledger.identity:
            self._ledger.mark_delivered(self._folder, self._sink.name, self._accepted[1])
        self._accepted = None


class CommandOutlet:
    """A command of the user's, which may be slow: it runs in a thread, one answer after the other.

    Attributes:
        name: under which the ledger knows it.
        backoff: after a failed start of the command, the time of the next attempt.
        failed: answers for which it was given up until the next start.
    """

    def __init__(self, state: Path, folder: str, command: Command) -> None:
        self._state, self._folder, self._command = state, folder, command
        self._wake, self._stop, self._finish = threading.Event(), threading.Event(), threading.Event()
        self._ledger: Ledger | None = None
        # Which ledger's answer it was run for at last, and whether that worked: so that it is known if noting fails.
        self._done: tuple[tuple[tuple[int, int], int], bool] | None = None
        self.name = command.name
        self.failed = 0
        self.backoff = Backoff()
        with Ledger(state, check="") as ledger:
            ledger.subscribe(folder, command.name)
        self._thread = threading.Thread(target=self._run, name=command.name, daemon=True)
        self._thread.start()

    def deliver(self) -> None:
        """There are new answers."""
        self._wake.set()

    def end(self, *, finish: bool) -> None:
        """Let the thread end: after all answers, to `finish`; else at once, the command that runs being ended too.

        The next start delivers what was not delivered.
        """
        (self._finish if finish else self._stop).set()
        self._wake.set()

    def has_ended(self, seconds: float) -> bool:
        """Wait up to `seconds` for the thread to end."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        self._wake.set()  # there may be something from before
        is_first = True
        while not self._stop.wait(self.backoff.seconds_left):
            self._wake.wait(LOOK_SECONDS if not self.backoff.reason else 0)
            self._wake.clear()
            is_last = self._finish.is_set()
            try:
                self._deliver(again=is_first)
                is_first = False
                self.backoff.succeeded()
            except EdgeDetectError as error:
                self._close()
                self.backoff.failed(error)
            except Exception as error:  # a thread that dies does so in silence
                self._close()
                self.backoff.failed(SinkError(f"{printable(self._command.words[0])}: {type(error).__name__}: {error}"))
            if is_last:
                break
        self._close()

    def _close(self) -> None:
        if self._ledger:
            self._ledger.close()
        self._ledger = None

    def _deliver(self, *, again: bool) -> None:
        """
        Args:
            again: also what was given up by a former run.
        """
        if self._ledger and not self._ledger.is_there:
            self._close()
        self._ledger = self._ledger or Ledger(self._state, check="")
        while batch := self._ledger.undelivered(self._folder, self.name):
            for recorded in batch:
                if self._stop.is_set() or (self._command.wants(recorded) and self._has_run(recorded, ATTEMPTS) is None):
                    return
                self._ledger.mark_delivered(self._folder, self.name, recorded.id)
        last = 0
        while again and (batch := self._ledger.given_up(self._folder, self.name, last)):
            for recorded in batch:
                if self._stop.is_set() or self._has_run(recorded, 1) is None:
                    return
                last = recorded.id

    def _has_run(self, recorded: Recorded, attempts: int) -> bool | None:
        """Run the command until it succeeds, or is given up until the next start; None if we are to end before."""
        assert self._ledger
        this = self._ledger.identity, recorded.id
        if self._done is None or self._done[0] != this:  # else only the noting of it has failed
            has_run = self._attempted(recorded, attempts)
            if has_run is None:
                return None
            self._done = this, has_run
        self._ledger.give_up(self._folder, self.name, recorded.id, for_now=not self._done[1])
        return self._done[1]

    def _attempted(self, recorded: Recorded, attempts: int) -> bool | None:
        backoff = Backoff(f" ({printable(recorded.answer.path)})")
        while attempts:
            if self._stop.wait(backoff.seconds_left):
                return None
            try:
                self._command.run(recorded, self._stop)
                return True
            except CommandStoppedError:
                return None
            except NotRunnableError as error:  # which is no fault of the answer's: all others wait as well
                self.backoff.failed(error)
                if self._finish.is_set() or self._stop.wait(self.backoff.seconds_left):
                    return None
            except SinkError as error:
                backoff.failed(error)
                attempts -= 1
        self.failed += 1
        _log.warning("given up until the next start: %s (%s)", backoff.reason, printable(recorded.answer.path))
        return False
