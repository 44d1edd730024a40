"""Read a data set in the folder layout of CIFAKE, and split it into training and validation.

A data set is a folder with `train/REAL` and `train/FAKE`, optionally also
`test/REAL` and `test/FAKE`, holding images of any size.
"""

import hashlib
import json
import os
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
import numpy.typing as npt

from edge.errors import EdgeDetectError, ImageError
from edge.imaging import preprocess
from edge.imaging.preprocess import Pixels
from edge.inference.model import LABELS
from edge.sources.files import images

CIFAR_CLASSES = 10
VALIDATION = "validation.json"  # in the folder of a run: the images that it held out
_CIFAKE_NAME = re.compile(r"\d{4}(?: \(([1-9]|10)\))?")  # the first class has no number


class DatasetError(EdgeDetectError):
    """The folder lacks images that training or evaluation needs."""


@dataclass(frozen=True)
class Dataset:
    """Labelled image files in a fixed order.

    Attributes:
        paths: the files, sorted within each class.
        labels: int8, shape (n,): 1 for REAL, 0 for FAKE.
        digests: SHA-256 of each file's bytes.
    """

    paths: tuple[Path, ...]
    labels: npt.NDArray[np.int8]
    digests: tuple[bytes, ...]

    def __len__(self) -> int:
        return len(self.paths)

    def fingerprint(self, folder: Path) -> str:
        """SHA-256, hexadecimal, of the files' names relative to a folder and of their contents."""
        found = hashlib.sha256()
        for path, digest in zip(self.paths, self.digests, strict=True):
            found.update(os.fsencode(path.relative_to(folder)) + b"\0" + digest)
        return found.hexdigest()

    def require_both_classes(self) -> None:
        """Check that there are images of both classes.

        Raises:
            DatasetError: a class has no images.
        """
        for label, name in enumerate(LABELS):
            if label not in self.labels:
                raise DatasetError(f"{name}: too few images: none is left to train on")

    def subset(self, indices: npt.NDArray[np.intp]) -> "Dataset":
        """The images at these indices."""
        return Dataset(
            tuple(self.paths[i] for i in indices), self.labels[indices], tuple(self.digests[i] for i in indices)
        )


def load(folder: Path, split: str) -> tuple[Dataset, list[ImageError]]:
    """The images in `folder/split/REAL` and `folder/split/FAKE`, and the errors of files that cannot be read.

    Raises:
        DatasetError: a class has no folder or no images.
    """
    paths: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(LABELS):
        of_class = folder / split / name
        found = sorted(Path(path) for path in images([str(of_class)], recursive=True) if isinstance(path, str))
        found = [path for path in found if path != of_class]  # `images` yields a missing folder itself
        if not found:
            raise DatasetError(f"{of_class}: no images; a data set has {split}/REAL and {split}/FAKE")
        paths += found
        labels += [label] * len(found)
    return _digested(paths, labels)


def _digested(paths: list[Path], labels: list[int]) -> tuple[Dataset, list[ImageError]]:
    with ThreadPoolExecutor() as pool:
        digests = list(pool.map(_digest, paths, chunksize=256))
    errors = [digest for digest in digests if isinstance(digest, ImageError)]
    readable = [i for i, digest in enumerate(digests) if isinstance(digest, bytes)]
    dataset = Dataset(
        tuple(paths[i] for i in readable),
        np.array([labels[i] for i in readable], np.int8),
        tuple(digest for digest in digests if isinstance(digest, bytes)),
    )
    return dataset, errors


def held_out(folder: Path, run: Path) -> tuple[Dataset, list[ImageError]]:
    """The images of `folder` that a training run held out for validation, in the order of the run's list.

    Raises:
        DatasetError: the run's folder has no such list, or it is damaged.
    """
    try:
        names = json.loads((run / VALIDATION).read_text("utf-8"))
        labels = [LABELS.index(Path(name).parts[1]) for name in names]
    except (OSError, ValueError, TypeError, IndexError) as error:
        raise DatasetError(f"{run / VALIDATION}: no list of images that a training has held out: {error}") from error
    return _digested([folder / name for name in names], labels)


