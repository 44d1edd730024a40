"""The results of a benchmark, as text and as JSON."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from edge.benchmark.commands import Backlog, Reached, StartUp
from edge.benchmark.machine import Machine
from edge.benchmark.rounds import Spread, Timing


@dataclass(frozen=True)
class Runtime:
    """The LiteRT runtime."""

    name: str
    version: str


@dataclass(frozen=True)
class WorkloadReport:
    """The results with one set of images, which all go to the same model.

    Attributes:
        model: name of its file.
        images: their number.
        bad: number of files that were left out because they cannot be decoded.
        views: average number of views of an image that the model judged.
        most_views: greatest possible number; all of these are decoded.
        invoke: one view by the bare interpreter, by number of threads.
        stages: by the names in `edge.benchmark.stages`.
        decoding: by all cores together.
        backlogs: `watch`, by the number of the network's threads.
        reached: the same backlogs, and the limit of each round.
    """

    name: str
    model: str
    images: int
    bad: int
    views: float
    most_views: int
    invoke: dict[int, Timing]
    stages: dict[str, Timing]
    decoding: Timing
    backlogs: dict[int, Backlog]
    reached: Reached

    @property
    def best(self) -> Backlog:
        return max(self.backlogs.values(), key=lambda backlog: backlog.per_second)

    @property
    def share(self) -> Spread:
        """The share of the limit that `watch` reaches."""
        return self.reached.share(self.best)


@dataclass(frozen=True)
class Report:
    """
    Attributes:
        warnings: reasons why the numbers may be unreliable.
        workloads: at least one.
    """

    machine: Machine
    runtime: Runtime
    warnings: list[str]
    start_up: StartUp
    workloads: list[WorkloadReport]

    @property
    def threads(self) -> int:
        """The best number of threads with the first images: the lowest within 5 % of the fastest."""
        backlogs = self.workloads[0].backlogs
        fastest = max(backlog.per_second for backlog in backlogs.values())
        return min(threads for threads, backlog in backlogs.items() if backlog.per_second >= 0.95 * fastest)

    def as_json(self) -> dict[str, Any]:
        """Times in seconds, rates in images or invocations a second, memory in bytes.

        `network` and `invoke` repeat those of the first workload.
        """
        first = self.workloads[0]
        return {
            "machine": asdict(self.machine),
            "network": {"model": first.model, "runtime": self.runtime.name, "version": self.runtime.version},
            "warnings": self.warnings,
            "invoke": _timings(first.invoke),
            "start_up": asdict(self.start_up),
            "workloads": [_workload(workload) for workload in self.workloads],
            "best_threads": self.threads,
        }


def text(report: Report) -> Iterator[str]:
    """The report as lines of text."""
    machine, runtime = report.machine, report.runtime
    invoke = {workload.model: workload.invoke for workload in report.workloads}
    yield f"{machine.board}, {_plural(machine.cores, 'core')}, {machine.architecture}, {machine.memory_mb} MB"
    yield f"{' and '.join(invoke)} on {runtime.name} {runtime.version}, Python {machine.python}"
    for workload in report.workloads:
        yield ""
        yield from _workload_text(workload)
    for model, timings in invoke.items():
        yield ""
        rows = [
            [str(threads), _ms(timing.median_seconds), _ms(timing.p95_seconds), _rate(timing.per_second)]
            for threads, timing in timings.items()
        ]
        yield from table([f"bare {model}, threads", "median ms", "95% ms", "views/s"], rows)
    yield ""
    start = report.start_up
    yield (
        f"classify one image, with the start: {start.classify:.2f} s, {start.ratio:.2f} times"
        f" ({start.least_ratio:.2f} to {start.greatest_ratio:.2f}) what it takes to load the libraries and the model,"
        f" {start.cpu_ratio:.2f} times by processor time; {start.peak_bytes / 1e6:.0f} MB; --help: {start.help:.2f} s"
    )
    yield f"best: --threads {report.threads}"


def _workload_text(workload: WorkloadReport) -> Iterator[str]:
    bad = f"; {_plural(workload.bad, 'bad one')} left out" if workload.bad else ""
    yield f"{workload.name}{bad}; by {workload.model}"
    timings = {**workload.stages, "decode, all cores": workload.decoding}
    rows = [
        [
            name,
            *map(_ms, (timing.median_seconds, timing.p95_seconds)),
            _rate(timing.per_second),
            _ms(timing.cpu_seconds),
        ]
        for name, timing in timings.items()
    ]
    for threads, backlog in workload.backlogs.items():
        name = f"watch --once --threads {threads}"
        rows.append([name, "", "", _rate(backlog.per_second), _ms(backlog.cpu_seconds)])
    yield from table(["", "median ms", "95% ms", "images/s", "CPU ms/image"], rows)
    if workload.most_views > 1:
        yield (
            f"views of an image: {workload.views:.1f} judged on average, {workload.most_views} decoded; quantise and"
            " invoke are of one view"
        )
    yield from _limit_text(workload)


def _limit_text(workload: WorkloadReport) -> Iterator[str]:
    limit, backlog, share = workload.reached.limit, workload.best, workload.share
    least, greatest = min(backlog.rates), max(backlog.rates)
    meaning = (
        "the slower of decoding by all cores and the Coral"
        if limit.on_coral
        else f"{_plural(limit.cores, 'core')} that decode every image and invoke the network once a view, and no more"
    )
    yield (
        f"watch reaches {share.median:.0%} ({share.least:.0%} to {share.greatest:.0%}) of the limit,"
        f" {_rate(limit.per_second)} images/s: {meaning}"
    )
    yield (
        f"watch, {_plural(len(backlog.rates), 'round')}: {_rate(backlog.per_second)} images/s"
        f" ({_rate(least)} to {_rate(greatest)}); {backlog.peak_bytes / 1e6:.0f} MB at most,"
        f" {_plural(backlog.images, 'image')}"
    )


def table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Lines of a table: the first column aligned to the left, the others to the right."""
    widths = [max(len(row[column]) for row in [heading, *rows]) for column in range(len(heading))]
    for row in [heading, *rows]:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        yield "  ".join(cells).rstrip()


