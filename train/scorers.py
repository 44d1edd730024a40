"""Load a model file as a function that scores pixels."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge.errors import ModelError, printable
from edge.imaging.preprocess import Pixels
from edge.inference.classifier import Classifier
from edge.inference.model import THRESHOLD, load

Scorer = Callable[[Pixels], npt.NDArray[np.float64]]


def scorer(path: Path) -> tuple[Scorer, tuple[int, int], float]:
    """Load a model.

    Args:
        path: a `.keras` file; or a `.tflite` file, which runs in the device's own classifier.

    Returns:
        (score, size, threshold): a function from uint8 pixels, shape (n, height, width, 3), to P(REAL), shape (n,); the
        (width, height) that it takes; and the score above which an image is called REAL.

    Raises:
        ModelError: the file is missing, or is not an image classifier.
    """
    if path.suffix == ".keras":
        return _keras_scorer(path)
    classifier = Classifier(load(path))

    def score(pixels: Pixels) -> npt.NDArray[np.float64]:
        return np.array([classifier.score(image) for image in pixels], np.float64)

    return score, classifier.size, classifier.model.threshold


def _keras_scorer(path: Path) -> tuple[Scorer, tuple[int, int], float]:
    from train.backend import keras
    from train.inference import predict

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
