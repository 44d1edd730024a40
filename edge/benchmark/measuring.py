"""All of it, put together."""

import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from edge.benchmark import machine, stages
from edge.benchmark.decoding import Decoding
from edge.benchmark.pictures import Workload, generated, of_folder
from edge.benchmark.report import Network, OfWorkload, Report
from edge.benchmark.rounds import Timing, measure, steps
from edge.benchmark.stages import Bare, Stages
from edge.benchmark.whole import Limit, backlogs, nearest_folder, start_up
from edge.classifier import Classifier
from edge.errors import printable
from edge.interpreter import installed
from edge.model import is_compiled
from edge.record.ledger import Ledger

WATCH_ROUNDS = 2
WATCH_SHARE = 0.6  # of the limit: what `watch` is taken to reach, to choose how many images it gets

Say = Callable[[str], None]


@dataclass(frozen=True)
class Setup:
    """What is measured.

    Attributes:
        threads: the numbers of the network's threads to try, in rising order.
        network: makes one with so many.
        options: of a command line of ours, for the same.
        folder: with images; None makes some.
        state: on the disk of this folder the record is tried; nothing is left there.
        seconds: for each thing.
    """

    threads: Sequence[int]
    network: Callable[[int], Classifier]
    options: Callable[[int], list[str]]
    runtime: str | None
    folder: Path | None
    state: Path
    seconds: float

    @property
    def disk(self) -> Path:
        return nearest_folder(self.state)


@dataclass(frozen=True)
class _Inside:
    """What was measured within this process."""

    model: Path
    size: tuple[int, int]
    is_compiled: bool
    invoke: dict[int, Timing]
    stages: list[tuple[dict[str, Timing], Timing]]  # of each workload; the second is decoding by all cores

    @property
    def fastest(self) -> int:
        return max(self.invoke, key=lambda threads: self.invoke[threads].per_second)


def benchmark(setup: Setup, say: Say) -> Report:
    """Measure this machine.

    Args:
        say: is told what is done, and why it may be worth less.

    Raises:
        BenchmarkError: there is no image to measure with, or one of our own commands failed.
    """
    with tempfile.TemporaryDirectory(prefix="edge-detect-benchmark-") as temporary:
        if setup.folder is None:
            say("no --images: generated pictures are measured")
            workloads = list(generated(Path(temporary)))
        else:
            workloads = [of_folder(setup.folder)]
        warnings = machine.warnings()
        for warning in warnings:
            say(f"warning: {warning}")
        here = machine.machine()
        inside = _inside(setup, workloads, here.cores, say)
        # The networks are gone: a Coral, say, has one user at a time, and what follows are processes of their own.
        done = [
            _whole(setup, workload, measured, inside, here.cores, say)
            for workload, measured in zip(workloads, inside.stages, strict=True)
        ]
        say("the start")
        name, one = installed(setup.runtime), workloads[0].paths[0]
        rounds = max(1, round(setup.seconds * 10))
        start = start_up(
            one, [] if inside.is_compiled else [inside.model], setup.options(min(setup.threads)), name, rounds
        )
    warnings += [found for found in machine.throttling() if found not in warnings]  # it may have become hot
    network = Network(printable(inside.model.name), name, version(name))
    return Report(here, network, warnings, inside.invoke, start, done)


def _inside(setup: Setup, workloads: Sequence[Workload], cores: int, say: Say) -> _Inside:
    networks = {threads: setup.network(threads) for threads in setup.threads}
    say("the network")
    bare = {threads: steps(Bare(network).invoke) for threads, network in networks.items()}
    invoke = measure(bare, setup.seconds)
    first = networks[min(networks)]
    measured = []
    for workload in workloads:
        say(f"{workload.name}: step by step")
        measured.append(_stages(workload, first, cores, setup))
    for network in networks.values():
        network.close()
    return _Inside(first.model.path, first.size, is_compiled(first.model.content), invoke, measured)


def _stages(workload: Workload, network: Classifier, cores: int, setup: Setup) -> tuple[dict[str, Timing], Timing]:
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(dir=setup.disk, prefix=".edge-detect-benchmark-"))
        ledger = stack.enter_context(Ledger(Path(folder)))
        decoding = stack.enter_context(Decoding(workload.paths, network.size, cores))
        step = Stages(workload.paths, network, ledger)
        ways = {
            stages.READ: steps(step.read),
            stages.DECODE: steps(step.decode),
            stages.QUANTISE: steps(step.quantise),
            stages.INVOKE: steps(step.invoke),
            stages.RECORD: steps(step.record),
            stages.TOGETHER: steps(step.together),
            "decoding": decoding.round,
        }
        timings = measure(ways, setup.seconds)
    all_cores = timings.pop("decoding")
    return timings, all_cores


def _whole(
    setup: Setup, workload: Workload, measured: tuple[dict[str, Timing], Timing], inside: _Inside, cores: int, say: Say
) -> OfWorkload:
    say(f"{workload.name}: watch --once")
    timings, decoding = measured
    tried = sorted({min(setup.threads), inside.fastest})
    limit = min(decoding.per_second, inside.invoke[inside.fastest].per_second)
    count = round(limit * WATCH_SHARE * 2 * setup.seconds)
    settings = [setup.options(threads) for threads in tried]
    with Decoding(workload.paths, inside.size, cores) as all_cores:
        way = {"": all_cores.round}

        def limits() -> Limit:
            network = setup.network(inside.fastest)
            invoke = {"": steps(Bare(network).invoke)}
            turns = [measure(one, setup.seconds / 2, 1)[""].per_second for one in (way, invoke)]
            del invoke
            network.close()  # for `watch` to take it
            return Limit(*turns)

        found, reached = backlogs(workload, count, settings, limits, setup.disk, WATCH_ROUNDS)
    watched = dict(zip(tried, found, strict=True))
    return OfWorkload(workload.name, len(workload.paths), workload.bad, timings, decoding, watched, reached)
