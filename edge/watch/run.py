"""`watch`, composed: models, ledger, decoders, loop; released in reverse order at the end."""

import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

from edge import __version__
from edge.daemon.session import Console, DaemonSettings, open_session, with_retries
from edge.daemon.signals import Requests
from edge.daemon.systemd import Notifier
from edge.errors import MovedAwayError, SourceError, printable
from edge.inference.retrying import RetryingClassifier
from edge.inference.router import Router
from edge.process.forkserver import start_server
from edge.sources.filters import Names
from edge.sources.folder import Folder
from edge.stats import Stats
from edge.watch.decode_pool import PRELOADED, DecodeLimits, DecodePool, usual_count
from edge.watch.inference_pool import InferencePool
from edge.watch.loop import WatchLoop
from edge.watch.move import Sorter

MOST_NETWORKS = 4


@dataclass(frozen=True, kw_only=True)
class WatchSettings(DaemonSettings):
    """What decides how a folder is watched; the names and meanings are those of the command's options."""

    folder: str
    recursive: bool = False
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    poll: float | None = None
    sort_into: str | None = None
    decode_seconds: float = 30.0
    workers: int | None = None
    reclassify: bool = False


def watch(
    settings: WatchSettings, requests: Requests, notifier: Notifier, begun: Callable[[], None], *, once: bool
) -> Stats:
    """Watch a folder until we are asked to stop or, with `once`, until it is done.

    Args:
        begun: called once the folder is being watched.

    Raises:
        EdgeDetectError: it cannot begin, or not go on.
    """
    console, commands = Console(settings), settings.commands
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
        source()  # a wrong folder is reported before anything starts
    start_server(PRELOADED)
    with ExitStack() as stack:
        router = with_retries(
            lambda: _ready(settings.router(console.say), every_model=settings.reclassify), console, requests, notifier
        )
        if router is None:
            return Stats()
        stack.callback(router.close)  # so that a run with reloaded settings can open the Coral
        session = stack.enter_context(open_session(settings, real_root, commands, console, requests, notifier))
        if session is None:
            return Stats()
        networks = [RetryingClassifier(one, console.say, once=once) for one in _side_by_side(router)]
        limits = DecodeLimits(seconds=settings.decode_seconds)
        workers = stack.enter_context(DecodePool(settings.workers or usual_count(), real_root, router.inputs, limits))
        watcher = WatchLoop(
            settings.folder,
            source,
            networks[0],
            stack.enter_context(InferencePool(networks)),
            session.ledger,
            workers,
            session.outlets,
            emit_error=console.progress.write,
            say=console.say,
            alive=lambda: alive(),
            sorter=sorter,
            reclassify=settings.reclassify,
            is_patient=notifier.is_listening,
            once=once,
        )
        status = partial(_status, watcher, real_root, time.time())

        def alive() -> None:
            if watcher.is_healthy:
                notifier.alive(_summary(watcher))
            session.server.serve(status)

        try:
            is_begun = False
            for stats in watcher.run(requests.stop):
                if not is_begun and (watcher.is_watching or notifier.is_listening):
                    is_begun = True
                    begun()
                console.progress.show(str(stats))
                alive()
        except MovedAwayError as error:
            console.say(f"{error}; starting again there")
            requests.reload = True
        finally:
            console.progress.clear()
            session.end(requests, alive, finish=once)
            console.conclude(watcher.stats, requests)
        return watcher.stats


def _ready(router: Router, *, every_model: bool) -> Router:
    """The router with its first model loaded, and the files of the others checked.

    Args:
        every_model: load all models, so that the digest of each one's file is known.
    """
    for model in reversed(range(len(router.inputs) if every_model else 1)):
        router.classifier(model)
    router.check()
    return router


def _side_by_side(router: Router) -> list[Router]:
    """One router for each core, at most MOST_NETWORKS because each takes memory."""
    count = max(1, min(MOST_NETWORKS, len(os.sched_getaffinity(0)) // router.classifier().threads))
    others = [router.another() for _ in range(count - 1)]
    return [router, *(other for other in others if other is not None)]


def _sorter(directory: str | None, real_root: str) -> Sorter | None:
    if directory is None:
        return None
    sorter = Sorter(directory, real_root)
    if os.path.commonpath((sorter.directory, real_root)) == sorter.directory:
        raise SourceError(f"{printable(directory)}: cannot sort into the folder that is watched, or one above it")
    return sorter


def _summary(watcher: WatchLoop) -> str:
    trouble = f"; {watcher.trouble}" if watcher.trouble else ""
    return f"{watcher.stats}, {watcher.queue} waiting{trouble}"


def _status(watcher: WatchLoop, real_root: str, since: float) -> dict[str, Any]:
    stats = watcher.stats
    return {
        "folder": real_root,
        "pid": os.getpid(),
        "version": __version__,
        "since": since,
        **stats.as_json(),
        "waiting": watcher.queue,
        "trouble": watcher.trouble or None,
    }
