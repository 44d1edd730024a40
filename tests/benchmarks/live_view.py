"""What looking at a camera costs its loop: python -m tests.benchmarks.live_view

A real `edge-detect camera` works on a folder of 1280 x 720 pictures. In turns nobody looks, and somebody asks for the
latest frame ten times a second, of which five are encoded. Compared are frames a second and processor time a frame.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import numpy as np
from PIL import Image

from edge.serve.cameras import Cameras, id_of
from tests.conftest import MODELS, command, environment

SIZE = (1280, 720)
FRAMES = 60_000


def film(folder: Path) -> Path:
    """A folder of many names of one picture."""
    folder.mkdir()
    noise = np.random.default_rng(1).integers(0, 255, (SIZE[1] // 8, SIZE[0] // 8, 3), np.uint8)
    first = folder / "00000.jpg"
    Image.fromarray(noise).resize(SIZE).save(first, quality=85)
    for number in range(1, FRAMES):
        os.link(first, folder / f"{number:05}.jpg")
    return folder


def state(pid: int) -> tuple[int, float]:
    """(frames classified so far, processor seconds so far) of a camera."""
    (one,) = (one for one in Cameras().running() if one.status.get("pid") == pid)
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    frames = sum(one.status["labels"].values()) + one.status["failed"]
    return frames, (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@click.command()
@click.option("--rounds", default=8, help="Number of turns of each kind.")
@click.option("--seconds", default=4.0, help="Length of a turn.")
def main(rounds: int, seconds: float) -> None:
    """Measure a camera's loop with and without somebody who looks."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        os.environ["XDG_RUNTIME_DIR"] = scratch
        words = (
            "camera",
            "--source",
            film(folder / "film"),
            "--name",
            "bench",
            "--model",
            MODELS / "photo_like_int8.tflite",
        )
        camera = subprocess.Popen(
            command(*words), env=environment(HOME=scratch, XDG_RUNTIME_DIR=scratch), stdout=subprocess.DEVNULL
        )
        found: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
        asked: list[float] = []
        try:
            while Cameras().latest(id_of("bench")) is None:
                time.sleep(0.1)
            for turn in range(2 * rounds):
                looks = bool(turn % 2)
                began, (frames, worked) = time.monotonic(), state(camera.pid)
                while time.monotonic() - began < seconds:
                    if looks:
                        at = time.monotonic()
                        assert Cameras().latest(id_of("bench"))
                        asked.append(time.monotonic() - at)
                    time.sleep(0.1)
                passed, (frames_after, worked_after) = time.monotonic() - began, state(camera.pid)
                count = frames_after - frames
                found[looks].append((count / passed, 1000 * (worked_after - worked) / count))
        finally:
            camera.terminate()
            camera.wait()
        for looks, values in found.items():
            rate, work = (statistics.median(column) for column in zip(*values, strict=True))
            print(
                f"{'somebody looks' if looks else 'nobody looks'}: {rate:.1f} frames/s,"
                f" {work:.2f} ms of processor a frame"
            )
        print(f"an answer takes {1000 * statistics.median(asked):.1f} ms, at most {1000 * max(asked):.1f} ms")


if __name__ == "__main__":
    sys.exit(main())
