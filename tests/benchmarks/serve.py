"""What `edge-detect serve` costs beside `classify`: python -m tests.benchmarks.serve

The same files are classified by the server, over kept connections of 1, 8 and 64 clients, and by `classify` in one
process, in turns. The figures are ratios of one run, so that they compare on any machine: answers a second of the
server over those of `classify`, and processor time for each answer over that of `classify`. 503 is the only other
status that may come; who gets it tries again after Retry-After. Memory counts pages that processes share once
(proportional set size, proc(5)), of the server and its decoding processes together.
"""

import gc
import http.client
import statistics
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import psutil

from edge.inference.router import router
from edge.verdict import Verdict
from tests.benchmarks.photos import PHOTO, enlarged
from tests.conftest import CIFAKE
from tests.support.serving import Serving

MB = 1e6
CLIENTS = (1, 8, 64)
LARGE = (4000, 3000)  # 12 megapixels


@dataclass
class Measured:
    """Some answers of the server.

    Attributes:
        seconds, processor_seconds: for all of them; the latter of the server and its processes.
        waits: seconds from sending an image to its verdict.
    """

    seconds: float = 0.0
    processor_seconds: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)
    waits: list[float] = field(default_factory=list)


def processes(serving: Serving) -> list[psutil.Process]:
    own = psutil.Process(serving.process.pid)
    return [own, *own.children(recursive=True)]


def processor_seconds(serving: Serving) -> float:
    times = [one.cpu_times() for one in processes(serving)]
    return sum(one.user + one.system for one in times)


def memory(serving: Serving) -> float:
    """MB of the server and its processes together."""
    return sum(one.memory_full_info().pss for one in processes(serving)) / MB


def asked(serving: Serving, images: list[bytes], count: int, clients: int) -> Measured:
    """Let some clients ask for `count` answers altogether."""
    found, lock, numbers = Measured(), threading.Lock(), iter(range(count))

    def work() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", serving.port, timeout=300)
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                break
            began = time.perf_counter()
            while True:
                connection.request("POST", "/api/v1/classify", images[number % len(images)])
                answer = connection.getresponse()
                answer.read()
                with lock:
                    found.statuses[answer.status] += 1
                if answer.status != 503:
                    break
                time.sleep(float(answer.headers["Retry-After"]))
            with lock:
                found.waits.append(time.perf_counter() - began)
        connection.close()

    threads = [threading.Thread(target=work) for _ in range(clients)]
    cpu, began = processor_seconds(serving), time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found.seconds, found.processor_seconds = time.perf_counter() - began, processor_seconds(serving) - cpu
    assert set(found.statuses) <= {200, 503}, found.statuses
    return found


def classified(models: Any, paths: list[Path], count: int) -> tuple[float, float]:
    """Seconds and seconds of the processor, each for one answer, of `classify` in this process."""
    cpu, began = time.process_time(), time.perf_counter()
    for number in range(count):
        assert isinstance(models.answer(str(paths[number % len(paths)])), Verdict)
    return (time.perf_counter() - began) / count, (time.process_time() - cpu) / count


@contextmanager
def serving(home: Path) -> Iterator[Serving]:
    started = Serving(home)
    try:
        yield started.ready()
    finally:
        started.stop()


def compare(home: Path, name: str, paths: list[Path], count: int, rounds: int) -> None:
    """Print the ratios of some files."""
    images, models = [path.read_bytes() for path in paths], router(model=None, threads=1, runtime=None, tpu=None)
    classified(models, paths, 3)
    with serving(home) as server:
        asked(server, images, 8, 4)
        for clients in CLIENTS:
            rates, costs, waits, statuses = list[float](), list[float](), list[float](), Counter[int]()
            for _ in range(rounds):
                seconds, cpu = classified(models, paths, count)
                gc.collect()
                found = asked(server, images, count, clients)
                rates.append(seconds * count / found.seconds)
                costs.append(found.processor_seconds / count / cpu)
                waits += found.waits
                statuses += found.statuses
            middle = statistics.median
            click.echo(
                f"{name:>14}  {clients:>3} clients: {middle(rates):5.2f} x the answers a second of classify,"
                f" {middle(costs):5.2f} x its processor time; median wait {middle(waits) * 1000:7.1f} ms;"
                f" {statuses[200]} answers, {statuses[503]} refused with 503"
            )
        click.echo(f"{name:>14}  memory after it: {memory(server):.0f} MB")


def flat(home: Path, paths: list[Path], count: int) -> None:
    """Print the memory of a server over many requests."""
    images = [path.read_bytes() for path in paths]
    with serving(home) as server:
        click.echo(f"memory at rest: {memory(server):.1f} MB")
        for done in range(1, 11):
            found = asked(server, images, count // 10, 8)
            parts = ", ".join(f"{one.memory_info().rss / MB:.0f}" for one in processes(server))
            click.echo(
                f"memory after {done * count // 10:>6} requests: {memory(server):.1f} MB together, resident {parts} MB;"
                f" {found.seconds * 1000 / (count // 10):.2f} ms a request"
            )


@click.command()
@click.option("--count", default=200, show_default=True, help="Thumbnails in each round; a tenth as many photos.")
@click.option("--rounds", default=3, show_default=True)
@click.option("--requests", default=10_000, show_default=True, help="Requests over which memory is followed.")
def main(count: int, rounds: int, requests: int) -> None:
    """Print ratios and memory."""
    thumbnails = sorted((CIFAKE / "test").rglob("*.jpg"))
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        large = home / "12-megapixels.jpg"
        enlarged(PHOTO, LARGE).save(large, quality=90)
        compare(home / "a", "thumbnail", thumbnails, count, rounds)
        compare(home / "b", "12 megapixels", [large], max(8, count // 10), rounds)
        if requests:
            flat(home / "c", thumbnails, requests)


if __name__ == "__main__":
    main()
