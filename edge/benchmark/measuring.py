"""All of it, put together."""

import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path

from edge.benchmark import machine, stages
from edge.benchmark.decoding import Decoding
from edge.benchmark.pictures import Workload, generated, of_folder
from edge.benchmark.report import Network, OfWorkload, Report
from edge.benchmark.rounds import ROUNDS, Timing, measure, steps
from edge.benchmark.stages import Bare, Stages
from edge.benchmark.whole import backlogs, nearest_folder, start_up
from edge.classifier import Classifier
from edge.errors import printable
from edge.interpreter import installed
from edge.ledger import Ledger

WATCH_ROUNDS = 2
WATCH_SHARE = 0.6  # of the limit: what `watch` is taken to reach, to choose how many images it gets


def benchmark(
    networks: dict[int, Classifier],
    model_options: Callable[[int], list[str]],
    runtime: str | None,
    folder: Path | None,
    state: Path,
    seconds: float,
    say: Callable[[str], None],
) -> Report:
    """Measure this machine.

    Args:
        networks: by the number of threads to try.
        model_options: of a command line, for a number of threads.
        folder: with images; None makes some.
        state: on the disk of this folder the record is tried; nothing is left there.
        seconds: for each thing that is measured.
        say: is told what is done, and why it may be worth less.

    Raises:
        BenchmarkError: there is no image to measure with, or one of our own commands failed.
    """
    warnings = machine.warnings()
    for warning in warnings:
        say(f"warning: {warning}")
    here, first = machine.machine(), networks[min(networks)]
    with ExitStack() as stack:
        temporary = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edge-detect-benchmark-")))
        disk = nearest_folder(state)
        if folder is None:
            say("no --images: generated pictures are measured")
            chosen: Iterable[Workload] = generated(temporary)
        else:
            chosen = [of_folder(folder, first.size)]
        say("the network")
        bare = measure({threads: steps(Bare(network).invoke) for threads, network in networks.items()}, seconds)
        fastest = max(bare, key=lambda threads: bare[threads].per_second)
        tried = sorted({min(networks), fastest})
        done, one = [], ""
        for workload in chosen:
            one = one or workload.paths[0]
            say(workload.name)
            done.append(_of_workload(workload, first, bare[fastest], tried, model_options, here.cores, disk, seconds))
        say("the start")
        name = installed(runtime)
        start = start_up(one, first.model.path, model_options(min(networks)), name, rounds=max(1, round(seconds * 10)))
    warnings += [found for found in machine.throttling() if found not in warnings]  # it may have become hot
    model = printable(first.model.path.name)
    return Report(here, Network(model, name, version(name)), warnings, bare, start, done)


def _of_workload(
    workload: Workload,
    network: Classifier,
    bare: Timing,
    tried: Sequence[int],
    model_options: Callable[[int], list[str]],
    cores: int,
    disk: Path,
    seconds: float,
) -> OfWorkload:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=disk, prefix=".edge-detect-benchmark-")))
        ledger = stack.enter_context(Ledger(folder))
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
        timings = measure(ways, seconds, ROUNDS)
    all_cores = timings.pop("decoding")
    limit = min(all_cores.per_second, bare.per_second)
    count = round(limit * WATCH_SHARE * 2 * seconds)
    settings = [model_options(threads) for threads in tried]
    found = backlogs(workload, count, settings, disk, WATCH_ROUNDS)
    measured = dict(zip(tried, found, strict=True))
    return OfWorkload(workload.name, len(workload.paths), workload.bad, timings, all_cores, measured)
