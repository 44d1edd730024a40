"""The views of large JPEGs, ours against the plain way; a part of python -m tests.benchmarks.photos

The plain way is `Image.open(file).convert("RGB")` and then the same views of
that: halved by averaging, crops cut out, and the whole scaled for one more. Both
begin with the file and end with the pixels that the network takes. Memory is
what a process of its own needs at its peak, beyond what it has with all
libraries loaded.
"""

import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

import numpy as np
from PIL import Image

from edge.benchmark.rounds import measure, steps
from edge.imaging import preprocess
from edge.imaging.preprocess import Pixels
from edge.imaging.views import Size, halvings, plan, taken
from edge.inference.model import Views, ViewSet, bundled_paths, described
from tests.benchmarks.tables import markdown, rounded

MEGAPIXELS_12 = 4032, 3024
COUNT = 6
DETAIL = (8, 40, 200, 1000)  # how many waves across, from the coarse to the fine
GRAIN = 4  # standard deviation, of 255
# Until a model for photos travels with the package: four crops, one of the whole, and eight more.
SIZE = 128, 128
VIEWS = Views((ViewSet(4), ViewSet(1, 256)), (ViewSet(8),), (0.2, 0.8), reduce_above=1024)


def photo_views() -> tuple[Views, Size]:
    """Those of the model for photos that travels with the package, and the size of each."""
    for path in bundled_paths():
        description = described(path)
        if description and description.views:
            return description.views, (description.width, description.height)
    return VIEWS, SIZE


def detailed(path: Path, size: Size, seed: int) -> None:
    """A JPEG of `detailed_picture`."""
    detailed_picture(size, seed).save(path, quality=90)


def detailed_picture(size: Size, seed: int) -> Image.Image:
    """As much for a decoder to do as a sharp photo: noise of several scales, enlarged, and grain."""
    random = np.random.default_rng(seed)
    total = np.full((size[1], size[0], 3), 128, np.float32)
    for number, waves in enumerate(DETAIL):
        channels = 3 if number < 2 else 1  # fine detail is of light rather than of colour
        small = random.normal(0, 45 / 2**number, (waves * size[1] // size[0] + 1, waves, channels)).astype(np.float32)
        enlarged = [Image.fromarray(small[:, :, one]).resize(size, preprocess.RESAMPLING) for one in range(channels)]
        total += np.stack(enlarged, -1)
    total += random.normal(0, GRAIN, (*total.shape[:2], 1)).astype(np.float32)
    return Image.fromarray(total.clip(0, 255).astype(np.uint8))


def ours(path: str, wanted: Views, size: Size) -> Pixels:
    return taken(path, None, wanted, size).pixels


def plain(path: str, wanted: Views, size: Size) -> Pixels:
    """As anyone would write it, who does not look at EXIF data."""
    with Image.open(path) as opened:
        picture = opened.convert("RGB")
    own_size = picture.size
    picture = picture.reduce(1 << halvings(own_size, wanted))
    scaled = {picture.size: picture}
    found = []
    for cut in plan(own_size, wanted, size):
        if cut.picture not in scaled:
            scaled[cut.picture] = picture.resize(cut.picture, preprocess.RESAMPLING)
        box = cut.left, cut.top, cut.left + size[0], cut.top + size[1]
        found.append(np.asarray(scaled[cut.picture].crop(box)))
    return np.stack(found)


WAYS = {"ours": ours, "plain": plain}


def compared(paths: Sequence[str], rounds: int, seconds: float) -> str:
    """A paragraph and a table.

    Args:
        paths: of upright JPEGs.
        seconds: for each way, over all rounds.
    """
    wanted, size = photo_views()
    turn = {name: cycle(paths) for name in WAYS}

    def one(name: str) -> int:
        WAYS[name](next(turn[name]), wanted, size)
        return 1

    timings = measure({name: steps(lambda name=name: one(name)) for name in WAYS}, seconds, rounds)  # type: ignore[misc]
    rates = [timings[name].per_second for name in WAYS]
    pairs = zip(timings["ours"].rounds, timings["plain"].rounds, strict=True)
    ratio = statistics.median((a.images / a.seconds) / (b.images / b.seconds) for a, b in pairs)
    cpu = [timings[name].cpu_seconds * 1000 for name in WAYS]
    memory = [_memory(name, paths) for name in WAYS]
    rows = [
        ["photos/s", *map(rounded, (*rates, ratio))],
        ["CPU ms a photo", *map(rounded, (*cpu, cpu[1] / cpu[0]))],
        ["MB at the peak", *map(rounded, (*memory, memory[1] / memory[0]))],
    ]
    differ = [np.abs(ours(path, wanted, size).astype(int) - plain(path, wanted, size)) for path in paths]
    own = {Image.open(path).size for path in paths}
    halved = {1 << halvings(one, wanted) for one in own}
    about = (
        f"{len(wanted.weights)} views of {size[0]} x {size[1]} pixels, as `edge.imaging.views.taken` gives them, of"
        f" {len(paths)} JPEGs, {', '.join(f'{width} x {height}' for width, height in sorted(own)[:4])} pixels,"
        f" {sum(Path(path).stat().st_size for path in paths) / len(paths) / 1e6:.1f} MB on average; divided by"
        f" {' or '.join(map(str, sorted(halved)))} first. The pixels differ by"
        f" {statistics.mean(float(one.mean()) for one in differ):.2f} levels of 255 on average."
    )
    return f"{about}\n\n{markdown(('', 'ours', 'plain', 'advantage'), rows)}"


def _memory(way: str, paths: Sequence[str]) -> float:
    """MB at the peak beyond that before."""
    words = [sys.executable, "-m", "tests.benchmarks.views", way, *paths]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout)) / 1000


def _peak(way: str, paths: Sequence[str]) -> int:
    """In kB, of this process: proc(5) has its high-water mark, which a new program begins anew."""
    wanted, size = photo_views()
    Image.init()

    def kilobytes(name: str) -> int:
        status = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in status if line.startswith(f"{name}:"))

    before = kilobytes("VmRSS")
    for path in paths:
        WAYS[way](path, wanted, size)
    return kilobytes("VmHWM") - before


if __name__ == "__main__":
    print(json.dumps(_peak(sys.argv[1], sys.argv[2:])))
