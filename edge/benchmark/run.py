"""The whole benchmark: within this process, then as commands."""

import logging
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from edge.benchmark import machine, stages
from edge.benchmark.commands import Limit, backlogs, nearest_folder, start_up
from edge.benchmark.decoding import Decoding
from edge.benchmark.report import Report, Runtime, WorkloadReport
from edge.benchmark.rounds import Timing, measure, steps
from edge.benchmark.stages import BareInterpreter, Stages
from edge.benchmark.subprocesses import compile_package
from edge.benchmark.workload import Workload, generated, of_folder
from edge.errors import printable
from edge.inference.model import is_compiled
from edge.inference.router import Router
from edge.inference.runtime import installed
from edge.store.ledger import Ledger

WATCH_ROUNDS = 3
WATCH_SHARE = 0.8  # of the limit: a guess of what `watch` reaches, to choose the number of its images

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Setup:
    """What is measured.

    Attributes:
        threads: numbers of the network's threads to try, ascending.
        router: makes the models for a number of threads.
        options: the options of `edge-detect` for a number of threads.
        runtime: name of the LiteRT runtime; None: the first that is installed.
        folder: with images; None: images are generated.
        state: a folder on the disk where ledger writes are measured; nothing is left there.
        seconds: duration of each measurement.
    """

    threads: Sequence[int]
    router: Callable[[int], Router]
    options: Callable[[int], list[str]]
    runtime: str | None
    folder: Path | None
    state: Path
    seconds: float

    @property
    def disk(self) -> Path:
        return nearest_folder(self.state)


@dataclass(frozen=True)
class _InProcess:
    """Measurements within this process, with the images of one workload; see `WorkloadReport`.

    Attributes:
        model: its file.
        is_compiled: whether it is compiled for the Edge TPU.
        on_coral: whether a Coral runs it.
    """

    model: Path
    is_compiled: bool
    on_coral: bool
    invoke: dict[int, Timing]
    stages: dict[str, Timing]
    decoding: Timing
    views: float

    @property
    def fastest(self) -> int:
        return max(self.invoke, key=lambda threads: self.invoke[threads].per_second)

    def limit(self, cores: int, decoding: float, invoke: float, threads: int) -> Limit:
        """See `Limit`.

        Args:
            decoding: images a second of all cores.
            invoke: views a second of one bare interpreter with so many threads.
        """
        return Limit(decoding, invoke / self.views, cores, threads, self.on_coral)

    def thriftiest(self, cores: int) -> int:
        """The number of threads with which an invocation takes the least time of all cores together."""
        return min(self.invoke, key=lambda threads: min(threads, cores) / self.invoke[threads].per_second)


def benchmark(setup: Setup) -> Report:
    """Measure this machine; the progress is logged.

    Raises:
        BenchmarkError: there is no image to measure with, or a command failed.
    """
    with tempfile.TemporaryDirectory(prefix="edge-detect-benchmark-") as temporary:
        routers = {threads: setup.router(threads) for threads in setup.threads}
        first = routers[min(routers)]
        if setup.folder is None:
            _log.warning("no --images: measuring generated pictures")
            workloads = list(generated(Path(temporary), first.choose))
        else:
            workloads = of_folder(setup.folder, first.choose)
        warnings = machine.warnings()
        if not compile_package():
            warnings.append("the folder of the package cannot be written to: modules without byte code start slowly")
        for warning in warnings:
            _log.warning("warning: %s", warning)
        here = machine.machine()
        inside = _in_process(setup, routers, workloads, here.cores)
        # The networks are closed: a Coral has one user at a time, and what follows runs in other processes.
        reports = [
            _report(setup, workload, measured, here.cores) for workload, measured in zip(workloads, inside, strict=True)
        ]
        _log.info("start of the command")
        name, one = installed(setup.runtime), workloads[0].paths[0]
        rounds = max(1, round(setup.seconds * 10))
        needed = [] if inside[0].is_compiled else [inside[0].model]
        start = start_up(one, needed, setup.options(min(setup.threads)), name, rounds)
    warnings += [found for found in machine.throttling() if found not in warnings]  # the board may have become hot
    return Report(here, Runtime(name, version(name)), warnings, start, reports)


