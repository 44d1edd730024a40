"""The images of a benchmark: the user's, or generated ones."""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from edge.errors import BenchmarkError, ImageError, printable
from edge.imaging.inputs import Input, take
from edge.imaging.views import Size
from edge.sources.files import images

MOST_CHOSEN = 256
MOST_CHOSEN_BYTES = 64_000_000  # the files are held in memory while the stages are measured
MOST_COPIED_BYTES = 256_000_000
CHECK_SECONDS = 3.0
THUMBNAILS, PHOTOS = 64, 2
WHOLE = Input(0, (32, 32))  # of a model for thumbnails

Choose = Callable[[Size], Input]  # the input of the model for an image of this upright (width, height)


@dataclass(frozen=True)
class Workload:
    """Images that can be decoded and that go to the same model.

    Attributes:
        name: a heading in words.
        bad: number of files that were left out because they cannot be decoded.
        input: the model's input.
    """

    name: str
    paths: tuple[str, ...]
    bad: int = 0
    input: Input = WHOLE

    @property
    def bytes(self) -> int:
        return sum(os.path.getsize(path) for path in self.paths)


def of_folder(folder: Path, choose: Choose = lambda _: WHOLE) -> list[Workload]:
    """An even selection of the images in a folder and its sub-folders: one workload for each model that they go to.

    Raises:
        BenchmarkError: none can be decoded.
    """
    if not folder.is_dir():
        raise BenchmarkError(f"{printable(folder)}: no such folder")
    found = [path for path in images([os.fspath(folder)], recursive=True) if isinstance(path, str)]
    paths: dict[Input, list[str]] = {}
    bad, taken, began = 0, 0, time.monotonic()
    for path in found[:: -(-len(found) // MOST_CHOSEN) or 1]:
        if paths and (time.monotonic() - began > CHECK_SECONDS or taken > MOST_CHOSEN_BYTES):
            break
        try:
            chosen, _ = take(path, None, choose)
            taken += os.path.getsize(path)
            paths.setdefault(chosen, []).append(path)
        except (ImageError, OSError):  # OSError: it was deleted meanwhile
            bad += 1
    if not paths:
        none = "no images in it" if not found else f"none of {bad} images can be decoded"
        raise BenchmarkError(f"{printable(folder)}: {none}")
    return [
        Workload(f"{printable(folder)}, {len(those)} images of {len(found)}", tuple(those), bad, chosen)
        for chosen, those in sorted(paths.items(), key=lambda one: one[0].model)
    ]


def generated(folder: Path, choose: Choose) -> Iterator[Workload]:
    """Thumbnails and photos: JPEGs of noise on colour gradients, written to a folder when the iterator reaches them."""
    yield _made(folder / "thumbnails", "generated thumbnails, 32 x 32", (32, 32), THUMBNAILS, choose)
    yield _made(folder / "photos", "generated photos, 4000 x 3000", (4000, 3000), PHOTOS, choose)


def copies(workload: Workload, folder: Path, count: int) -> int:
    """Copy a workload's images, repeatedly if needed, up to a count or MOST_COPIED_BYTES; return how many."""
    folder.mkdir()
    copied, taken = 0, 0
    for path in cycle(workload.paths):
        suffix = os.path.splitext(path)[1]
        taken += os.path.getsize(path)
        if copied == count or (copied and taken > MOST_COPIED_BYTES):
            return copied
        shutil.copyfile(path, folder / f"{copied:06}{suffix}")
        copied += 1
    return copied


def _made(folder: Path, name: str, size: Size, count: int, choose: Choose) -> Workload:
    folder.mkdir()
    paths = []
    for number in range(count):
        path = folder / f"{number}.jpg"
        save(path, size, seed=number)
        paths.append(str(path))
    return Workload(f"{name}, {len(paths)} of them", tuple(paths), input=choose(size))


def save(path: Path, size: tuple[int, int], *, seed: int = 0, noise: int = 16, **options: Any) -> None:
    """Write a picture that takes about as long to decode as a photo: a soft colour gradient with noise.

    Args:
        path: its suffix decides the format.
        size: (width, height) in pixels.
        noise: standard deviation of the noise, in levels of 0-255.
        options: those of Pillow's `save`.
    """
    random = np.random.default_rng(seed)
    colours = Image.fromarray(random.integers(0, 256, (5, 7, 3), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)
    grain = random.normal(0, noise, (min(size[1], 256), min(size[0], 256), 1)).astype(np.int16)
    repeats = (-(-size[1] // grain.shape[0]), -(-size[0] // grain.shape[1]), 1)
    pixels = np.asarray(colours, np.int16)
    pixels = pixels + np.tile(grain, repeats)[: size[1], : size[0]]
    defaults: dict[str, Any] = {"quality": 85} if path.suffix in (".jpg", ".webp") else {}
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, **(defaults | options))
