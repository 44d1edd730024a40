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

ATTEMPTS = 3  # runs of a command for one answer, before the delivery is given up until the next start
# Interval at which a command's thread looks into the ledger without being woken; if the ledger was locked at the last
# look, it may hold answers already.
POLL_SECONDS = 60.0


class Outlet:
    """Delivers answers to a sink that takes them quickly, from the thread of the work loop.

    Attributes:
        name: that of the sink.
        backoff: after a failure of the sink, the time of the next attempt.
    """

    def __init__(self, ledger: Ledger, folder: str, sink: Sink) -> None:
        self._ledger, self._folder, self._sink = ledger, folder, sink
        # The last answer that the sink has received and the ledger does not have as delivered yet, and which ledger's.
        self._unrecorded: tuple[tuple[int, int], int] | None = None
        self.name = sink.name
        self.backoff = Backoff("; it receives pending answers on retry")
        ledger.subscribe(folder, sink.name)

    def deliver(self, *, at_once: bool = False) -> bool:
        """Deliver one batch of pending answers, unless a failed sink has to wait for its next attempt.

        Args:
            at_once: do not wait, and raise an error of the sink instead of logging it.

        Returns:
            Whether more answers may be pending.

        Raises:
            LedgerError: the ledger cannot be read or written.
            SinkError: with `at_once`.
        """
        if not (at_once or self.backoff.is_due):
            return False
        self._mark_delivered()  # if the ledger failed after the last delivery; else its answers would be emitted twice
        batch = self._ledger.undelivered(self._folder, self._sink.name)
        if not batch:
            self.backoff.succeeded()
            return False
        try:
            self._sink.emit(batch)
        except SinkError as error:
            if error.delivered is not None:  # the sink has received a part of the batch
                self._unrecorded = self._ledger.identity, error.delivered
                self._mark_delivered()
            if at_once:
                raise
            self.backoff.failed(error)
            return False
        self._unrecorded = self._ledger.identity, batch[-1].id
        self._mark_delivered()
        return True

    def _mark_delivered(self) -> None:
        if self._unrecorded and self._unrecorded[0] == self._ledger.identity:
            self._ledger.mark_delivered(self._folder, self._sink.name, self._unrecorded[1])
        self._unrecorded = None


class CommandOutlet:
    """Runs a user's command for the answers, one after the other, in a thread of its own because it may be slow.

    Attributes:
        name: that of the command.
        backoff: if the command cannot be started, the time of the next attempt.
        failed: number of answers whose delivery was given up until the next start.
    """

    def __init__(self, state: Path, folder: str, command: Command) -> None:
        self._state, self._folder, self._command = state, folder, command
        self._wake, self._stop, self._finish = threading.Event(), threading.Event(), threading.Event()
        self._ledger: Ledger | None = None
        # The ledger and id of the last answer that the command ran for, and whether it succeeded: kept in case the
        # ledger fails to record that.
        self._last_run: tuple[tuple[tuple[int, int], int], bool] | None = None
        self.name = command.name
        self.failed = 0
        self.backoff = Backoff()
        with Ledger(state, check="") as ledger:
            ledger.subscribe(folder, command.name)
        self._thread = threading.Thread(target=self._run, name=command.name, daemon=True)
        self._thread.start()

    def deliver(self) -> None:
        """Wake the thread, because the ledger has new answers."""
        self._wake.set()

    def end(self, *, finish: bool) -> None:
        """Ask the thread to end. The next start delivers what is not delivered then.

        Args:
            finish: deliver all pending answers first; otherwise a running command is killed after its grace period.
        """
        (self._finish if finish else self._stop).set()
        self._wake.set()

    def has_ended(self, seconds: float) -> bool:
        """Wait up to `seconds` for the thread to end."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        self._wake.set()  # answers may be pending from a former run
        is_first = True
        while not self._stop.wait(self.backoff.seconds_left):
            self._wake.wait(POLL_SECONDS if not self.backoff.reason else 0)
            self._wake.clear()
            is_last = self._finish.is_set()
            try:
                self._deliver_new()
                if is_first:
                    self._deliver_given_up()
                is_first = False
                self.backoff.succeeded()
            except CommandStoppedError:
                break
            except EdgeDetectError as error:
                self._close()
                self.backoff.failed(error)
            except Exception as error:  # it would end the thread without a log line
                self._close()
                self.backoff.failed(SinkError(f"{printable(self._command.words[0])}: {type(error).__name__}: {error}"))
            if is_last:
                break
        self._close()

    def _close(self) -> None:
        if self._ledger:
            self._ledger.close()
        self._ledger = None

    def _deliver_new(self) -> None:
        """Run the command for all answers that it has not received.

        Raises:
            CommandStoppedError: the thread has to end first.
            EdgeDetectError: the ledger cannot be used.
        """
        if self._ledger and not self._ledger.is_there:
            self._close()
        self._ledger = self._ledger or Ledger(self._state, check="")
        while batch := self._ledger.undelivered(self._folder, self.name):
            for recorded in batch:
                if self._stop.is_set():
                    raise CommandStoppedError
                if self._command.matches(recorded):
                    self._run_command(self._ledger, recorded, ATTEMPTS)
                self._ledger.mark_delivered(self._folder, self.name, recorded.id)

    def _deliver_given_up(self) -> None:
        """Run the command once more for each answer that a former run has given up; raises as `_deliver_new`."""
        assert self._ledger
        last = 0
        while batch := self._ledger.given_up(self._folder, self.name, last):
            for recorded in batch:
                if self._stop.is_set():
                    raise CommandStoppedError
                self._run_command(self._ledger, recorded, 1)
                last = recorded.id

    def _run_command(self, ledger: Ledger, recorded: Recorded, attempts: int) -> None:
        """Run the command until it succeeds or all attempts have failed, and record which of the two in the ledger.

        Raises:
            CommandStoppedError: the thread has to end first.
            LedgerError: the result cannot be recorded; the next call for the same answer only repeats that.
        """
        this = ledger.identity, recorded.id
        if self._last_run is None or self._last_run[0] != this:
            self._last_run = this, self._has_succeeded(recorded, attempts)
        ledger.give_up(self._folder, self.name, recorded.id, for_now=not self._last_run[1])

    def _has_succeeded(self, recorded: Recorded, attempts: int) -> bool:
        backoff = Backoff(f" ({printable(recorded.answer.path)})")
        while attempts:
            if self._stop.wait(backoff.seconds_left):
                raise CommandStoppedError
            try:
                self._command.run(recorded, self._stop)
                return True
            except (
                NotRunnableError
            ) as error:  # it concerns all answers, so it is not counted as an attempt for this one
                self.backoff.failed(error)
                if self._finish.is_set() or self._stop.wait(self.backoff.seconds_left):
                    raise CommandStoppedError from error
            except SinkError as error:
                backoff.failed(error)
                attempts -= 1
        self.failed += 1
        _log.warning("given up until the next start: %s (%s)", backoff.reason, printable(recorded.answer.path))
        return False
