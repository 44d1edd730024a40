"""Batches for Keras, the same on every backend."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from train import corruptions
from train.augment import cutmix, flip_and_crop
from train.backend import keras
from train.checkpoint import Settings
from train.recipes.recipe import Recipe


@dataclass(frozen=True)
class Examples:
    """Images to train on, with the targets of each.

    Attributes:
        images: uint8 pixels, shape (n, height, width, 3); or features that frozen layers computed, of any float type.
        labels: 1 for REAL, 0 for FAKE; int8, shape (n,).
        subjects: what each image shows, one-hot; float32, shape (n, k). k is 0 if the subjects are unknown.
    """

    images: npt.NDArray[Any]
    labels: npt.NDArray[np.int8]
    subjects: npt.NDArray[np.float32]


class TrainingBatches(keras.utils.PyDataset):  # type: ignore[misc]  # Keras ships no types
    """One epoch of augmented images in random order.

    The batches depend on (seed, epoch) alone, so a resumed run sees the batches that it would have seen.
    """

    def __init__(self, examples: Examples, settings: Settings, recipe: Recipe, epoch: int) -> None:
        super().__init__()
        self.examples, self.settings, self.recipe, self.epoch = examples, settings, recipe, epoch
        self.order = np.random.default_rng([settings.seed, epoch]).permutation(len(examples.labels))

    def __len__(self) -> int:
        return steps_per_epoch(len(self.order), self.settings.batch_size)

    def __getitem__(self, index: int) -> tuple[npt.NDArray[np.float32], Any]:
        size, examples = self.settings.batch_size, self.examples
        chosen = self.order[index * size : (index + 1) * size]
        images = examples.images[chosen]
        targets = np.concatenate((examples.labels[chosen, None], examples.subjects[chosen]), axis=1, dtype=np.float32)
        random = np.random.default_rng([self.settings.seed, self.epoch, index])
        if self.recipe.crop_padding:
            images = flip_and_crop(images, self.recipe.crop_padding, random)
        if self.settings.corrupted and images.dtype == np.uint8:
            images = corruptions.at_random(images, self.settings.corrupted, random)
        if self.recipe.mixed:
            images, targets = cutmix(images, targets, self.recipe.mixed, random)
        has_subjects = targets.shape[1] > 1
        return as_input(images), (targets[:, :1], targets[:, 1:]) if has_subjects else targets


def for_training(batches: TrainingBatches) -> Any:
    """The argument for Keras's `fit`: on TensorFlow a `tf.data.Dataset` without autotuning, elsewhere the batches.

    TensorFlow's autotuning thread may sleep for up to a minute, and the end of an epoch waits for it: half a minute
    on average.
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
    """The number of whole batches; the images of the last, incomplete one are left out of the epoch."""
    return max(1, images // batch_size)


class Batches(keras.utils.PyDataset):  # type: ignore[misc]
    """Every image once, in order, without augmentation."""

    def __init__(self, pixels: npt.NDArray[Any], batch_size: int) -> None:
        super().__init__()
        self.pixels, self.batch_size = pixels, batch_size

    def __len__(self) -> int:
        return -(-len(self.pixels) // self.batch_size)

    def __getitem__(self, index: int) -> tuple[npt.NDArray[np.float32]]:
        return (as_input(self.pixels[index * self.batch_size : (index + 1) * self.batch_size]),)


def as_input(pixels: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """The input of a float network: uint8 pixels become float32 in [0, 1]; features of frozen layers are not scaled."""
    if pixels.dtype != np.uint8:
        return pixels.astype(np.float32)
    return pixels.astype(np.float32) / np.float32(255)
