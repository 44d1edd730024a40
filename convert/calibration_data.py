"""Which images a conversion is calibrated on and verified with. The test split is none of them."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from convert.errors import SampleError
from edge.errors import ImageError
from edge.imaging import preprocess
from edge.imaging.preprocess import Pixels
from edge.inference.model import LABELS, Domain
from edge.sources.files import images

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
        sizes: the images' own (width, height), upright, in pixels.
        picture: of views, which picture each is of; None of whole images.
    """

    origin: str
    names: tuple[str, ...]
    pixels: Pixels
    is_real: np.ndarray[tuple[int], np.dtype[np.bool_]]
    sizes: tuple[tuple[int, int], ...]
    picture: np.ndarray[tuple[int], np.dtype[np.intp]] | None = None

    @property
    def domain(self) -> Domain:
        """The range of the images' sizes."""
        widths, heights = zip(*self.sizes, strict=True)
        return Domain((min(widths), max(widths)), (min(heights), max(heights)))


def held_out(model: Path) -> list[str]:
    """The names of the images that the model's training held out; none if it left no list beside the model.

    Raises:
        SampleError: the list is damaged.
    """
    listed = model.with_name(VALIDATION)
    try:
        names = json.loads(listed.read_text("utf-8"))
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise SampleError(f"{listed}: {error}") from error
    if not isinstance(names, list) or not all(_is_of_train_split(name) for name in names):
        raise SampleError(f"{listed}: not a list of paths such as train/REAL/x.jpg")
    return names


def calibration(data: Path, size: tuple[int, int], count: int, seed: int, exclude: Iterable[str] = ()) -> Sample:
    """`count` images of the train split, as many of each class, drawn with a seed; fewer if there are fewer.

    Raises:
        SampleError: a class has no readable image.
    """
    sample = _drawn(data, size, count, seed, set(exclude))
    origin = f"{len(sample.names)} images of the train split, balanced, seed {seed}"
    return replace(sample, origin=origin)


def verification(data: Path, size: tuple[int, int], held_out: list[str], seed: int, exclude: Iterable[str]) -> Sample:
    """The images that the training held out; where it left no list of them, others of the train split.

    Args:
        exclude: names that are not drawn, unless no others are left; `origin` says so then.

    Raises:
        SampleError: an image of the list is not there.
    """
    if not held_out:
        try:
            sample, remark = _drawn(data, size, VERIFICATION_IMAGES, seed, set(exclude)), ""
        except SampleError:
            sample, remark = _drawn(data, size, VERIFICATION_IMAGES, seed, set()), ", those of the calibration"
        origin = f"{len(sample.names)} images of the train split{remark}"
        return replace(sample, origin=origin)
    try:
        decoded = {name: preprocess.pixels_and_size(data / name, size) for name in held_out}
    except ImageError as error:
        raise SampleError(f"{error}, though the training held it out: is {data} its data?") from error
    return _sample(f"the {len(held_out)} images that the training held out", decoded)


def _drawn(data: Path, size: tuple[int, int], count: int, seed: int, exclude: set[str]) -> Sample:
    random = np.random.default_rng(seed)
    decoded: dict[str, tuple[Pixels, tuple[int, int]]] = {}
    for label in LABELS:
        folder = data / "train" / label
        found = [Path(path) for path in images([str(folder)], recursive=True) if isinstance(path, str)]
        names = sorted(path.relative_to(data).as_posix() for path in found)
        names = [name for name in names if name not in exclude]
        wanted = len(decoded) + max(1, count // 2)
        for index in random.permutation(len(names)):
            if len(decoded) == wanted:
                break
            try:
                decoded[names[index]] = preprocess.pixels_and_size(data / names[index], size)
            except ImageError:
                continue  # training leaves it out as well, and names it
        if not any(name.startswith(f"train/{label}/") for name in decoded):
            left = "that the training did not hold out" if exclude else "there; the data folder has train/REAL and FAKE"
            raise SampleError(f"{folder}: no readable images {left}")
    return _sample("", dict(sorted(decoded.items())))


def _sample(origin: str, decoded: dict[str, tuple[Pixels, tuple[int, int]]]) -> Sample:
    pixels, sizes = zip(*decoded.values(), strict=True)
    is_real = np.array([Path(name).parts[1] == LABELS[1] for name in decoded], bool)
    return Sample(origin, tuple(decoded), np.stack(pixels), is_real, sizes)


def _is_of_train_split(name: object) -> bool:
    return isinstance(name, str) and name.startswith(tuple(f"train/{label}/" for label in LABELS))
