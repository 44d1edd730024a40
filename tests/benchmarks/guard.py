"""Whether anything has become slower: python -m tests.benchmarks.guard, or make bench

Ratios of times in one run, which another machine or a busy hour changes little,
beside those in ratios.json. Each is measured several times, all in turn; the
median counts, and the table shows the least and the greatest too. A ratio that
is worse by more than the tolerance is measured again; if it stays so, it is
reported and the exit status is 1. With --update the file is written again.
Nothing of this runs in `make test`.
"""

import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from PIL import Image

from edge.benchmark.commands import Limit, backlogs, start_up
from edge.benchmark.decoding import Decoding
from edge.benchmark.machine import machine
from edge.benchmark.rounds import Spread, Timing, Way, measure, steps
from edge.benchmark.stages import BareInterpreter
from edge.benchmark.subprocesses import compile_package
from edge.benchmark.workload import Workload, save
from edge.imaging import preprocess
from edge.imaging.inputs import Input
from edge.imaging.preprocess import Pixels
from edge.imaging.views import Size
from edge.inference.classifier import Classifier
from edge.inference.model import Views, load
from edge.inference.router import router
from edge.inference.runtime import installed
from edge.provenance.read import evidence
from tests.benchmarks import views
from tests.benchmarks.tables import markdown, where

STORED = Path(__file__).with_name("ratios.json")
THUMBNAILS = 100
SECONDS = 0.8  # of each of two ways that are compared, in each turn
TURNS = 5
STARTS = 4  # in each turn, after one to warm up
IMAGES = 10_000  # that `watch` answers in each turn
Values = dict[str, float]
Measurements = dict[tuple[str, ...], Callable[[], Iterable[float]]]


@dataclass(frozen=True)
class Kept:
    """A ratio that is compared.

    Attributes:
        about: in words, for the table.
        is_better: when it is "higher" or "lower".
        tolerance: the share by which it may become worse.
        goal: what it is meant to reach one day, or None.
    """

    about: str
    is_better: str
    tolerance: float
    goal: float | None = None

    def is_worse(self, value: float, stored: float, tolerance: float | None = None) -> bool:
        tolerance = self.tolerance if tolerance is None else tolerance
        if self.is_better == "higher":
            return value < stored * (1 - tolerance)
        return value > stored * (1 + tolerance)


KEPT = {
    "backlog": Kept(
        "`watch --once` on thumbnails : all cores that decode each once and invoke the bare network once, rates",
        "higher",
        0.3,
        0.9,
    ),
    "start": Kept("`classify` one image : loading the libraries and the model", "lower", 0.2, 1.15),
    "help": Kept("`--help` : loading the libraries and the model", "lower", 0.25),
    "photos": Kept("decoding a JPEG of 12 megapixels : the plain way, rates", "higher", 0.3, 4.0),
    "views": Kept("views of a JPEG of 12 megapixels : the plain way, rates", "higher", 0.3, 2.0),
    "network": Kept("the bare network : `classify` without its start, rates; what is lost around it", "lower", 0.3),
    "provenance": Kept(
        "reading what a thumbnail says of itself : `classify` without its start, times; a share", "lower", 0.5
    ),
    "memory": Kept("`watch --once` on thumbnails, MB in all its processes at once", "lower", 0.2),
}


@click.command()
@click.option("--update", is_flag=True, help="Store what is measured.")
@click.option("--attempts", default=3, show_default=True, help="For a ratio that is worse.")
@click.option("--stored", default=STORED, type=click.Path(path_type=Path), help="Another file than ratios.json.")
@click.option("--turns", default=TURNS, show_default=True, type=click.IntRange(1), help="Times to measure each ratio.")
def main(update: bool, attempts: int, stored: Path, turns: int) -> None:
    """Measure the ratios and compare them with the stored ones."""
    known: Values = {} if update else json.loads(stored.read_text())["ratios"]
    if not compile_package():
        raise click.ClickException("the package's folder cannot be written to: without byte code nothing is measured")
    with tempfile.TemporaryDirectory() as name:
        measured = _measured(Path(name), known, 1 if update else attempts, turns)
    rows = []
    for name, kept in KEPT.items():
        before, goal, now = known.get(name), "" if kept.goal is None else f"{kept.goal:g}", measured[name]
        verdict = "" if before is None else "worse" if kept.is_worse(now.median, before) else "as good"
        figures = (now.median, now.least, now.greatest)
        rows.append(
            [
                kept.about,
                *(f"{value:.2f}" for value in figures),
                "" if before is None else f"{before:.2f}",
                goal,
                verdict,
            ]
        )
    click.echo(where())
    click.echo()
    click.echo(markdown(("ratio", "now", "least", "greatest", "stored", "goal", ""), rows))
    if update:
        here = machine()
        about = {"board": here.board, "cores": here.cores, "architecture": here.architecture, "runtime": installed()}
        ratios = {name: round(spread.median, 3) for name, spread in measured.items()}
        stored.write_text(json.dumps({"machine": about, "ratios": ratios}, indent=1) + "\n")
    worse = [name for name, before in known.items() if KEPT[name].is_worse(measured[name].median, before)]
    if worse:
        click.echo(f"worse than in {stored.name}: {', '.join(worse)}", err=True)
        sys.exit(1)