def _workload(workload: WorkloadReport) -> dict[str, Any]:
    return {
        "name": workload.name,
        "model": workload.model,
        "images": workload.images,
        "bad": workload.bad,
        "views": workload.views,
        "most_views": workload.most_views,
        "invoke": _timings(workload.invoke),
        "stages": {name: _timing(timing) for name, timing in workload.stages.items()},
        "decoding": _timing(workload.decoding),
        "limit": _limit(workload.reached),
        "watch": {
            str(threads): asdict(backlog) | {"per_second": backlog.per_second}
            for threads, backlog in workload.backlogs.items()
        },
        "share_of_limit": workload.share.median,
        "share_least": workload.share.least,
        "share_greatest": workload.share.greatest,
    }


def _limit(reached: Reached) -> dict[str, Any]:
    """The limit by the medians of the rounds; `rates` are the limits of the rounds."""
    limit = reached.limit
    return asdict(limit) | {"per_second": limit.per_second, "rates": [one.per_second for one in reached.limits]}


def _timings(timings: dict[int, Timing]) -> dict[str, Any]:
    return {str(threads): _timing(timing) for threads, timing in timings.items()}


def _timing(timing: Timing) -> dict[str, float]:
    return {
        "median_seconds": timing.median_seconds,
        "p95_seconds": timing.p95_seconds,
        "per_second": timing.per_second,
        "cpu_seconds": timing.cpu_seconds,
    }


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.3f}" if seconds < 0.1 else f"{seconds * 1000:.1f}"


def _rate(per_second: float) -> str:
    return f"{per_second:.0f}" if per_second >= 100 else f"{per_second:.2f}"


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
