"""Verify that a converted file still answers as its Keras model does."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from convert import graph
from convert.backend import keras
from convert.calibration_data import Sample
from convert.errors import ConversionError
from edge.inference.classifier import Classifier

MAX_LOSS = 0.005  # greatest loss of accuracy, as a fraction, of a successful conversion
TIMED_CALLS = 200  # for the median time
BATCH_SIZE = 256

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Measured:
    """A converted file compared with its Keras model on the same images.

    Attributes:
        images: number of images, or of pictures with several views.
        origin: what images they are, in words.
        accuracy_keras, accuracy: of the Keras model and of the file, 0-1.
        label_agreement: share of images that get the same label from both.
        max_difference, mean_difference: absolute difference of P(REAL).
        bytes: size of the file.
        milliseconds: median time of the network alone for one image, on one thread.
        view_accuracy_keras, view_accuracy, view_agreement: the same figures of single views; None for whole images.
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
    view_accuracy_keras: float | None = None
    view_accuracy: float | None = None
    view_agreement: float | None = None

    @property
    def loss(self) -> float:
        """The loss of accuracy; with views, that of single views, whose greater number makes it less random."""
        if self.view_accuracy is None or self.view_accuracy_keras is None:
            return self.accuracy_keras - self.accuracy
        return self.view_accuracy_keras - self.view_accuracy

    def as_json(self) -> dict[str, Any]:
        known = {key: value for key, value in asdict(self).items() if value is not None}
        return {key: float(f"{value:.5g}") if isinstance(value, float) else value for key, value in known.items()}


def keras_scores(model: keras.Model, sample: Sample) -> Floats:
    """P(REAL) of each image or view by the Keras model, shape (n,)."""
    scores = []
    for start in range(
        0, len(sample.pixels), BATCH_SIZE
    ):  # in batches, because all images as float32 would take much memory
        images = sample.pixels[start : start + BATCH_SIZE].astype(np.float32) / np.float32(255)
        scores.append(np.asarray(model.predict_on_batch(images), np.float64).reshape(-1))
    return np.concatenate(scores)


def keras_milliseconds(model: keras.Model, sample: Sample) -> float:
    """Median time of the Keras model for one image."""
    one = sample.pixels[:1].astype(np.float32) / np.float32(255)
    return _milliseconds(lambda: model.predict_on_batch(one))


def verify(classifier: Classifier, by_keras: Floats, sample: Sample) -> Measured:
    """Run the device's own classifier over the images, and compare it with the Keras model.

    Args:
        by_keras: P(REAL) of each image or view by the Keras model, shape (n,).

    Raises:
        ConversionError: the accuracy fell by more than MAX_LOSS.
    """
    of_views = np.array([classifier.score(pixels) for pixels in sample.pixels], np.float64)
    by_keras_of_views = by_keras
    scores, by_keras = of_pictures(of_views, sample), of_pictures(by_keras, sample)
    is_real = labels_of_pictures(sample)
    threshold = classifier.model.threshold
    limit = classifier.model.description.score_limit if classifier.model.description else 0.0
    differences = np.abs(
        scores - np.clip(by_keras, limit, 1 - limit)
    )  # the classifier clips its scores in the same way
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
    if sample.picture is not None:
        measured = replace(
            measured,
            view_accuracy_keras=float(np.mean((by_keras_of_views > threshold) == sample.is_real)),
            view_accuracy=float(np.mean((of_views > threshold) == sample.is_real)),
            view_agreement=float(np.mean((of_views > threshold) == (by_keras_of_views > threshold))),
        )
    if measured.loss > MAX_LOSS:
        before = measured.view_accuracy_keras or measured.accuracy_keras
        raise ConversionError(
            f"{classifier.model.path.name} lost {measured.loss:.2%} of accuracy"
            f" ({before:.2%} before, {before - measured.loss:.2%} after; at most {MAX_LOSS:.1%} allowed);"
            " nothing was written"
        )
    return measured


def of_pictures(scores: Floats, sample: Sample) -> Floats:
    """P(REAL) of each picture, by the mean logit of its views; for whole images their scores."""
    if sample.picture is None:
        return scores
    clipped = np.clip(scores, 1e-6, 1 - 1e-6)
    sums = np.bincount(sample.picture, np.log(clipped / (1 - clipped)))
    found: Floats = 1 / (1 + np.exp(-sums / np.bincount(sample.picture)))
    return found


def labels_of_pictures(sample: Sample) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Whether each picture or whole image is REAL."""
    if sample.picture is None:
        return sample.is_real
    return sample.is_real[np.unique(sample.picture, return_index=True)[1]]


def require_fixed_kernels(content: bytes, network: keras.Model) -> None:
    """Check that an int8 file holds the network's fixed kernels exactly.

    A fixed kernel is not trained: it computes the difference between a pixel
    and its neighbours. Its weights are whole 127ths of the largest one, and
    their sum is 0. After rounding the sum would not be 0, and the kernel would
    respond to a flat area.

    Args:
        content: the int8 file.
        network: the Keras network that the file was made from.

    Raises:
        ConversionError: the file does not hold a fixed kernel exactly.
    """
    fixed = [
        layer.get_weights()[0][..., 0]
        for layer in network.layers
        if isinstance(layer, keras.layers.DepthwiseConv2D) and not layer.trainable and layer.depth_multiplier == 1
    ]
    fixed = [kernel for kernel in fixed if _is_of_whole_127ths(kernel)]
    if not fixed:
        return
    tensors = [tensor for tensor in graph.read(content).tensors if tensor.content is not None and tensor.type == "INT8"]
    held = [(tensor.shape, bytes(np.asarray(tensor.content)), tensor.scales) for tensor in tensors]
    for kernel in fixed:
        as_held = (1, *kernel.shape), _in_127ths(kernel).astype(np.int8).tobytes()
        scales = [found for *stored, found in held if tuple(stored) == as_held]
        if not any(np.allclose(np.multiply(found, 127), np.abs(kernel).max((0, 1)), rtol=1e-5) for found in scales):
            raise ConversionError("the int8 file does not hold a fixed kernel of whole 127ths exactly")


def _in_127ths(kernel: npt.NDArray[np.float32]) -> Floats:
    """The weights in 127ths of the largest weight of each channel, rounded."""
    return np.asarray(np.rint(np.asarray(kernel, np.float64) / np.abs(kernel).max((0, 1)) * 127))


def _is_of_whole_127ths(kernel: npt.NDArray[np.float32]) -> bool:
    """Whether the weights are whole 127ths of each channel's largest one, with a sum of 0 in each channel."""
    whole = _in_127ths(kernel)
    scaled = np.asarray(kernel, np.float64) / np.abs(kernel).max((0, 1)) * 127
    return bool(np.allclose(scaled, whole, atol=1e-3) and not whole.sum((0, 1)).any())


def _milliseconds(call: Callable[[], object]) -> float:
    call()
    seconds = []
    for _ in range(TIMED_CALLS):
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
    return float(np.median(seconds)) * 1000
