"""Choose the images that calibrate and verify a conversion; the test split is not read."""

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

VALIDATION = "validation.json"  # beside a model, written by its training: names of the images held out
VERIFICATION_IMAGES = 2000  # number of images without such a file


@dataclass(frozen=True)
class Sample:
    """Decoded images with their names.

    Attributes:
        origin: what images they are, in words.
        names: paths relative to the data folder, with forward slashes; one for each image or picture.
        pixels: whole images or views of pictures, uint8, shape (n, height, width, 3).
        is_real: whether each image or view is REAL, shape (n,).
        sizes: the original (width, height) of each upright image, in pixels.
        picture: for each view, the index of its picture, shape (n,); None for whole images.
    """

    origin: str
    names: tuple[str, ...]
    pixels: Pixels
    is_real: np.ndarray[tuple[int], np.dtype[np.bool_]]
    sizes: tuple[tuple[int, int], ...]
    picture: np.ndarray[tuple[int], np.dtype[np.intp]] | None = None

    @property
    def domain(self) -> Domain:
        """The range of the images' original sizes."""
        widths, heights = zip(*self.sizes, strict=True)
        return Domain((min(widths), max(widths)), (min(heights), max(heights)))


def held_out(model: Path) -> list[str]:
    """The names of the images that the model's training has held out; empty if there is no list beside the model.

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
    """`count` random images of the train split, half of each class; fewer if a class has fewer.

    Args:
        size: (width, height) of the network's input in pixels.
        seed: seed of the choice.
        exclude: names that are not chosen.

    Raises:
        SampleError: a class has no readable image.
    """
    sample = _drawn(data, size, count, seed, set(exclude))
    origin = f"{len(sample.names)} images of the train split, balanced, seed {seed}"
    return replace(sample, origin=origin)


def verification(data: Path, size: tuple[int, int], held_out: list[str], seed: int, exclude: Iterable[str]) -> Sample:
    """The images that the training has held out; without a list of them, other images of the train split.

    Args:
        size: (width, height) of the network's input in pixels.
        held_out: the list; empty if there is none.
        seed: seed of the choice.
        exclude: names that are not chosen, unless no others are left; then `origin` says so.

    Raises:
        SampleError: an image of the list is missing, or a class has no readable image.
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
        raise SampleError(
            f"{error}; the model's training has held it out: is {data} the folder of that training?"
        ) from error
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
                continue  # training leaves it out as well, and reports it
        if not any(name.startswith(f"train/{label}/") for name in decoded):
            left = " that the training did not hold out" if exclude else "; a data folder has train/REAL and train/FAKE"
            raise SampleError(f"{folder}: no readable images{left}")
    return _sample("", dict(sorted(decoded.items())))


def _sample(origin: str, decoded: dict[str, tuple[Pixels, tuple[int, int]]]) -> Sample:
    pixels, sizes = zip(*decoded.values(), strict=True)
    is_real = np.array([Path(name).parts[1] == LABELS[1] for name in decoded], bool)
    return Sample(origin, tuple(decoded), np.stack(pixels), is_real, sizes)


def _is_of_train_split(name: object) -> bool:
    return isinstance(name, str) and name.startswith(tuple(f"train/{label}/" for label in LABELS))
