"""How good a finished model is on the test split."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge.classifier import Classifier
from edge.errors import ModelError, printable
from edge.image import Pixels
from edge.model import THRESHOLD, load
from train import dataset as datasets
from train.dataset import Dataset
from train.metrics import Metrics, measure

Scorer = Callable[[Pixels], npt.NDArray[np.float64]]


@dataclass(frozen=True)
class Evaluation:
    """The figures on the split as published, and on the part of it that training has never met.

    Attributes:
        leaked: test images whose bytes are also those of a training image; None if there is no train split to look in.
        without_leaked: None if that is so, or if nothing else is left.
        unreadable: files that could not be decoded; they count in nothing.
    """

    model: str
    threshold: float
    as_published: Metrics
    leaked: int | None
    without_leaked: Metrics | None
    unreadable: int

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def scorer(path: Path) -> tuple[Scorer, tuple[int, int], float]:
    """What gives P(REAL) for pixels of shape (n, height, width, 3), the (width, height) that it takes, its threshold.

    Args:
        path: a `.keras` file, or a `.tflite` file, which runs in the device's own classifier.

    Raises:
        ModelError: the file is missing or is no such model.
    """
    if path.suffix == ".keras":
        return _keras_scorer(path)
    classifier = Classifier(load(path))

    def score(pixels: Pixels) -> npt.NDArray[np.float64]:
        return np.array([classifier.score(image) for image in pixels], np.float64)

    return score, classifier.size, classifier.model.threshold


def evaluate(path: Path, data: Path, scratch: Path) -> tuple[Evaluation, npt.NDArray[np.float64], Dataset]:
    """Measure a model on `data/test`, with and without the images that are also in `data/train`.

    Args:
        scratch: a folder for the decoded images.

    Returns:
        The figures; the scores, shape (n,); and the images that they belong to.
    """
    score, size, threshold = scorer(path)
    known = set(datasets.load(data, "train")[0].digests) if (data / "train").is_dir() else None
    test, unreadable = datasets.load(data, "test")
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
    )
    return evaluation, scores, test


def _keras_scorer(path: Path) -> tuple[Scorer, tuple[int, int], float]:
    from train.backend import keras
    from train.predict import predict

    try:
        model = keras.models.load_model(path, compile=False)
    except (OSError, ValueError) as error:
        raise ModelError(f"{printable(path)}: not a Keras model: {' '.join(str(error).split())[:200]}") from error
    shape = model.input_shape
    if len(shape) != 4 or shape[3] != 3 or None in shape[1:] or tuple(model.output_shape[1:]) != (1,):
        raise ModelError(
            f"{printable(path)}: takes {shape} and returns {model.output_shape};"
            " an image classifier has (n, height, width, 3) and (n, 1)"
        )
    return lambda pixels: predict(model, pixels), (shape[2], shape[1]), THRESHOLD
