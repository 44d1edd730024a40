"""Measurements of whole commands: the start of `classify`, and the throughput of `watch`."""

import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edge.benchmark import subprocesses
from edge.benchmark.rounds import Spread
from edge.benchmark.workload import Workload, copies
from edge.inference.runtime import RUNTIMES

MOST_WATCHED = 10_000  # images
# Imports and loads what no classifier can do without.
NEEDED = (
    "import sys, numpy, PIL.Image, {0}.interpreter as runtime\n"
    "for model in sys.argv[1:]: runtime.Interpreter(model_path=model).allocate_tensors()"
)
FAILED = 1  # exit status of `watch --once` if an image could not be decoded


@dataclass(frozen=True)
class StartUp:
    """Median run times in seconds.

    Attributes:
        classify: of `edge-detect classify` with one image.
        needed: of a program that only imports numpy, Pillow and the runtime, and loads the model.
        help: of `edge-detect --help`.
        ratio: median over the rounds of `classify` divided by `needed`.
        least_ratio, greatest_ratio: of the rounds.
        cpu_ratio: the same median for processor time, which other programs change less.
        peak_bytes: memory of `classify`.
    """

    classify: float
    needed: float
    help: float
    ratio: float
    least_ratio: float
    greatest_ratio: float
    cpu_ratio: float
    peak_bytes: int


def start_up(path: str, models: Sequence[Path], model_options: Sequence[str], runtime: str, rounds: int) -> StartUp:
    """Run three programs in turn, after one round to warm up.

    All modules have byte code: that of our package is compiled before if its folder can be written to, and the first
    round compiles what else has none; see `subprocesses.compile_package`.

    Args:
        path: an image.
        models: what the program `needed` loads: the model, or nothing if the bare runtime cannot load it.
        model_options: options of `classify` that choose the model.
        runtime: a key of `edge.inference.runtime.RUNTIMES`.

    Raises:
        BenchmarkError: a program failed.
    """
    subprocesses.compile_package()
    classify = subprocesses.edge_detect("classify", path, *model_options)
    programs = {
        "classify": classify,
        "needed": [sys.executable, "-c", NEEDED.format(RUNTIMES[runtime]), *map(str, models)],
        "help": subprocesses.edge_detect("--help"),
    }
    peak = subprocesses.run(classify, sampled=True).peak_bytes
    taken: dict[str, list[subprocesses.ProcessTiming]] = {name: [] for name in programs}
    for turn in range(rounds + 1):
        for name, words in programs.items():
            done = subprocesses.run(words)
            if turn:
                taken[name].append(done)
    # Round by round: a machine that is slow for a while slows both programs of a round.
    pairs = list(zip(taken["classify"], taken["needed"], strict=True))
    ratio = Spread.of(ours.seconds / least.seconds for ours, least in pairs)
    cpu_ratio = statistics.median(ours.cpu_seconds / least.cpu_seconds for ours, least in pairs)
    medians = {name: statistics.median(one.seconds for one in timings) for name, timings in taken.items()}
    return StartUp(
        **medians,
        ratio=ratio.median,
        least_ratio=ratio.least,
        greatest_ratio=ratio.greatest,
        cpu_ratio=cpu_ratio,
        peak_bytes=peak,
    )


@dataclass(frozen=True)
class Backlog:
    """`watch --once` over a folder of new images.

    Attributes:
        images: in the folder.
        rates: images a second of each round, without the start of the program.
        start_seconds: median run time with a single image.
        cpu_seconds: processor time an image, of all its processes, without the start: the median of the rounds.
        peak_bytes: memory of all its processes together.
    """

    images: int
    rates: tuple[float, ...]
    start_seconds: float
    cpu_seconds: float
    peak_bytes: int

    @property
    def per_second(self) -> float:
        """Images a second: the median of the rounds."""
        return statistics.median(self.rates)


