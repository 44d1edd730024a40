"""Photos with the photo model, a part of python -m tests.benchmarks.photos, which defines what is measured here."""

import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from edge.benchmark import subprocesses
from edge.benchmark.rounds import Timing, measure, steps
from edge.imaging import crops, heic, heif_grid, preprocess, turning
from edge.imaging import views as imaging_views
from edge.imaging.views import Views, taken_lazily
from edge.inference.classifier import Classifier
from edge.inference.model import bundled_paths, described, load
from tests.benchmarks import views
from tests.benchmarks.tables import markdown, rounded
from tests.conftest import environment

try:
    import pillow_heif
except ModuleNotFoundError:
    pillow_heif = None

# Megapixels -> (width, height); the largest consists of copies of the one before, which is as much work.
SIZES = {2: (1632, 1224), 12: (4032, 3024), 48: (8064, 6048)}
OTHERS = {  # than JPEG: how they are saved, all of 12 megapixels
    "PNG": (".png", {}),
    "HEIC": (".heic", {"quality": 60, "tile_size": 512, "enc_params": {"preset": "fast"}}),
    "WebP": (".webp", {"quality": 85}),
}
HEIC_THREADS = pillow_heif.options.DECODE_THREADS if pillow_heif else 0  # before we change it
LEAST_SHARE, LEAST_RATIO = 0.85, 3
LEAST_SECONDS, MOST_BYTES = 3, 500_000_000  # of the photos that `watch` gets


@dataclass(frozen=True)
class Kind:
    """Photos that are measured together.

    Attributes:
        name: format and megapixels.
    """

    name: str
    paths: tuple[Path, ...]


@dataclass(frozen=True)
class Measured:
    """Results for a kind.

    Attributes:
        views: number of views that are judged, on average.
        watch_rate: photos a second of `watch` on all cores.
        watch_peak: memory of all processes of `watch` together, bytes.
        nbytes: size of a file, on average.
        peaks: memory of one process beyond that with all libraries loaded, bytes: ours and plain.
    """

    kind: Kind
    timings: dict[str, Timing]
    views: float
    watch_rate: float
    watch_peak: int
    nbytes: float
    peaks: tuple[int, int]

    @property
    def limits(self) -> list[float]:
        """Photos a second, of each round."""
        return [
            1 / (one.seconds / one.images + self.views * two.seconds / two.images)
            for one, two in zip(self.timings["decode"].rounds, self.timings["invoke"].rounds, strict=True)
        ]

    def rates(self, way: str) -> list[float]:
        return [turn.images / turn.seconds for turn in self.timings[way].rounds]

    @property
    def share(self) -> float:
        """Of the limit: the median of the rounds."""
        return statistics.median(a / b for a, b in zip(self.rates("ours"), self.limits, strict=True))


def photo_model() -> Classifier:
    """The first bundled model that is shown views."""
    return Classifier(load(next(path for path in bundled_paths() if (one := described(path)) and one.views)))


def generated(folder: Path, megapixels: Sequence[int]) -> Iterator[Kind]:
    """Photos of each kind, as much work for a decoder as sharp ones; each kind is written when it is asked for."""
    for millions in megapixels:
        if millions == max(SIZES):
            once = np.asarray(views.detailed_picture(SIZES[12], 0))
            picture = Image.fromarray(np.tile(once, (2, 2, 1)))
        else:
            picture = views.detailed_picture(SIZES[millions], 0)
        formats: dict[str, tuple[str, dict[str, Any]]] = {"JPEG": (".jpg", {"quality": 90})}
        for name, (suffix, options) in (formats | (OTHERS if millions == 12 else {})).items():
            if name == "HEIC":
                if pillow_heif is None or not pillow_heif.libheif_info()["HEIF"]:
                    continue
                pillow_heif.register_heif_opener()
            path = folder / f"{millions}{suffix}"
            picture.save(path, **options)
            yield Kind(f"{name} {millions}", (path,))
            path.unlink()


def given(folder: Path) -> Iterator[Kind]:
    """Photos of a folder, by format."""
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in preprocess.SUFFIXES:
            found.setdefault(path.suffix.lower().removeprefix("."), []).append(path)
    for suffix, paths in found.items():
        yield Kind(f"yours, {suffix}", tuple(paths[: views.COUNT]))


def ours(classifier: Classifier, path: Path) -> int:
    """Returns how many views were judged."""
    lazy = taken_lazily(path, None, lambda _: (classifier.views, classifier.size))
    verdict = classifier.verdict(str(path), lazy.first(), lazy.own_size, 0.0, further=lazy.further, explain=True)
    return len(verdict.explain or ())


