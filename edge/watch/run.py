"""`watch`, composed: models, ledger, decoders, loop; released in reverse order at the end."""

import os
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial

from edge.daemon.lifecycle import Lifecycle, Stopped
from edge.daemon.session import DaemonSettings, open_session
from edge.errors import SourceError, printable
from edge.inference.retrying import RetryingClassifier
from edge.inference.router import Router
from edge.process.forkserver import start_server
from edge.sources.filters import Names
from edge.sources.folder import Folder
from edge.stats import Stats
from edge.watch.answers import Answers
from edge.watch.decode_pool import PRELOADED, DecodeLimits, DecodePool, usual_count
from edge.watch.error_report import ErrorReport
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

    @property
    def is_recursive(self) -> bool:
        return self.recursive


def watch(settings: WatchSettings, life: Lifecycle) -> Stats:
    """Watch a folder until stopped or, with `life.once`, until every file is answered.

    Raises:
        EdgeDetectError: the work cannot start or go on.
    """
    stats, root, commands = Stats(), os.path.realpath(settings.folder), settings.commands
    sorter = _sorter(settings.sort_into, root)
    open_folder = partial(
        Folder,
        settings.folder,
        settings.recursive,
        Names(settings.include, settings.exclude),
        except_folder=sorter.directory if sorter else None,
        poll_seconds=settings.poll,
    )
    if not life.is_service:
        open_folder()  # a wrong folder is reported before anything starts
    start_server(PRELOADED)
    with suppress(Stopped), ExitStack() as stack:
        router = life.at_start(lambda: _ready(settings.router(), every_model=settings.reclassify))
        stack.callback(router.close)  # so that a run with reloaded settings can open the Coral
        session = stack.enter_context(open_session(settings, root, commands, life, stats))
        networks = [RetryingClassifier(one, once=life.once) for one in _side_by_side(router)]
        answers = Answers(session.recorder.ledger, root, networks[0], reclassify=settings.reclassify)
        limits = DecodeLimits(seconds=settings.decode_seconds)
        decoders = stack.enter_context(DecodePool(settings.workers or usual_count(), root, router.inputs, limits))
        inference = stack.enter_context(InferencePool(networks))
        errors = ErrorReport(session.write, once=life.once)
        session.run(WatchLoop(session.recorder, open_folder, answers, decoders, inference, errors, sorter))
    return stats


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