@dataclass(frozen=True)
class Limit:
    """The throughput that `watch` cannot exceed on a machine, in images a second.

    Every image has to be read and decoded once, and the network has to be invoked once for each view that it judges,
    on all cores together, and nothing else has to be done:

        cores / (seconds that decoding takes one core + views * seconds that an invocation takes one core)

    Both are measured in the same run as `watch`: decoding by all cores at once (`edge.benchmark.decoding`), an
    invocation by one bare interpreter. A Coral computes beside the cores: there the slower of the two is the limit.

    Attributes:
        decoding: images a second if all cores do nothing but read and decode.
        invoke: images a second of one bare interpreter that never waits for a view.
        cores: that may be used.
        threads: of the bare interpreter, which keeps as many cores busy.
        on_coral: whether a Coral computes instead of the cores.
    """

    decoding: float
    invoke: float
    cores: int = 1
    threads: int = 1
    on_coral: bool = False

    @property
    def per_second(self) -> float:
        if self.on_coral:
            return min(self.decoding, self.invoke)
        decode, invoke = self.cores / self.decoding, min(self.threads, self.cores) / self.invoke  # seconds of one core
        return self.cores / (decode + invoke)


@dataclass(frozen=True)
class Reached:
    """What `watch` reached, and the limit, measured in turn.

    Attributes:
        backlogs: `watch`, by set of options.
        limits: one for each round.
    """

    backlogs: tuple[Backlog, ...]
    limits: tuple[Limit, ...]

    @property
    def limit(self) -> Limit:
        """The limit by the medians of the rounds."""
        decoding, invoke = (
            statistics.median(values)
            for values in zip(*((one.decoding, one.invoke) for one in self.limits), strict=True)
        )
        return replace(self.limits[0], decoding=decoding, invoke=invoke)

    def share(self, backlog: Backlog) -> Spread:
        """The share of the limit that `watch` reached: each round beside the limit of the same round."""
        return Spread.of(rate / limit.per_second for rate, limit in zip(backlog.rates, self.limits, strict=True))


def backlogs(
    workload: Workload,
    count: int,
    settings: Sequence[Sequence[str]],
    limit: Callable[[], Limit],
    folder: Path,
    rounds: int,
) -> Reached:
    """Measure `watch` with several sets of options, and the limit, in turn.

    Args:
        count: number of images to answer, at least 2; fewer if they are large.
        settings: the sets of options.
        limit: measures the limit.
        folder: on the disk that the ledger is to be written to; gets a temporary folder.

    Raises:
        BenchmarkError: `watch` failed.
    """
    with tempfile.TemporaryDirectory(dir=folder, prefix=".edge-detect-benchmark-") as name:
        temporary = Path(name)
        images = copies(workload, temporary / "many", min(max(count, 2), MOST_WATCHED))
        copies(workload, temporary / "one", 1)

        def watch(what: str, options: Sequence[str], *, sampled: bool = False) -> subprocesses.ProcessTiming:
            with tempfile.TemporaryDirectory(dir=temporary) as state:
                words = subprocesses.edge_detect(
                    "watch", temporary / what, "--once", "--json", "--state", state, *options
                )
                return subprocesses.run(words, sampled=sampled, counts_children=True, may_end_with=(0, FAILED))

        peaks = [watch("many", options, sampled=True).peak_bytes for options in settings]
        starts: list[list[float]] = [[] for _ in settings]
        rates: list[list[float]] = [[] for _ in settings]
        cpu: list[list[float]] = [[] for _ in settings]
        limits = []
        for _ in range(rounds):
            limits.append(limit())
            for place, options in enumerate(settings):
                start, whole = watch("one", options), watch("many", options)
                starts[place].append(start.seconds)
                rates[place].append(_rate(images, start.seconds, whole.seconds))
                cpu[place].append(1 / _rate(images, start.cpu_seconds, whole.cpu_seconds))
    found = [
        Backlog(images, tuple(each), statistics.median(start), statistics.median(seconds), peak)
        for peak, start, each, seconds in zip(peaks, starts, rates, cpu, strict=True)
    ]
    return Reached(tuple(found), tuple(limits))


def _rate(images: int, start: float, whole: float) -> float:
    """Images a second without the start, from the seconds of a run with one image and of one with all."""
    # One image less: the run with a single image answered it. If both took as long, the start is unknown.
    return (images - 1) / (whole - start) if whole > start else images / max(whole, 1e-9)


def nearest_folder(path: Path) -> Path:
    """The folder, or the nearest one above it that can be written to: usually on the same disk."""
    path = Path(os.path.abspath(path))
    return next(folder for folder in (path, *path.parents) if folder.is_dir() and os.access(folder, os.W_OK | os.X_OK))
