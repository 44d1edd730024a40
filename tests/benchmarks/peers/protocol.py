"""What each peer's script does: classify one image, or many for a while, and print a line of JSON.

A peer runs in an environment of its own, so this needs nothing but Python.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

from photo_views import Network, judged

Classify = Callable[[str], float]  # a file to P(REAL)
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


def run(load: Callable[[str], Classify], network: Callable[[str], Network] | None = None) -> None:
    """
    Args:
        load: from the model's file to what classifies; imports what it needs, so that the start is measured with that.
        network: from the model's file to a network, for a model that is shown views of a photo.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--views", type=Path, help="JSON of a model that is shown views of a photo")
    parser.add_argument("--images", required=True, type=Path, help="a folder")
    parser.add_argument("--most", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=0.0, help="0 classifies the first image and ends")
    options = parser.parse_args()
    paths = sorted(str(path) for path in options.images.rglob("*") if path.suffix.lower() in SUFFIXES)
    paths = paths[:: max(1, len(paths) // options.most)][: options.most]
    classify = judged(options.views, network(options.model)) if options.views and network else load(options.model)
    scores = {path: classify(path) for path in (paths if options.seconds else paths[:1])}
    told = {"scores": scores, "peak_kb": _peak_kb()}
    if options.seconds:
        images, cpu, began = 0, time.process_time(), time.perf_counter()
        while time.perf_counter() - began < options.seconds:
            classify(paths[images % len(paths)])
            images += 1
        told |= {"per_second": images / (time.perf_counter() - began)}
        told |= {"cpu_seconds": (time.process_time() - cpu) / images, "peak_kb": _peak_kb()}
    print(json.dumps(told))


def _peak_kb() -> int:
    """Of this program alone, which the kernel's other count, ru_maxrss, is not: it remembers who started it."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    return 0
