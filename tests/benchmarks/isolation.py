"""What it costs to decode in processes of their own: python -m tests.benchmarks.isolation FOLDER

The same files, in turns: in one process without any isolation, in one process
of its own, and in as many as the watcher would start.
"""

import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import click

from edge.files import FileId
from edge.imaging.inputs import Input
from edge.sources.files import images
from edge.watch.decode import Task, decoded, provenance, read
from edge.watch.decode_pool import DecodePool, usual_count

INPUTS = (Input(0, (32, 32)),)


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--most", default=2000, show_default=True, help="Files in a round.")
@click.option("--rounds", default=5, show_default=True)
def main(folder: Path, most: int, rounds: int) -> None:
    """Images a second in each way, the median of some rounds."""
    paths = [path for path in images([str(folder)], recursive=True) if isinstance(path, str)][:most]
    tasks = [Task(path, FileId.of(os.stat(path)), 0) for path in paths]
    root = os.path.realpath(folder)

    def plain() -> None:
        for task in tasks:
            content = read(root, task)
            decoded(task, content, INPUTS, provenance(task, content))

    with DecodePool(1, root, INPUTS) as one, DecodePool(usual_count(), root, INPUTS) as all_:
        ways: dict[str, Callable[[], None]] = {
            "in the same process": plain,
            "in 1 process of its own": lambda: _by(one, tasks),
            f"in {usual_count()} processes": lambda: _by(all_, tasks),
        }
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for turn in range(rounds + 1):
            for name, way in ways.items():
                began = time.perf_counter()
                way()
                if turn:  # the first one warms up
                    seconds[name].append(time.perf_counter() - began)
    usual = statistics.median(seconds["in the same process"])
    click.echo(f"{len(tasks)} files, median of {rounds} rounds")
    for name, taken in seconds.items():
        median = statistics.median(taken)
        click.echo(f"{name:26}{len(tasks) / median:8.0f} images/s{usual / median:8.2f}")


def _by(workers: DecodePool, tasks: list[Task]) -> None:
    done = 0
    for task in tasks:
        while not workers.has_room:
            done += len(workers.outcomes(1.0))
        workers.submit(task)
    while done < len(tasks):
        done += len(workers.outcomes(1.0))


if __name__ == "__main__":
    main()
