"""Everything that a watcher needs, put together, and taken apart again at its end."""

import contextlib
import os
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from edge import __version__
from edge.classifier import Classifier
from edge.daemon import Tally, Watcher
from edge.errors import CoralError, LedgerError, MovedAwayError, SourceError, printable
from edge.ledger import Ledger
from edge.moving import Sorter
from edge.outbox import CommandOutlet, Outlet
from edge.service.notify import Notifier
from edge.signals import Requests
from edge.sinks import journal
from edge.sinks.command import Command
from edge.sinks.lines import Lines, Output, Sink
from edge.sinks.log import JsonLog
from edge.sources.folder import Folder
from edge.sources.names import Names
from edge.state import alone
from edge.status import StatusServer
from edge.terminal import Progress
from edge.trouble import Say, Trouble
from edge.workers import Limits, Workers, usual_count

T = TypeVar("T")


@dataclass(frozen=True)
class Settings:
    """What decides how a folder is watched; the names and meanings are those of the command's options.

    Attributes:
        classifier: makes it; given a function that says what happens to its Coral.
        lines: where answers and errors are written to.
        as_json: whether a program reads the lines, and wants no others.
    """

    folder: str
    classifier: Callable[[Say], Classifier]
    state: Path
    lines: Lines
    as_json: bool = False
    recursive: bool = False
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    poll: float | None = None
    sort_into: str | None = None
    log: Path | None = None
    on_fake: str | None = None
    on_verdict: str | None = None
    command_seconds: float = 60.0
    decode_seconds: float = 30.0
    workers: int | None = None

    @property
    def commands(self) -> list[Command]:
        """
        Raises:
            SinkError: one cannot be read as a command.
        """
        wanted = ((self.on_fake, "FAKE"), (self.on_verdict, None))
        return [Command(line, label, self.command_seconds) for line, label in wanted if line is not None]


def watch(
    settings: Settings, requests: Requests, notifier: Notifier, begun: Callable[[], None], *, once: bool
) -> Tally:
    """Watch a folder until we are asked to stop or, with `once`, until it is done.

    Args:
        begun: called when the folder is being watched.

    Raises:
        EdgeDetectError: it cannot begin, or not go on.
    """
    progress = Progress(settings.lines, sys.stderr)
    warning = "<4>" if journal.takes(2) else ""  # sd-daemon(3)

    def say(line: str) -> None:
        progress.clear()
        with contextlib.suppress(OSError):  # nowhere left to say it, on a full disk say
            print(f"{warning}edge-detect: {line}", file=sys.stderr, flush=True)

    commands = settings.commands
    real_root = os.path.realpath(settings.folder)
    sorter = _sorter(settings.sort_into, real_root)
    source = partial(
        Folder,
        settings.folder,
        settings.recursive,
        Names(settings.include, settings.exclude),
        except_folder=sorter.directory if sorter else None,
        poll_seconds=settings.poll,
    )
    if not notifier.is_listening:
        source()  # an error of the user's should show before anything is begun
    sinks: list[Sink] = [Output(progress), *([JsonLog(settings.log)] if settings.log else [])]
    with ExitStack() as stack:
        network = _patiently(lambda: settings.classifier(say), requests, notifier, say)
        if network is None:
            return Tally()
        stack.callback(network.close)  # its Coral may be wanted by who is begun anew
        opened = _patiently(lambda: Ledger(settings.state), requests, notifier, say)
        if opened is None:
            return Tally()
        ledger = stack.enter_context(opened)
        stack.enter_context(alone(settings.state, real_root))
        limits = Limits(seconds=settings.decode_seconds)
        workers = stack.enter_context(Workers(settings.workers or usual_count(), real_root, network.size, limits))
        ledger.keep_subscribed(real_root, [*(sink.name for sink in sinks), *(command.name for command in commands)])
        outlets = [Outlet(ledger, real_root, sink, say) for sink in sinks]
        while ledger.remarks:
            say(ledger.remarks.pop(0))
        slow = [CommandOutlet(settings.state, real_root, command, say) for command in commands]
        server = stack.enter_context(StatusServer(real_root))
        watcher = Watcher(
            settings.folder,
            source,
            network,
            ledger,
            workers,
            [*outlets, *slow],
            tell=progress.write,
            say=say,
            alive=lambda: alive(),
            sorter=sorter,
            is_patient=notifier.is_listening,
        )
        status = partial(_status, watcher, real_root, time.time())

        def alive() -> None:
            notifier.alive(_summary(watcher))
            server.serve(status)

        try:
            is_begun = False
            for tally in watcher.run(requests.stop, once=once):
                if not is_begun and (watcher.is_watching or notifier.is_listening):
                    is_begun = True
                    begun()
                progress.show(str(tally))
                alive()
        except MovedAwayError as error:
            say(f"{error}; begun anew there")
            requests.reload = True
        finally:
            progress.clear()
            _end(slow, requests, alive, finish=once)
            # A program that reads our lines gets no others, unless someone stopped us and may wonder.
            if not requests.reload and (not settings.as_json or requests.stop.is_set() or sys.stderr.isatty()):
                with contextlib.suppress(OSError):
                    print(watcher.tally, file=sys.stderr, flush=True)
        return watcher.tally


def _patiently(make: Callable[[], T], requests: Requests, notifier: Notifier, say: Say) -> T | None:
    """What is made; a service waits for a disk that has room and can be written to, and for a Coral.

    None if it is stopped before.
    """
    trouble = Trouble(say, "; trying again")
    while True:
        try:
            made = make()
            trouble.over()
            return made
        except (LedgerError, CoralError) as error:
            if not notifier.is_listening:
                raise
            trouble.met(error)
        while not trouble.is_due:
            if requests.stop.wait(min(0.5, trouble.seconds_left)):
                return None
            notifier.ready()
            notifier.alive(trouble.reason)


def _end(outlets: list[CommandOutlet], requests: Requests, alive: Callable[[], None], *, finish: bool) -> None:
    """Let the commands' threads end, after all answers to `finish`, until we are asked to stop."""
    for outlet in outlets:
        outlet.end(finish=finish)
    while not all(outlet.has_ended(0.2) for outlet in outlets):
        alive()
        if requests.stop.is_set():
            for outlet in outlets:
                outlet.end(finish=False)


def _sorter(directory: str | None, real_root: str) -> Sorter | None:
    if directory is None:
        return None
    sorter = Sorter(directory, real_root)
    if os.path.commonpath((sorter.directory, real_root)) == sorter.directory:
        raise SourceError(f"{printable(directory)}: cannot sort into the folder that is watched, or one above it")
    return sorter


def _summary(watcher: Watcher) -> str:
    trouble = f"; {watcher.trouble}" if watcher.trouble else ""
    return f"{watcher.tally}, {watcher.queue} waiting{trouble}"


def _status(watcher: Watcher, real_root: str, since: float) -> dict[str, Any]:
    tally = watcher.tally
    return {
        "folder": real_root,
        "pid": os.getpid(),
        "version": __version__,
        "since": since,
        "labels": tally.labels,
        "failed": tally.failures,
        "answered_before": tally.known,
        "waiting": watcher.queue,
        "per_second": round(watcher.rate, 3),
        "last": tally.last.as_json() if tally.last else None,
        "last_error": tally.last_error.as_json() if tally.last_error else None,
        "trouble": watcher.trouble or None,
    }
