"""The commands as a user starts them: how long `classify` takes to its first verdict, how fast `watch` is."""

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

MOST_WATCHED = 4000
NEEDED = (
    "import sys, numpy, PIL.Image, {0}.interpreter as runtime\n"
    "for model in sys.argv[1:]: runtime.Interpreter(model_path=model).allocate_tensors()"
)
FAILED = 1  # the exit status if some image could not be decoded


@dataclass(frozen=True)
class StartUp:
    """Medians, in seconds.

    Attributes:
        classify: `edge-detect classify` of one image, from its start to its end.
        needed: a program that imports numpy, Pillow and the runtime and loads the model: no runner does without.
        help: `edge-detect --help`.
        ratio: of `classify` to `needed`, the middle one of the turns.
        peak_bytes: of `classify`.
    """

    classify: float
    needed: float
    help: float
    ratio: float
    peak_bytes: int


def start_up(path: str, models: Sequence[Path], model_options: Sequence[str], runtime: str, rounds: int) -> StartUp:
    """Three programs in turns, after one turn to warm up.

    Args:
        path: of an image.
        models: the one, or none if the bare runtime cannot load it.

    Raises:
        BenchmarkError: one of them failed.
    """
    classify = subprocesses.edge_detect("classify", path, *model_options)
    programs = {
        "classify": classify,
        "needed": [sys.executable, "-c", NEEDED.format(RUNTIMES[runtime]), *map(str, models)],
        "help": subprocesses.edge_detect("--help"),
    }
    peak = subprocesses.run(classify, watched=True).peak_bytes
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    for turn in range(rounds + 1):
        for name, words in programs.items():
            ran = subprocesses.run(words)
            if turn:
                seconds[name].append(ran.seconds)
    # Side by side, for what slows one turn down slows it all down.
    ratio = statistics.median(ours / least for ours, least in zip(seconds["classify"], seconds["needed"], strict=True))
    medians = {name: statistics.median(taken) for name, taken in seconds.items()}
    return StartUp(**medians, ratio=ratio, peak_bytes=peak)


@dataclass(frozen=True)
class Backlog:
    """`watch --once` over a folder that nobody has looked at before.

    Attributes:
        per_second: images, the start of the program left out.
        start_seconds: what it takes with a single image.
        cpu_seconds: an image, of all its processes.
        peak_bytes: of all its processes at once.
    """

    images: int
    per_second: float
    start_seconds: float
    cpu_seconds: float
    peak_bytes: int


@dataclass(frozen=True)
class Limit:
    """What no watcher can exceed, in images a second.

    Attributes:
        decoding: all cores decode, and do nothing else.
        invoke: the network is never kept waiting for a view.
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
    """One for each of some settings of `watch`, and the limit, in turns: the fastest of some rounds, for nothing makes
    any of them faster, and much makes them slower.

    Args:
        count: how many images to answer, at least 2; fewer if they are large.
        settings: options of the command.
        limit: measures it.
        folder: where to make a temporary folder, on the disk that the record is to be tried on.

    Raises:
        BenchmarkError: `watch` failed.
    """
    with tempfile.TemporaryDirectory(dir=folder, prefix=".edge-detect-benchmark-") as name:
        temporary = Path(name)
        images = copies(workload, temporary / "many", min(max(count, 2), MOST_WATCHED))
        copies(workload, temporary / "one", 1)

        def watched(what: str, options: Sequence[str], *, sampled: bool = False) -> subprocesses.Ran:
            with tempfile.TemporaryDirectory(dir=temporary) as state:
                words = subprocesses.edge_detect(
                    "watch", temporary / what, "--once", "--json", "--state", state, *options
                )
                return subprocesses.run(words, watched=sampled, may_end_with=(0, FAILED))

        sampled = [watched("many", options, sampled=True) for options in settings]
        one: list[list[float]] = [[] for _ in settings]
        many: list[list[float]] = [[] for _ in settings]
        limits = []
        for _ in range(rounds):
            limits.append(limit())
            for place, options in enumerate(settings):
                one[place].append(watched("one", options).seconds)
                many[place].append(watched("many", options).seconds)
    found = []
    for ran, first, all_ in zip(sampled, one, many, strict=True):
        start, whole = min(first), min(all_)
        # One image less, for the start has answered it; a start that took as long as the whole says nothing.
        per_second = (images - 1) / (whole - start) if whole > start else images / whole
        found.append(Backlog(images, per_second, start, ran.cpu_seconds / images, ran.peak_bytes))
    return found, Limit(max(one.decoding for one in limits), max(one.invoke for one in limits))


def nearest_folder(path: Path) -> Path:
    """The folder itself, or the first above it that is there: the same disk, as a rule."""
    path = Path(os.path.abspath(path))
    return next(folder for folder in (path, *path.parents) if folder.is_dir() and os.access(folder, os.W_OK | os.X_OK))
