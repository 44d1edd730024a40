"""A Keras model's scores."""

import numpy as np
import numpy.typing as npt

from edge.image import Pixels
from train.backend import keras
from train.batches import Batches

BATCH_SIZE = 256


def predict(model: keras.Model, pixels: Pixels) -> npt.NDArray[np.float64]:
    """P(REAL) of each image: shape (n,), for pixels of shape (n, height, width, 3)."""
    scores = model.predict(Batches(pixels, BATCH_SIZE), verbose=0)
    return np.asarray(scores, np.float64).reshape(-1)