def _in_process(
    setup: Setup, routers: dict[int, Router], workloads: Sequence[Workload], cores: int
) -> list[_InProcess]:
    invoke: dict[int, dict[int, Timing]] = {}
    measured = []
    for workload in workloads:
        model, router = workload.input.model, routers[min(routers)]
        if model not in invoke:
            _log.info("the network%s", "" if len(router.inputs) == 1 else f" {_name(router, model)}")
            invoke[model] = _invoke(setup, routers, model)
        _log.info("%s: step by step", workload.name)
        stages, views = _stages(workload, router, cores, setup)
        decoding, classifier = stages.pop("decoding"), router.classifier(model)
        kind = is_compiled(classifier.model.content), classifier.uses_delegate
        measured.append(_InProcess(classifier.model.path, *kind, invoke[model], stages, decoding, views))
    for router in routers.values():
        router.close()
    return measured


def _name(router: Router, model: int) -> str:
    return printable(router.classifier(model).model.path.name)


def _invoke(setup: Setup, routers: dict[int, Router], model: int) -> dict[int, Timing]:
    """The bare network by number of threads; no interpreter is referred to any more when this returns."""
    bare = {threads: steps(BareInterpreter(router.classifier(model)).invoke) for threads, router in routers.items()}
    return measure(bare, setup.seconds)


def _stages(workload: Workload, router: Router, cores: int, setup: Setup) -> tuple[dict[str, Timing], float]:
    """Timings of the stages and of `decoding`, and the average number of views of an image."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(dir=setup.disk, prefix=".edge-detect-benchmark-"))
        ledger = stack.enter_context(Ledger(Path(folder)))
        decoding = stack.enter_context(Decoding(workload.paths, workload.input, cores))
        step = Stages(workload, router, ledger)
        ways = {
            stages.READ: steps(step.read),
            stages.DECODE: steps(step.decode),
            stages.QUANTISE: steps(step.quantise),
            stages.INVOKE: steps(step.invoke),
            stages.RECORD: steps(step.record),
            stages.TOGETHER: steps(step.together),
            "decoding": decoding.round,
        }
        return measure(ways, setup.seconds), step.views


def _report(setup: Setup, workload: Workload, inside: _InProcess, cores: int) -> WorkloadReport:
    _log.info("%s: watch --once", workload.name)
    tried, one = sorted({min(setup.threads), inside.fastest}), inside.thriftiest(cores)
    expected = inside.limit(cores, inside.decoding.per_second, inside.invoke[one].per_second, one)
    count = round(WATCH_SHARE * expected.per_second * 2 * setup.seconds)
    settings = [setup.options(threads) for threads in tried]
    with Decoding(workload.paths, workload.input, cores) as all_cores:

        def measured_limit() -> Limit:
            decoding = measure({"": all_cores.round}, setup.seconds / 2, 1)[""]
            router = setup.router(one)
            invoke = _invoke_once(router, workload.input.model, setup.seconds / 2)
            router.close()  # a Coral is free for `watch` then
            return inside.limit(cores, decoding.per_second, invoke.per_second, one)

        reached = backlogs(workload, count, settings, measured_limit, setup.disk, WATCH_ROUNDS)
    most = len(workload.input.views.weights) if workload.input.views else 1
    return WorkloadReport(
        name=workload.name,
        model=printable(inside.model.name),
        images=len(workload.paths),
        bad=workload.bad,
        views=inside.views,
        most_views=most,
        invoke=inside.invoke,
        stages=inside.stages,
        decoding=inside.decoding,
        backlogs=dict(zip(tried, reached.backlogs, strict=True)),
        reached=reached,
    )


def _invoke_once(router: Router, model: int, seconds: float) -> Timing:
    return measure({"": steps(BareInterpreter(router.classifier(model)).invoke)}, seconds, 1)[""]