def subjects(dataset: Dataset) -> npt.NDArray[np.float32] | None:
    """What each image shows, from CIFAKE's file names: `0123 (4).jpg` is of CIFAR-10's fourth class.

    Returns:
        One-hot classes, shape (n, 10); a row of zeros for a file with another kind of name. None unless every one of
        the ten classes occurs.
    """
    matches = [_CIFAKE_NAME.fullmatch(path.stem) for path in dataset.paths]
    classes = np.array([-1 if match is None else int(match[1] or 1) - 1 for match in matches])
    rows = np.equal(classes[:, None], np.arange(CIFAR_CLASSES)).astype(np.float32)
    return rows if rows.any(axis=0).all() else None


def split_validation(dataset: Dataset, fraction: float, seed: int) -> tuple[Dataset, Dataset]:
    """Cut a validation set from a training set; the result is the same on every machine.

    Files are ranked by a keyed hash of their bytes. So byte-identical files are
    always on the same side, and adding images moves few of the others to the
    other side.

    Args:
        fraction: share of each class for validation, 0-1.
        seed: key of the hash.

    Returns:
        (training, validation)

    Raises:
        DatasetError: no image would be left to train on.
    """
    ranks = [hashlib.sha256(b"%d:" % seed + digest).digest() for digest in dataset.digests]
    validation = np.zeros(len(dataset), bool)
    for label in range(len(LABELS)):
        of_class = np.flatnonzero(dataset.labels == label)
        groups = sorted({ranks[i] for i in of_class})
        chosen = set(groups[: max(1, round(len(groups) * fraction))])
        validation[of_class] = [ranks[i] in chosen for i in of_class]
    # In a scraped data set the same bytes may have both labels: both files are then held out.
    held_out = {dataset.digests[i] for i in np.flatnonzero(validation)}
    validation |= np.fromiter((digest in held_out for digest in dataset.digests), bool, len(dataset))
    if validation.all():
        raise DatasetError(f"{len(dataset)} images are too few to cut a validation set from")
    return dataset.subset(np.flatnonzero(~validation)), dataset.subset(np.flatnonzero(validation))


def part(dataset: Dataset, fraction: float, seed: int) -> Dataset:
    """The same fraction of each class of a data set; the same images on every machine.

    Args:
        fraction: 0-1; at least one image of each class is kept.
        seed: key of the hash that ranks the images.
    """
    if fraction == 1:
        return dataset
    ranks = [hashlib.sha256(b"part %d:" % seed + digest).digest() for digest in dataset.digests]
    kept: list[int] = []
    for label in range(len(LABELS)):
        of_class = sorted(np.flatnonzero(dataset.labels == label), key=lambda i: ranks[i])
        kept += of_class[: max(1, round(len(of_class) * fraction))]
    return dataset.subset(np.array(sorted(kept), np.intp))


def decode(dataset: Dataset, size: tuple[int, int], scratch: Path) -> tuple[Pixels, Dataset, list[ImageError]]:
    """Decode every image to the network's input, by `edge.imaging.preprocess` as on the device.

    The pixels lie in an unnamed file that is mapped into memory: a data set
    may be larger than the memory, and a smaller one stays in the page cache.

    Args:
        size: (width, height) in pixels.
        scratch: a folder on a disk with room for len(dataset) * width * height * 3 bytes.

    Returns:
        (pixels, data set, errors): uint8 pixels, shape (n, height, width, 3), and the data set, both without the files
        that could not be decoded; and the errors of those files.

    Raises:
        DatasetError: no image could be decoded.
    """
    width, height = size
    with TemporaryFile(dir=scratch) as file:
        pixels = np.memmap(file, np.uint8, "w+", shape=(len(dataset), height, width, 3))

    def decode_one(index: int) -> ImageError | None:
        try:
            pixels[index] = preprocess.pixels(dataset.paths[index], size)
        except ImageError as error:
            return error
        return None

    with ThreadPoolExecutor() as pool:
        outcomes = list(pool.map(decode_one, range(len(dataset)), chunksize=64))
    good = np.array([i for i, error in enumerate(outcomes) if error is None], np.intp)
    errors = [error for error in outcomes if error is not None]
    if not len(good):
        raise DatasetError(f"none of {len(dataset)} images could be decoded; the first: {errors[0]}")
    for kept, index in enumerate(good):  # closes the gaps in place, because the set may be larger than the memory
        if kept != index:
            pixels[kept] = pixels[index]
    return pixels[: len(good)], dataset.subset(good) if errors else dataset, errors


def _digest(path: Path) -> bytes | ImageError:
    try:
        return hashlib.sha256(preprocess.read(path)).digest()
    except ImageError as error:
        return error
