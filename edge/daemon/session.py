"""The ledger, sinks, status socket and terminal of one run, opened together and closed at its end."""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from edge import __version__
from edge.daemon.console import Progress
from edge.daemon.lifecycle import Lifecycle
from edge.daemon.recorder import Recorder
from edge.daemon.status import StatusServer
from edge.delivery.hooks import Command
from edge.delivery.jsonl import JsonLog
from edge.delivery.outbox import CommandOutlet, Outlet
from edge.delivery.stdout import Lines, Output, Sink
from edge.inference.router import Router
from edge.stats import Stats
from edge.store.ledger import Ledger
from edge.store.state import alone
from edge.verdict import Failure

HEARTBEAT_SECONDS = 0.02  # from one heartbeat that is acted upon to the next; a recording has more frames


@dataclass(frozen=True, kw_only=True)
class DaemonSettings:
    """What `watch` and `camera` share; names and meanings are those of the commands' options.

    Attributes:
        router: makes the router.
        lines: where answers and errors are written to.
        as_json: whether a program reads the lines, so that nothing else is printed for a person.
    """

    router: Callable[[], Router]
    state: Path
    lines: Lines
    as_json: bool = False
    log: Path | None = None
    on_fake: str | None = None
    on_verdict: str | None = None
    command_seconds: float = 60.0

    @property
    def is_recursive(self) -> bool:
        """Whether the sub-folders of a watched folder are watched too."""
        return False

    @property
    def commands(self) -> list[Command]:
        """
        Raises:
            SinkError: one cannot be parsed as a command.
        """
        wanted = ((self.on_fake, "FAKE"), (self.on_verdict, None))
        return [Command(line, label, self.command_seconds) for line, label in wanted if line is not None]


class Work(Protocol):
    """A work loop, as a session runs it and reports its state."""

    @property
    def has_begun(self) -> bool:
        """Whether it runs, so that the start is complete and reloaded settings are confirmed."""

    @property
    def is_healthy(self) -> bool:
        """Whether it makes progress or knows why it does not; else the watchdog is to restart the service."""

    @property
    def trouble(self) -> str:
        """Present errors, joined; empty if there are none."""

    @property
    def summary(self) -> str:
        """A few words for the status line of systemd, beside the stats."""

    @property
    def fields(self) -> dict[str, Any]:
        """Its own JSON fields for `edge-detect status`."""

    @property
    def progress(self) -> str:
        """The line at the bottom of a terminal; empty for none."""

    def run(self) -> None:
        """Work until it is done or stopped."""


class Session:
    """One run of `watch` or `camera`.

    Attributes:
        stats: what it has answered.
        recorder: its ledger and outlets.
    """

    def __init__(
        self,
        settings: DaemonSettings,
        ledger: Ledger,
        root: str,
        commands: list[Command],
        life: Lifecycle,
        stats: Stats,
    ) -> None:
        self._progress = Progress(settings.lines, sys.stderr)
        sinks: list[Sink] = [Output(self._progress), *([JsonLog(settings.log)] if settings.log else [])]
        ledger.keep_subscribed(root, [*(sink.name for sink in sinks), *(command.name for command in commands)])
        quick = [Outlet(ledger, root, sink) for sink in sinks]
        self._commands = [CommandOutlet(settings.state, root, command) for command in commands]
        self._as_json, self._life, self._root = settings.as_json, life, root
        self._since, self._heartbeat_at = time.time(), float("-inf")
        self._server: StatusServer | None = None
        self.stats = stats
        self.recorder = Recorder(life, ledger, root, [*quick, *self._commands], stats)

    def write(self, failure: Failure) -> None:
        """Write to the output an error that is not in the ledger, because the file may be readable later.

        Raises:
            SinkError: it cannot be written.
        """
        self._progress.write(failure)

    def run(self, work: Work) -> None:
        """Run the loop with heartbeats, then let the user's commands end and print the summary.

        Raises:
            EdgeDetectError: the loop cannot start or go on.
        """
        with StatusServer(self._root) as self._server:
            self._life.on_heartbeat = partial(self._heartbeat, work)
            try:
                work.run()
            finally:
                self._progress.clear()
                self._end_commands()
                self._print_summary()

    def abandon(self) -> None:
        """End the command threads at once, because the work could not start."""
        for outlet in self._commands:
            outlet.end(finish=False)

    def _heartbeat(self, work: Work) -> None:
        if work.has_begun:
            self._life.ready()
        now = time.monotonic()
        if now - self._heartbeat_at < HEARTBEAT_SECONDS:
            return
        self._heartbeat_at = now
        self.stats.sample()
        self._progress.show(work.progress)
        if work.is_healthy:
            trouble = f"; {work.trouble}" if work.trouble else ""
            self._life.notifier.alive(f"{self.stats}, {work.summary}{trouble}")
        if self._server:
            self._server.serve(partial(self._status, work))

    def _status(self, work: Work) -> dict[str, Any]:
        return {
            "folder": self._root,
            "pid": os.getpid(),
            "version": __version__,
            "since": self._since,
            **self.stats.as_json(),
            **work.fields,
            "trouble": work.trouble or None,
        }

    def _end_commands(self) -> None:
        """Wait for the commands' threads: with `once` until they have handled all answers, unless stopped first."""
        life = self._life
        for outlet in self._commands:
            outlet.end(finish=life.once)
        while not all(outlet.has_ended(0.2) for outlet in self._commands):
            life.heartbeat()
            if life.stopping:
                self.abandon()

    def _print_summary(self) -> None:
        """Print the summary; with --json only after a stop or at a terminal."""
        self._progress.clear()
        life = self._life
        is_wanted = not self._as_json or life.stopping or sys.stderr.isatty()
        if (life.is_ready or life.stopping) and not life.reload and is_wanted:
            with contextlib.suppress(OSError):
                print(self.stats, file=sys.stderr, flush=True)


@contextlib.contextmanager
def open_session(
    settings: DaemonSettings, root: str, commands: list[Command], life: Lifecycle, stats: Stats
) -> Iterator[Session]:
    """Open the ledger and its outlets.

    Args:
        root: see `edge.daemon.recorder.Recorder`.

    Raises:
        LedgerError: the ledger cannot be used, and the start does not wait for it.
        BusyError: another process does the same work.
        Stopped: while waiting for the disk.
    """
    with ExitStack() as stack:
        ledger = stack.enter_context(life.at_start(lambda: Ledger(settings.state)))
        stack.enter_context(alone(settings.state, root, is_recursive=settings.is_recursive))
        session = Session(settings, ledger, root, commands, life, stats)
        stack.callback(session.abandon)
        yield session