def _measured(folder: Path, known: Values, attempts: int, turns: int) -> dict[str, Spread]:
    thumbnails = []
    for number in range(THUMBNAILS):
        save(folder / f"{number}.jpg", (32, 32), seed=number)
        thumbnails.append(str(folder / f"{number}.jpg"))
    (folder / "large").mkdir()
    photo = folder / "large" / "photo.jpg"
    save(photo, (4000, 3000))
    measurements: Measurements = {
        ("backlog", "memory"): lambda: _backlog(Workload("thumbnails", tuple(thumbnails))),
        ("start", "help"): lambda: _start(thumbnails[0]),
        ("photos",): lambda: _photos(photo),
        ("views",): lambda: _views(photo),
        ("network",): lambda: _network(thumbnails),
        ("provenance",): lambda: _provenance(thumbnails),
    }
    measured: dict[str, Spread] = {}
    for _ in range(attempts):
        for name, spread in _in_turn(measurements, turns).items():
            is_better = name not in measured or not KEPT[name].is_worse(spread.median, measured[name].median, 0.0)
            measured[name] = spread if is_better else measured[name]
        worse = {name for name, before in known.items() if KEPT[name].is_worse(measured[name].median, before)}
        measurements = {names: way for names, way in measurements.items() if worse.intersection(names)}
        if not measurements:
            break
    return measured


def _in_turn(measurements: Measurements, turns: int) -> dict[str, Spread]:
    """All measurements in turn, several times: a busy minute changes one value of each, and no median."""
    found: dict[str, list[float]] = {name: [] for names in measurements for name in names}
    for _ in range(turns):
        for names, measurement in measurements.items():
            for name, value in zip(names, measurement(), strict=True):
                found[name].append(value)
    return {name: Spread.of(values) for name, values in found.items()}


def _backlog(workload: Workload) -> tuple[float, float]:
    """The share of the limit (`edge.benchmark.commands.Limit`), and memory in MB."""
    network = Classifier(load())
    input_, cores = Input(0, network.size), machine().cores
    with tempfile.TemporaryDirectory() as name, Decoding(workload.paths, input_, cores) as decoding:

        def limit() -> Limit:
            ways = {"decoding": decoding.round, "invoke": steps(BareInterpreter(network).invoke)}
            decoded, invoked = measure(ways, SECONDS, 3).values()
            return Limit(decoded.per_second, invoked.per_second, cores)

        reached = backlogs(workload, IMAGES, [[]], limit, Path(name), 1)
    (found,) = reached.backlogs
    return reached.share(found).median, found.peak_bytes / 1e6


def _start(path: str) -> tuple[float, float]:
    model = load()
    start = start_up(path, [model.path], [], installed(), STARTS)
    return start.ratio, start.help / start.needed


def _photos(photo: Path) -> tuple[float]:
    def ours() -> int:
        preprocess.pixels(photo, (32, 32))
        return 1

    def plain() -> int:
        with Image.open(photo) as picture:
            np.asarray(picture.convert("RGB").resize((32, 32), Image.Resampling.BICUBIC))
        return 1

    return (_ratio(measure({"ours": steps(ours), "plain": steps(plain)}, SECONDS, 1)),)


def _views(photo: Path) -> tuple[float]:
    wanted, size = views.photo_views()

    def way(take: Callable[[str, Views, Size], Pixels]) -> Way:
        def step() -> int:
            take(str(photo), wanted, size)
            return 1

        return steps(step)

    return (_ratio(measure({"ours": way(views.ours), "plain": way(views.plain)}, SECONDS, 1)),)


def _network(paths: list[str]) -> tuple[float]:
    network = Classifier(load())
    place = iter(range(10**9))

    def whole() -> int:
        network.answer(paths[next(place) % len(paths)])
        return 1

    return (_ratio(measure({"bare": steps(BareInterpreter(network).invoke), "whole": steps(whole)}, SECONDS, 2)),)


def _provenance(paths: list[str]) -> tuple[float]:
    models, contents = router(), [Path(path).read_bytes() for path in paths]
    place = iter(range(10**9))

    def whole() -> int:
        models.answer(paths[next(place) % len(paths)])
        return 1

    def part() -> int:
        evidence(contents[next(place) % len(contents)])
        return 1

    return (_ratio(measure({"whole": steps(whole), "part": steps(part)}, SECONDS, 2)),)


def _ratio(taken: dict[str, Timing]) -> float:
    """Of the rates of the first and the second, by the middle one of their turns side by side; medians within them."""
    one, other = taken.values()
    return statistics.median(
        statistics.median(b.each) / statistics.median(a.each) for a, b in zip(one.rounds, other.rounds, strict=True)
    )


if __name__ == "__main__":
    main()
