"""The ledger, sinks and status socket of one run, opened together and closed at its end."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from edge.daemon.console import Progress
from edge.daemon.signals import Requests
from edge.daemon.status import StatusServer
from edge.daemon.systemd import Notifier
from edge.delivery import journal
from edge.delivery.hooks import Command
from edge.delivery.jsonl import JsonLog
from edge.delivery.outbox import CommandOutlet, Outlet
from edge.delivery.stdout import Lines, Output, Sink
from edge.errors import CoralError, LedgerError
from edge.inference.router import Router
from edge.retry import Backoff, Say
from edge.stats import Stats
from edge.store.ledger import Ledger
from edge.store.state import alone

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class DaemonSettings:
    """What a watcher and a camera share; the names and meanings are those of the commands' options.

    Attributes:
        router: makes it; given a function that says what happens to its Coral.
        lines: where answers and errors are written to.
        as_json: whether a program reads the lines, and wants no others.
    """

    router: Callable[[Say], Router]
    state: Path
    lines: Lines
    as_json: bool = False
    log: Path | None = None
    on_fake: str | None = None
    on_verdict: str | None = None
    command_seconds: float = 60.0

    @property
    def commands(self) -> list[Command]:
        """
        Raises:
            SinkError: one cannot be read as a command.
        """
        wanted = ((self.on_fake, "FAKE"), (self.on_verdict, None))
        return [Command(line, label, self.command_seconds) for line, label in wanted if line is not None]


class Console:
    """The run's messages on standard error, and its progress line.

    Attributes:
        progress: the answers' lines, with a line of progress below at a terminal.
    """

    def __init__(self, settings: DaemonSettings) -> None:
        self._as_json = settings.as_json
        self._warning = "<4>" if journal.takes(2) else ""  # sd-daemon(3)
        self.progress = Progress(settings.lines, sys.stderr)

    def say(self, line: str) -> None:
        """Log one line."""
        self.progress.clear()
        with contextlib.suppress(OSError):  # nowhere left to say it, on a full disk say
            print(f"{self._warning}edge-detect: {line}", file=sys.stderr, flush=True)

    def conclude(self, stats: Stats, requests: Requests) -> None:
        """Print the summary; with --json only after a stop or at a terminal."""
        self.progress.clear()
        if not requests.reload and (not self._as_json or requests.stop.is_set() or sys.stderr.isatty()):
            with contextlib.suppress(OSError):
                print(stats, file=sys.stderr, flush=True)


class Session:
    """The ledger of one run, its outlets, and its status socket.

    Attributes:
        ledger: open, and locked for this root.
        outlets: one for each sink and each command.
        server: answers `edge-detect status`.
    """

    def __init__(
        self, settings: DaemonSettings, ledger: Ledger, root: str, console: Console, commands: list[Command]
    ) -> None:
        sinks: list[Sink] = [Output(console.progress), *([JsonLog(settings.log)] if settings.log else [])]
        ledger.keep_subscribed(root, [*(sink.name for sink in sinks), *(command.name for command in commands)])
        quick = [Outlet(ledger, root, sink, console.say) for sink in sinks]
        while ledger.remarks:
            console.say(ledger.remarks.pop(0))
        self._slow = [CommandOutlet(settings.state, root, command, console.say) for command in commands]
        self.ledger = ledger
        self.outlets: list[Outlet | CommandOutlet] = [*quick, *self._slow]
        self.server = StatusServer(root)

    def abandon(self) -> None:
        """End the command threads at once, because the work could not start."""
        for outlet in self._slow:
            outlet.end(finish=False)

    def end(self, requests: Requests, alive: Callable[[], None], *, finish: bool) -> None:
        """Let the commands' threads end, after all answers to `finish`, until we are asked to stop."""
        for outlet in self._slow:
            outlet.end(finish=finish)
        while not all(outlet.has_ended(0.2) for outlet in self._slow):
            alive()
            if requests.stop.is_set():
                for outlet in self._slow:
                    outlet.end(finish=False)


@contextlib.contextmanager
def open_session(
    settings: DaemonSettings,
    root: str,
    commands: list[Command],
    console: Console,
    requests: Requests,
    notifier: Notifier,
) -> Iterator[Session | None]:
    """Open the ledger and its outlets; yields None if stopped while waiting for the disk.

    Args:
        root: see `edge.delivery.recorder.Recorder`.

    Raises:
        LedgerError: the ledger cannot be used, and we do not wait for it.
        BusyError: another process does the same work.
    """
    with ExitStack() as stack:
        ledger = with_retries(lambda: Ledger(settings.state), console, requests, notifier)
        if ledger is None:
            yield None
            return
        stack.enter_context(ledger)
        stack.enter_context(alone(settings.state, root))
        ready = Session(settings, ledger, root, console, commands)
        stack.callback(ready.abandon)
        stack.enter_context(ready.server)
        yield ready


def with_retries(make: Callable[[], T], console: Console, requests: Requests, notifier: Notifier) -> T | None:
    """Call `make`, retrying with back-off in a service; returns None if stopped first.

    A service waits until the Coral is there, or the disk has room and can be written to.

    Raises:
        LedgerError, CoralError: `make` failed, and this is no service.
    """
    backoff = Backoff(console.say, "; trying again")
    while True:
        try:
            made = make()
            backoff.succeeded()
            return made
        except (LedgerError, CoralError) as error:
            if not requests.is_patient:
                raise
            backoff.failed(error)
        while not backoff.is_due:
            if requests.stop.wait(min(0.5, backoff.seconds_left)):
                return None
            notifier.ready()
            notifier.alive(backoff.reason)
