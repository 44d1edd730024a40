"""Measure a model on corrupted images."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from edge.imaging import preprocess
from edge.imaging.preprocess import Pixels
from train.corruptions import CORRUPTIONS, Corruption
from train.dataset import Dataset
from train.metrics import Metrics, measure
from train.scorers import Scorer

CHUNK = 512  # images that are held in memory at a time
LONGEST = 1024  # pixels: a longer image is reduced to this before it is corrupted


def robustness(score: Scorer, size: tuple[int, int], dataset: Dataset, threshold: float) -> dict[str, Metrics]:
    """The figures after each of `train.corruptions.CORRUPTIONS`, which act on the image at its original size.

    Args:
        score: computes P(REAL) of pixels, see `train.scorers.scorer`.
        size: (width, height) of the model's input.
        dataset: images, all of which can be decoded.
        threshold: scores above it are called REAL.
    """
    scores: dict[str, list[float]] = {name: [] for name in CORRUPTIONS}
    with ThreadPoolExecutor() as pool:
        for paths in _chunks(dataset.paths):
            versions = list(pool.map(partial(_versions, size=size), paths))
            for name, pixels in zip(CORRUPTIONS, zip(*versions, strict=True), strict=True):
                scores[name].extend(score(np.stack(pixels)))
    return {name: measure(np.array(found), dataset.labels, threshold) for name, found in scores.items()}


def _versions(path: Path, size: tuple[int, int]) -> list[Pixels]:
    """An image after each corruption, at the network's input size."""
    original = preprocess.upright(path, LONGEST)
    return [_corrupted(original, corruption, size) for corruption in CORRUPTIONS.values()]


def _corrupted(original: Image.Image, corruption: Corruption, size: tuple[int, int]) -> Pixels:
    corrupted = corruption(original)
    return np.asarray(corrupted if corrupted.size == size else corrupted.resize(size, preprocess.RESAMPLING))


def _chunks(paths: tuple[Path, ...]) -> Iterator[tuple[Path, ...]]:
    for start in range(0, len(paths), CHUNK):
        yield paths[start : start + CHUNK]
