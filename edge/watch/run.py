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
from edge.inference.runtime import module_name
from edge.process.forkserver import start_server
from edge.sources.filters import Names
from edge.sources.folder import Folder
from edge.stats import Stats
from edge.watch.answers import Answers
from edge.watch.decode_pool import PRELOADED, DecodePool, usual_count
from edge.watch.decode_worker import DecodeLimits
from edge.watch.error_report import ErrorReport
from edge.watch.inference_thread import InferenceThread
from edge.watch.loop import WatchLoop
from edge.watch.move import Sorter


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
    with suppress(Stopped), ExitStack() as stack:
        router = life.at_start(lambda: _ready(settings.router(), every_model=settings.reclassify))
        make_router = router.elsewhere()
        start_server(PRELOADED, *(_modules(router) if make_router else ()))
        stack.callback(router.close)  # so that a run with reloaded settings can open the Coral
        session = stack.enter_context(open_session(settings, root, commands, life, stats))
        network = RetryingClassifier(router, once=life.once)
        answers = Answers(session.recorder.ledger, root, network, reclassify=settings.reclassify)
        limits = DecodeLimits(seconds=settings.decode_seconds)
        count = settings.workers or (_core_count(router.threads) if make_router else usual_count())
        decoders = stack.enter_context(DecodePool(count, root, router.inputs, limits, make_router))
        inference = stack.enter_context(InferenceThread(None if make_router else network))
        errors = ErrorReport(session.write, once=life.once)
        session.run(WatchLoop(session.recorder, open_folder, answers, decoders, inference, errors, sorter))
    return stats


def _ready(router: Router, *, every_model: bool) -> Router:
    """The router with its files checked; with a Coral, or if one was asked for, also with its first model loaded.

    Args:
        every_model: with a Coral, load all models, so that the digest of each one's file is known.
    """
    if router.elsewhere() is None:
        for model in reversed(range(len(router.inputs) if every_model else 1)):
            router.classifier(model)
    router.check()
    return router


def _modules(router: Router) -> list[str]:
    """What each process that classifies imports: done once in the fork server, its memory is shared.

    Raises:
        RuntimeMissingError: see `edge.inference.runtime.module_name`.
    """
    return ["edge.inference.classifier", module_name(router.runtime)]


def _core_count(threads: int) -> int:
    """Number of networks with so many threads that keep all cores busy."""
    return max(1, len(os.sched_getaffinity(0)) // threads)


def _sorter(directory: str | None, real_root: str) -> Sorter | None:
    if directory is None:
        return None
    sorter = Sorter(directory, real_root)
    if os.path.commonpath((sorter.directory, real_root)) == sorter.directory:
        raise SourceError(f"{printable(directory)}: cannot sort into the folder that is watched, or one above it")
    return sorter