def plain(classifier: Classifier, path: Path) -> None:
    """As anyone would write it."""
    assert classifier.views is not None
    if path.suffix in heic.SUFFIXES:
        pillow_heif.register_heif_opener(decode_threads=HEIC_THREADS)
    classifier.judge(views.plain(str(path), classifier.views, classifier.size))


class Least:
    """The least decoding that the judged views of a photo need."""

    def __init__(self, classifier: Classifier, path: Path, judged: int) -> None:
        wanted, size = classifier.views, classifier.size
        assert wanted is not None
        self._data, self._path = preprocess.read(path), path
        with preprocess.loaded(path, self._data, lambda own: _least_side(own, wanted)) as picture:
            orientation, stored = picture.orientation, picture.image.size
            working = turning.as_stored(imaging_views.working_size(picture.own_size, wanted), orientation)
            cuts = imaging_views.plan(picture.own_size, wanted, size)[:judged]
            self._side = _least_side(picture.own_size, wanted)
        factor = 1 if stored == working else 1 << imaging_views.halvings(picture.own_size, wanted)
        self._factor, self._size = factor, turning.as_stored(size, orientation)
        boxes = [crops.box_of(cut, size, orientation, working) for cut in cuts]
        left, top, right, bottom = crops.bounds(boxes, self._size, working)
        read = left * factor, top * factor, min(right * factor, stored[0]), min(bottom * factor, stored[1])
        start = 0, 0
        if picture.image.format == "HEIF" and (part := heif_grid.part(self._data, read)):
            self._data, start = part.data, (part.left, part.top)
        self._read = read[0] - start[0], read[1] - start[1], read[2] - start[0], read[3] - start[1]
        moved = (left, top) if factor > 1 else start
        self._boxes = [tuple(edge - moved[axis % 2] for axis, edge in enumerate(box)) for box in boxes]

    def __call__(self) -> int:
        with self._opened() as image:
            if image.format == "JPEG":
                image.draft("RGB", (self._side, self._side))
            image.load()
            halved = image.reduce(self._factor, self._read) if self._factor > 1 else image
            for box in self._boxes:
                halved.resize(self._size, preprocess.RESAMPLING, box)
        return 1

    def _opened(self) -> Image.Image:
        if self._path.suffix in heic.SUFFIXES:
            pillow_heif.options.DECODE_THREADS = 0
            return pillow_heif.HeifImageFile(BytesIO(self._data))
        return Image.open(BytesIO(self._data))


def _least_side(own_size: tuple[int, int], wanted: Views) -> int:
    return min(own_size) >> imaging_views.halvings(own_size, wanted)


def measured(classifier: Classifier, kind: Kind, rounds: int, seconds: float) -> Measured:
    """Measure everything in turn.

    Args:
        seconds: for each way, over all rounds.
    """
    judged = [ours(classifier, path) for path in kind.paths]
    least = [Least(classifier, path, number) for path, number in zip(kind.paths, judged, strict=True)]
    files, other_files, decoding = cycle(kind.paths), cycle(kind.paths), cycle(least)

    def invoke() -> int:
        classifier.interpreter.invoke()
        return 1

    def one(way: Callable[[Classifier, Path], Any], turn: Iterator[Path]) -> Callable[[], int]:
        def step() -> int:
            way(classifier, next(turn))
            return 1

        return step

    ways = {
        "ours": steps(one(ours, files)),
        "decode": steps(lambda: next(decoding)()),
        "invoke": steps(invoke),
        "plain": steps(one(plain, other_files)),
    }
    timings = measure(ways, seconds, rounds)
    rate, peak = _watch(kind, timings["ours"].per_second, seconds)
    peaks = _peak("ours", kind.paths), _peak("plain", kind.paths)
    nbytes = statistics.mean(path.stat().st_size for path in kind.paths)
    return Measured(kind, timings, statistics.mean(judged), rate, peak, nbytes, peaks)


