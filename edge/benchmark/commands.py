"""Measurements of whole commands: the start of `classify`, and the throughput of `watch`."""

import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge.benchmark import subprocesses
from edge.benchmark.workload import Workload, copies
from edge.inference.runtime import RUNTIMES

MOST_WATCHED = 4000  # images
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
        peak_bytes: memory of `classify`.
    """

    classify: float
    needed: float
    help: float
    ratio: float
    peak_bytes: int


def start_up(path: str, models: Sequence[Path], model_options: Sequence[str], runtime: str, rounds: int) -> StartUp:
    """Run three programs in turn, after one round to warm up.

    Args:
        path: an image.
        models: what the program `needed` loads: the model, or nothing if the bare runtime cannot load it.
        model_options: options of `classify` that choose the model.
        runtime: a key of `edge.inference.runtime.RUNTIMES`.

    Raises:
        BenchmarkError: a program failed.
    """
    classify = subprocesses.edge_detect("classify", path, *model_options)
    programs = {
        "classify": classify,
        "needed": [sys.executable, "-c", NEEDED.format(RUNTIMES[runtime]), *map(str, models)],
        "help": subprocesses.edge_detect("--help"),
    }
    peak = subprocesses.run(classify, sampled=True).peak_bytes
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    for turn in range(rounds + 1):
        for name, words in programs.items():
            done = subprocesses.run(words)
            if turn:
                seconds[name].append(done.seconds)
    # Round by round: a machine that is slow for a while slows both programs of a round.
    ratio = statistics.median(ours / least for ours, least in zip(seconds["classify"], seconds["needed"], strict=True))
    medians = {name: statistics.median(taken) for name, taken in seconds.items()}
    return StartUp(**medians, ratio=ratio, peak_bytes=peak)


@dataclass(frozen=True)
class Backlog:
    """`watch --once` over a folder of new images.

    Attributes:
        images: in the folder.
        per_second: images a second, without the start of the program.
        start_seconds: run time with a single image.
        cpu_seconds: processor time an image, of all its processes.
        peak_bytes: memory of all its processes together.
    """

    images: int
    per_second: float
    start_seconds: float
    cpu_seconds: float
    peak_bytes: int


@dataclass(frozen=True)
class Limit:
    """Upper bounds of the throughput of `watch`, in images a second.

    Attributes:
        decoding: all cores do nothing but decode.
        invoke: the network never waits for a view.
    """

    decoding: float
    invoke: float

    @property
    def per_second(self) -> float:
        return min(self.decoding, self.invoke)


def backlogs(
    workload: Workload,
    count: int,
    settings: Sequence[Sequence[str]],
    limit: Callable[[], Limit],
    folder: Path,
    rounds: int,
) -> tuple[list[Backlog], Limit]:
    """Measure `watch` with several sets of options, and the limit, in turn.

    The fastest round counts: other programs make a round slower, and nothing makes one faster.

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
                return subprocesses.run(words, sampled=sampled, may_end_with=(0, FAILED))

        sampled = [watch("many", options, sampled=True) for options in settings]
        one: list[list[float]] = [[] for _ in settings]
        many: list[list[float]] = [[] for _ in settings]
        limits = []
        for _ in range(rounds):
            limits.append(limit())
            for place, options in enumerate(settings):
                one[place].append(watch("one", options).seconds)
                many[place].append(watch("many", options).seconds)
    found = []
    for timing, first, all_ in zip(sampled, one, many, strict=True):
        start, whole = min(first), min(all_)
        # One image less: the run with a single image answered it. If both took as long, the start is unknown.
        per_second = (images - 1) / (whole - start) if whole > start else images / whole
        found.append(Backlog(images, per_second, start, timing.cpu_seconds / images, timing.peak_bytes))
    return found, Limit(max(one.decoding for one in limits), max(one.invoke for one in limits))


def nearest_folder(path: Path) -> Path:
    """The folder, or the nearest one above it that can be written to: usually on the same disk."""
    path = Path(os.path.abspath(path))
    return next(folder for folder in (path, *path.parents) if folder.is_dir() and os.access(folder, os.W_OK | os.X_OK))
