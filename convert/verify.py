"""Whether a converted file still says what its Keras model says."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from convert.backend import keras
from convert.errors import ConversionError
from convert.sample import Sample
from edge.classifier import Classifier

MAX_LOSS = 0.005  # of accuracy, as a fraction: more is a failed conversion
TIMED_CALLS = 200
BATCH_SIZE = 256

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Measured:
    """One format beside the Keras model, on the same images.

    Attributes:
        milliseconds: median of one image at a time on one thread, network only.
        label_agreement: share of images to which both give the same label.
        max_difference, mean_difference: of P(REAL), absolute.
    """

    images: int
    origin: str
    accuracy_keras: float
    accuracy: float
    label_agreement: float
    max_difference: float
    mean_difference: float
    bytes: int
    milliseconds: float

    def as_json(self) -> dict[str, Any]:
        return {
            key: float(f"{value:.5g}") if isinstance(value, float) else value for key, value in asdict(self).items()
        }


def keras_scores(model: keras.Model, sample: Sample) -> Floats:
    """P(REAL) by the Keras model, shape (n,)."""
    scores = []
    for start in range(0, len(sample.pixels), BATCH_SIZE):  # a batch at a time: as float32 all would take much memory
        images = sample.pixels[start : start + BATCH_SIZE].astype(np.float32) / np.float32(255)
        scores.append(np.asarray(model.predict_on_batch(images), np.float64).reshape(-1))
    return np.concatenate(scores)


def keras_milliseconds(model: keras.Model, sample: Sample) -> float:
    """Median of one image at a time, as a user of the Keras file would call it."""
    one = sample.pixels[:1].astype(np.float32) / np.float32(255)
    return _milliseconds(lambda: model.predict_on_batch(one))


def verify(classifier: Classifier, by_keras: Floats, sample: Sample) -> Measured:
    """Run the device's own classifier over the images and compare.

    Raises:
        ConversionError: the accuracy fell by more than MAX_LOSS.
    """
    scores = of_pictures(np.array([classifier.score(pixels) for pixels in sample.pixels], np.float64), sample)
    by_keras, is_real = of_pictures(by_keras, sample), labels_of_pictures(sample)
    threshold = classifier.model.threshold
    limit = classifier.model.description.score_limit if classifier.model.description else 0.0
    differences = np.abs(scores - np.clip(by_keras, limit, 1 - limit))  # the classifier keeps its scores within that
    measured = Measured(
        images=len(scores),
        origin=sample.origin,
        accuracy_keras=float(np.mean((by_keras > threshold) == is_real)),
        accuracy=float(np.mean((scores > threshold) == is_real)),
        label_agreement=float(np.mean((scores > threshold) == (by_keras > threshold))),
        max_difference=float(differences.max()),
        mean_difference=float(differences.mean()),
        bytes=len(classifier.model.content),
        milliseconds=_milliseconds(lambda: classifier.score(sample.pixels[0])),
    )
    if measured.accuracy_keras - measured.accuracy > MAX_LOSS:
        raise ConversionError(
            f"{classifier.model.path.name} lost {measured.accuracy_keras - measured.accuracy:.2%} of accuracy"
            f" ({measured.accuracy_keras:.2%} before, {measured.accuracy:.2%} after; at most {MAX_LOSS:.1%} allowed);"
            " nothing was written"
        )
    return measured


def of_pictures(scores: Floats, sample: Sample) -> Floats:
    """Of views, the mean of the logits of each picture, as a probability; of whole images their scores."""
    if sample.picture is None:
        return scores
    clipped = np.clip(scores, 1e-6, 1 - 1e-6)
    sums = np.bincount(sample.picture, np.log(clipped / (1 - clipped)))
    found: Floats = 1 / (1 + np.exp(-sums / np.bincount(sample.picture)))
    return found


def labels_of_pictures(sample: Sample) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Whether each picture is REAL, or each image."""
    if sample.picture is None:
        return sample.is_real
    return sample.is_real[np.unique(sample.picture, return_index=True)[1]]


def _milliseconds(call: Callable[[], object]) -> float:
    call()
    seconds = []
    for _ in range(TIMED_CALLS):
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
    return float(np.median(seconds)) * 1000
