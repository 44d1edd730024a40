"""Run a Keras model over images."""

from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
import numpy.typing as npt

from edge.imaging.preprocess import Pixels
from train.backend import keras
from train.batches import Batches, as_input

BATCH_SIZE = 256


def predict(model: keras.Model, pixels: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """P(REAL) of each image, shape (n,).

    Args:
        pixels: uint8, shape (n, height, width, 3); or `features`, for the layers of a model after its frozen ones.
    """
    scores = model.predict(Batches(pixels, BATCH_SIZE), verbose=0)
    return np.asarray(scores, np.float64).reshape(-1)


def features(model: keras.Model, pixels: Pixels, scratch: Path) -> npt.NDArray[np.float16]:
    """The output of frozen layers for each image, computed once: float16, shape (n, ...).

    It lies in an unnamed file that is mapped into memory, as decoded pixels do.

    Args:
        pixels: uint8, shape (n, height, width, 3).
        scratch: a folder on a disk with room for the output.
    """
    with TemporaryFile(dir=scratch) as file:
        made = np.memmap(file, np.float16, "w+", shape=(len(pixels), *model.output_shape[1:]))
    for start in range(0, len(pixels), BATCH_SIZE):
        chunk = as_input(pixels[start : start + BATCH_SIZE])
        made[start : start + BATCH_SIZE] = np.asarray(model.predict_on_batch(chunk))
    return made