def _watch(kind: Kind, rate: float, seconds: float) -> tuple[float, int]:
    """Photos a second of `watch` without its start, and the memory of all its processes in bytes.

    Answers are printed in groups, so the times of two whole runs are compared, with one photo for each core and with
    many; the faster of two counts.
    """
    cores = len(os.sched_getaffinity(0))
    nbytes = sum(path.stat().st_size for path in kind.paths) / len(kind.paths)
    number = min(round(rate * cores * max(seconds, LEAST_SECONDS)), round(MOST_BYTES / nbytes))
    number = max(4 * cores, number)
    with tempfile.TemporaryDirectory() as name:
        few, many = Path(name) / "few", Path(name) / "many"
        _copy(kind, few, cores)
        _copy(kind, many, number)

        def run(folder: Path, *, sampled: bool = False) -> subprocesses.ProcessTiming:
            with tempfile.TemporaryDirectory(dir=name) as state:
                words = subprocesses.edge_detect("watch", folder, "--once", "--json", "--state", state)
                return subprocesses.run(words, sampled=sampled)

        peak = run(many, sampled=True).peak_bytes
        start, whole = (min(run(folder).seconds for _ in range(2)) for folder in (few, many))
    return (number - cores) / (whole - start) if whole > start else math.nan, peak


def _copy(kind: Kind, folder: Path, number: int) -> None:
    """Copies with different bytes behind the end, which no decoder reads: equal files would share one answer."""
    folder.mkdir()
    for place, path in zip(range(number), cycle(kind.paths), strict=False):
        ending = b"\0\0\0\x10free%08d" % place  # as a box of HEIC
        (folder / f"{place:06}{path.suffix}").write_bytes(path.read_bytes() + ending)


def _peak(way: str, paths: Sequence[Path]) -> int:
    """Memory of a process of its own, beyond that with all libraries loaded, in bytes."""
    words = [sys.executable, "-m", __name__, way, *map(str, paths)]
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=environment())
    return int(json.loads(done.stdout))


def _own_peak(way: str, paths: Sequence[str]) -> int:
    classifier = photo_model()
    Image.init()

    def nbytes(name: str) -> int:
        status = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(f"{name}:"))

    before = nbytes("VmRSS")
    for path in paths:
        {"ours": ours, "plain": plain}[way](classifier, Path(path))
    return nbytes("VmHWM") - before


def report(kinds: Iterator[Kind], rounds: int, seconds: float) -> str:
    """A paragraph and two tables."""
    classifier = photo_model()
    found = [measured(classifier, kind, rounds, seconds) for kind in kinds]
    limit_rows: list[list[str]] = []
    plain_rows: list[list[str]] = []
    reasons = []
    for one in found:
        ours_, plain_ = one.timings["ours"], one.timings["plain"]
        limit = statistics.median(one.limits)
        spread = f"{min(one.rates('ours')):.3g}-{max(one.rates('ours')):.3g}"
        row = one.kind.name, rounded(one.nbytes / 1e6), f"{one.views:.3g}", rounded(ours_.per_second), spread
        cost = rounded(ours_.cpu_seconds * 1000), rounded(one.peaks[0] / 1e6)
        limit_rows.append([*row, rounded(limit), f"{one.share:.2f}", *cost])
        ratio, times = one.watch_rate / plain_.per_second, plain_.cpu_seconds / ours_.cpu_seconds
        cost = rounded(plain_.cpu_seconds * 1000), rounded(one.peaks[1] / 1e6), rounded(times)
        watched = rounded(one.watch_rate), rounded(ratio), rounded(one.watch_peak / 1e6)
        plain_rows.append([one.kind.name, rounded(plain_.per_second), *cost, *watched])
        if not ratio >= LEAST_RATIO or not one.share >= LEAST_SHARE:
            decoding = one.timings["decode"].cpu_seconds
            reasons.append(
                f"- {one.kind.name}: the least decoding takes {decoding * 1000:.0f} ms of processor time, that is"
                f" {decoding / ours_.cpu_seconds:.0%} of ours and {decoding / plain_.cpu_seconds:.0%} of the plain way."
            )
    below = f"Below {LEAST_RATIO} times the plain loop, or below {LEAST_SHARE} of the limit:"
    limit_heading = ("kind and megapixels", "MB", "views judged", "ours, photos/s", "rounds", "limit", "share")
    plain_heading = ("kind and megapixels", "plain, photos/s", "CPU ms, plain", "MB at the peak, plain")
    return "\n\n".join(
        [
            markdown((*limit_heading, "CPU ms, ours", "MB at the peak, ours"), limit_rows),
            markdown(
                (*plain_heading, "CPU, plain : ours", "watch, photos/s", "watch : plain", "MB at the peak, watch"),
                plain_rows,
            ),
            *(["\n".join([below, "", *reasons])] if reasons else []),
        ]
    )


if __name__ == "__main__":
    print(json.dumps(_own_peak(sys.argv[1], sys.argv[2:])))
