"""How many frames `camera` classifies of those that it could: python -m tests.benchmarks.camera

A live stream of 640 x 480 pixels, about 50 frames a second, and two recordings
that are read as fast as they go: one that stands still, which costs a decoder
next to nothing, and one that moves. Each is decoded alone by PyAV, then by
`edge-detect camera`, in turns with the bare network; the slower of decoding and
network is the limit. Preparing (decoding, reducing, scaling) and network need
the processor: no recording is worked through faster than all cores together
could do these, so that the limit may be out of reach.
"""

import os
import re
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import click
import numpy as np

from edge.benchmark.rounds import measure, steps
from edge.benchmark.stages import BareInterpreter
from edge.capture.libav import LibavCamera
from edge.capture.roi import Roi
from edge.imaging.inputs import Input
from edge.inference.classifier import Classifier
from edge.inference.model import default_path, load
from tests.benchmarks.photos import PHOTO, enlarged
from tests.conftest import command, environment
from tests.support.network_camera import network_camera
from tests.support.videos import jpeg, video

SIZE = (640, 480)
FRAMES = 600


def moving(path: Path) -> Path:
    """A photo with grain that a hand moves before the camera."""
    width, height = SIZE
    large = np.asarray(enlarged(PHOTO, (width + 200, height + 200)))
    with av.open(str(path), "w") as container:
        # A picture in one piece, as cameras make it: one thread decodes it.
        stream: Any = container.add_stream("libx264", rate=25, options={"x264-params": "sliced-threads=0:slices=1"})
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = width, height, "yuv420p", 2_000_000
        for number in range(FRAMES):
            x, y = (int(100 + 90 * wave(number / 20)) for wave in (np.sin, np.cos))
            part = np.ascontiguousarray(large[y : y + height, x : x + width])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(part, format="rgb24")))
        container.mux(stream.encode())
    return path


def decoded(source: str, count: int) -> float:
    """Frames a second, decoded by PyAV as it does by itself, and nothing else."""
    with av.open(source) as container:
        frames = container.decode(video=0)
        next(frames)
        began = time.perf_counter()
        for _ in range(count - 1):
            next(frames)
        return (count - 1) / (time.perf_counter() - began)


def worked(source: str, count: int, classifier: Classifier) -> float:
    """Frames that a second of one core decodes, prepares and puts through the bare network."""
    stream, network, input_ = LibavCamera(source), BareInterpreter(classifier), Input(0, classifier.size)
    try:
        assert stream.frame() is not None
        began = time.process_time()
        for _ in range(count - 1):
            frame = stream.frame()
            assert frame is not None
            frame.seen(Roi(), lambda _: input_)
            network.invoke()
        return (count - 1) / (time.process_time() - began)
    finally:
        stream.close()


def classified(source: str, count: int, home: Path) -> float:
    """Frames a second of the command, its start left out."""

    def seconds(frames: int) -> float:
        words = command("camera", "--model", default_path(), "--source", source, "--max-frames", str(frames))
        done = subprocess.run(words, env=environment(HOME=str(home)), capture_output=True, text=True, check=True)
        found = re.search(r"in ([0-9.]+) s", done.stderr)
        assert found, done.stderr
        return float(found[1])

    return (count - 2) / (seconds(count) - seconds(2))


@click.command()
@click.option("--rounds", default=3, show_default=True)
def main(rounds: int) -> None:
    """Print rates and ratios, medians of some rounds."""
    classifier = Classifier(load(None))
    network, cores = BareInterpreter(classifier), len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as name, network_camera(jpeg(*SIZE)) as server:
        still = str(video(Path(name) / "still.mp4", size=SIZE, count=FRAMES))
        moved = str(moving(Path(name) / "moving.mp4"))
        sources: dict[str, tuple[str, int]] = {
            "live stream": (server.address("/video"), 200),
            "recording that stands still": (still, FRAMES),
            "recording that moves": (moved, FRAMES),
        }
        for what, (source, count) in sources.items():
            ways: dict[str, Callable[[], float]] = {
                "decoding": lambda source=source, count=count: decoded(source, count),  # type: ignore[misc]
                "one core": lambda source=source, count=count: worked(source, count, classifier),  # type: ignore[misc]
                "network": lambda: measure({"": steps(network.invoke)}, 0.5, 1)[""].per_second,
                "camera": lambda source=source, count=count: classified(source, count, Path(name)),  # type: ignore[misc]
            }
            rates: dict[str, list[float]] = {way: [] for way in ways}
            for _ in range(rounds):
                for way, rate in ways.items():
                    rates[way].append(rate())
            median = {way: statistics.median(found) for way, found in rates.items()}
            limit = min(median["decoding"], median["network"])
            told = ", ".join(f"{way} {rate:.0f} a second" for way, rate in median.items())
            possible = min(1.0, cores * median["one core"] / limit)
            click.echo(f"{what}: {told}; {median['camera'] / limit:.2f} of the limit, {possible:.2f} is possible")


if __name__ == "__main__":
    main()
