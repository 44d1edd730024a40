"""Batches for Keras, the same on every backend."""

from typing import Any

import numpy as np
import numpy.typing as npt

from train import corruptions
from train.augment import cutmix, flip_and_crop
from train.backend import keras
from train.checkpoint import Settings


class TrainingBatches(keras.utils.PyDataset):  # type: ignore[misc]  # Keras ships no types
    """One epoch in random order, augmented: a function of (seed, epoch) alone, so that a resumed run sees the same."""

    def __init__(
        self,
        images: npt.NDArray[Any],
        labels: npt.NDArray[np.int8],
        settings: Settings,
        epoch: int,
        crop_padding: int = 0,
        mixed: float = 0.0,
        subjects: npt.NDArray[np.float32] | None = None,
    ) -> None:
        """
        Args:
            images: pixels as uint8, shape (n, height, width, 3); or what a frozen network made of them, any floats.
            mixed: share of the images that others are pasted into, see `cutmix`.
            subjects: see `train.dataset.subjects`.
        """
        super().__init__()
        self.images, self.labels, self.subjects = images, labels, subjects
        self.settings, self.epoch, self.crop_padding, self.mixed = settings, epoch, crop_padding, mixed
        self.order = np.random.default_rng([settings.seed, epoch]).permutation(len(labels))

    def __len__(self) -> int:
        return steps_per_epoch(len(self.labels), self.settings.batch_size)

    def __getitem__(self, index: int) -> tuple[npt.NDArray[np.float32], Any]:
        size = self.settings.batch_size
        chosen = self.order[index * size : (index + 1) * size]
        images, targets = self.images[chosen], self.labels[chosen].astype(np.float32)[:, None]
        if self.subjects is not None:
            targets = np.concatenate((targets, self.subjects[chosen]), axis=1)
        random = np.random.default_rng([self.settings.seed, self.epoch, index])
        if self.crop_padding:
            images = flip_and_crop(images, self.crop_padding, random)
        if self.settings.corrupted and images.dtype == np.uint8:
            images = corruptions.at_random(images, self.settings.corrupted, random)
        if self.mixed:
            images, targets = cutmix(images, targets, self.mixed, random)
        return as_input(images), targets if self.subjects is None else (targets[:, :1], targets[:, 1:])


def for_training(batches: TrainingBatches) -> Any:
    """What `fit` is given: on TensorFlow a data set without autotuning, elsewhere the batches themselves.

    The thread that tunes a data set looks up from its sleep once in a minute at last, and the end of each epoch waited
    for that: half a minute on average.
    """
    if keras.backend.backend() != "tensorflow":
        return batches
    import tensorflow as tf

    signature = tf.nest.map_structure(lambda array: tf.TensorSpec(array.shape, array.dtype), batches[0])
    dataset = tf.data.Dataset.from_generator(
        lambda: (batches[index] for index in range(len(batches))), output_signature=signature
    )
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.apply(tf.data.experimental.assert_cardinality(len(batches))).prefetch(4).with_options(options)


def steps_per_epoch(images: int, batch_size: int) -> int:
    """Whole batches only: the rest gets its turn in another epoch's order."""
    return max(1, images // batch_size)


class Batches(keras.utils.PyDataset):  # type: ignore[misc]
    """Every image once, in order, as it is."""

    def __init__(self, pixels: npt.NDArray[Any], batch_size: int) -> None:
        super().__init__()
        self.pixels, self.batch_size = pixels, batch_size

    def __len__(self) -> int:
        return -(-len(self.pixels) // self.batch_size)

    def __getitem__(self, index: int) -> tuple[npt.NDArray[np.float32]]:
        return (as_input(self.pixels[index * self.batch_size : (index + 1) * self.batch_size]),)


def as_input(pixels: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """What float models of ours take: uint8 pixels become float32 in [0, 1]; features of a frozen network stay."""
    if pixels.dtype != np.uint8:
        return pixels.astype(np.float32)
    return pixels.astype(np.float32) / np.float32(255)
