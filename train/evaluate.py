"""Measure a finished model on the test split."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from train import dataset as datasets
from train.dataset import Dataset
from train.metrics import Metrics, measure
from train.robustness import robustness
from train.scorers import scorer


@dataclass(frozen=True)
class Evaluation:
    """The figures on the split as published, and on the part of it that is not in the train split.

    Attributes:
        as_published: figures on all images of the split.
        leaked: number of test images whose bytes are also those of a training image; None without a train split.
        without_leaked: figures without the leaked images; None without a train split, or if no image is left.
        unreadable: number of files that could not be decoded; no figure counts them.
        corrupted: figures after each corruption, on all images of the split; None if they were not requested.
    """

    model: str
    threshold: float
    as_published: Metrics
    leaked: int | None
    without_leaked: Metrics | None
    unreadable: int
    corrupted: dict[str, Metrics] | None = None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def evaluate(
    path: Path, data: Path, scratch: Path, *, run: Path | None = None, corruptions: bool = False
) -> tuple[Evaluation, npt.NDArray[np.float64], Dataset]:
    """Measure a model on `data/test`, with and without the images that are also in `data/train`.

    Args:
        scratch: a folder for the decoded images.
        run: measure on the images that this training run has held out, instead of the test split.
        corruptions: also measure after each of `train.corruptions.CORRUPTIONS`.

    Returns:
        (figures, scores of shape (n,), the images that the scores belong to).

    Raises:
        DatasetError: a class has no images, or the run has no list of held-out images.
        ModelError: see `train.scorers.scorer`.
    """
    score, size, threshold = scorer(path)
    if run is None:
        known = set(datasets.load(data, "train")[0].digests) if (data / "train").is_dir() else None
        test, unreadable = datasets.load(data, "test")
    else:
        known, (test, unreadable) = None, datasets.held_out(data, run)
    pixels, test, undecodable = datasets.decode(test, size, scratch)
    scores = score(pixels)
    fresh = np.array([known is not None and digest not in known for digest in test.digests], bool)
    evaluation = Evaluation(
        model=str(path),
        threshold=threshold,
        as_published=measure(scores, test.labels, threshold),
        leaked=None if known is None else int((~fresh).sum()),
        without_leaked=measure(scores[fresh], test.labels[fresh], threshold) if fresh.any() else None,
        unreadable=len(unreadable) + len(undecodable),
        corrupted=robustness(score, size, test, threshold) if corruptions else None,
    )
    return evaluation, scores, test
