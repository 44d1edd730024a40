"""How many frames `camera` classifies of those that it could: python -m tests.benchmarks.camera

A live stream of 640 x 480 pixels, about 50 frames a second, and a recording
that is read as fast as it goes. Each is read alone, then by `edge-detect
camera`, in turns with the bare network; the slower of reading and network is
the limit.
"""

import re
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click

from edge.benchmark.rounds import measure, steps
from edge.benchmark.stages import Bare
from edge.cameras.stream import Stream
from edge.classifier import Classifier
from edge.model import load
from tests.conftest import command, environment
from tests.videos import served, video

SIZE = (640, 480)
FRAMES = 600


def read(source: str, count: int) -> float:
    """Frames a second, read and converted, and nothing else."""
    stream = Stream(source)
    try:
        assert stream.frame() is not None
        began = time.perf_counter()
        for _ in range(count - 1):
            frame = stream.frame()
            assert frame is not None
            _ = frame.pixels
        return (count - 1) / (time.perf_counter() - began)
    finally:
        stream.close()


def classified(source: str, count: int, home: Path) -> float:
    """Frames a second of the command, its start left out."""

    def seconds(frames: int) -> float:
        words = command("camera", "--source", source, "--max-frames", str(frames))
        done = subprocess.run(words, env=environment(HOME=str(home)), capture_output=True, text=True, check=True)
        found = re.search(r"in ([0-9.]+) s", done.stderr)
        assert found, done.stderr
        return float(found[1])

    return (count - 2) / (seconds(count) - seconds(2))


@click.command()
@click.option("--rounds", default=3, show_default=True)
def main(rounds: int) -> None:
    """Print rates and ratios, medians of some rounds."""
    network = Bare(Classifier(load(None)))
    with tempfile.TemporaryDirectory() as name, served(Path(name), size=SIZE) as server:
        recording = str(video(Path(name) / "clip.mp4", size=SIZE, count=FRAMES))
        sources: dict[str, tuple[str, int]] = {
            "live stream": (server.address("/video"), 200),
            "recording": (recording, FRAMES),
        }
        for what, (source, count) in sources.items():
            ways: dict[str, Callable[[], float]] = {
                "reading": lambda source=source, count=count: read(source, count),  # type: ignore[misc]
                "network": lambda: measure({"": steps(network.invoke)}, 0.5, 1)[""].per_second,
                "camera": lambda source=source, count=count: classified(source, count, Path(name)),  # type: ignore[misc]
            }
            rates: dict[str, list[float]] = {way: [] for way in ways}
            for _ in range(rounds):
                for way, rate in ways.items():
                    rates[way].append(rate())
            median = {way: statistics.median(found) for way, found in rates.items()}
            ratio = median["camera"] / min(median["reading"], median["network"])
            told = ", ".join(f"{way} {rate:.0f} a second" for way, rate in median.items())
            click.echo(f"{what}: {told}; {ratio:.2f} of the limit")


if __name__ == "__main__":
    main()
