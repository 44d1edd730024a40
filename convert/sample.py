"""Which images a conversion is calibrated on and verified with. The test split is none of them."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from convert.errors import SampleError
from edge import image
from edge.errors import ImageError
from edge.image import Pixels
from edge.model import LABELS

VALIDATION = "validation.json"  # written beside a model by its training
VERIFICATION_IMAGES = 2000  # where there is no such file


@dataclass(frozen=True)
class Sample:
    """Decoded images with their names.

    Attributes:
        origin: where they are from, in words.
        names: paths below the data folder, with forward slashes.
        pixels: uint8, shape (n, height, width, 3).
        is_real: bool, shape (n,).
    """

    origin: str
    names: tuple[str, ...]
    pixels: Pixels
    is_real: np.ndarray[tuple[int], np.dtype[np.bool_]]


def calibration(data: Path, size: tuple[int, int], count: int, seed: int) -> Sample:
    """`count` images of the train split, as many of each class, drawn with a seed.

    Raises:
        SampleError: a class has too few readable images.
    """
    names = _drawn(data, count, seed)
    return _decoded(data, names, size, f"{len(names)} images of the train split, balanced, seed {seed}")


def verification(data: Path, size: tuple[int, int], model: Path, seed: int, exclude: tuple[str, ...]) -> Sample:
    """The images that the model's training held out; where it left no list of them, others of the train split.

    Args:
        model: the Keras file, beside which the list is looked for.
        exclude: names that are not drawn.

    Raises:
        SampleError: the list is damaged, or names images that are not there.
    """
    listed = model.with_name(VALIDATION)
    try:
        names = json.loads(listed.read_text("utf-8"))
    except FileNotFoundError:
        # Another seed, so that the draw is not the calibration's; what both drew is left out.
        drawn = _drawn(data, VERIFICATION_IMAGES, seed + 1)
        names = [name for name in drawn if name not in set(exclude)] or drawn
        return _decoded(data, names, size, f"{len(names)} images of the train split")
    except (OSError, ValueError) as error:
        raise SampleError(f"{listed}: {error}") from error
    return _decoded(data, names, size, f"the {len(names)} images that the training held out")


def _drawn(data: Path, count: int, seed: int) -> list[str]:
    random = np.random.default_rng(seed)
    names: list[str] = []
    for label in LABELS:
        folder = data / "train" / label
        found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in image.SUFFIXES)
        if not found:
            raise SampleError(f"{folder}: no images there; the data folder has train/REAL and train/FAKE")
        chosen = random.choice(len(found), min(count // 2, len(found)), replace=False)
        names += [found[i].relative_to(data).as_posix() for i in np.sort(chosen)]
    return names


def _decoded(data: Path, names: list[str], size: tuple[int, int], origin: str) -> Sample:
    try:
        pixels = np.stack([image.pixels(data / name, size) for name in names])
    except ImageError as error:
        raise SampleError(str(error)) from error
    is_real = np.array([Path(name).parts[1] == LABELS[1] for name in names], bool)
    return Sample(origin, tuple(names), pixels, is_real)
