"""Batches for Keras, the same on every backend."""

import numpy as np
import numpy.typing as npt

from edge.image import Pixels
from train.augment import flip_and_crop
from train.backend import keras


class TrainingBatches(keras.utils.PyDataset):  # type: ignore[misc]  # Keras ships no types
    """One epoch in random order, augmented: a function of (seed, epoch) alone, so that a resumed run sees the same."""

    def __init__(
        self, pixels: Pixels, labels: npt.NDArray[np.int8], batch_size: int, crop_padding: int, seed: int, epoch: int
    ) -> None:
        super().__init__()
        self.pixels, self.labels = pixels, labels
        self.batch_size, self.crop_padding = batch_size, crop_padding
        self.seed, self.epoch = seed, epoch
        self.order = np.random.default_rng([seed, epoch]).permutation(len(labels))

    def __len__(self) -> int:
        return max(1, len(self.labels) // self.batch_size)  # the rest gets its turn in another epoch's order

    def __getitem__(self, index: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        chosen = self.order[index * self.batch_size : (index + 1) * self.batch_size]
        pixels = self.pixels[chosen]
        if self.crop_padding:
            pixels = flip_and_crop(pixels, self.crop_padding, np.random.default_rng([self.seed, self.epoch, index]))
        return as_input(pixels), self.labels[chosen].astype(np.float32)[:, None]


class Batches(keras.utils.PyDataset):  # type: ignore[misc]
    """Every image once, in order, as it is."""

    def __init__(self, pixels: Pixels, batch_size: int) -> None:
        super().__init__()
        self.pixels, self.batch_size = pixels, batch_size

    def __len__(self) -> int:
        return -(-len(self.pixels) // self.batch_size)

    def __getitem__(self, index: int) -> tuple[npt.NDArray[np.float32]]:
        return (as_input(self.pixels[index * self.batch_size : (index + 1) * self.batch_size]),)


def as_input(pixels: Pixels) -> npt.NDArray[np.float32]:
    """uint8 pixels as what every float model of ours takes: float32 in [0, 1]."""
    return pixels.astype(np.float32) / np.float32(255)
