"""What a recipe is."""

from collections.abc import Callable
from dataclasses import dataclass

from edge.errors import EdgeDetectError
from train.backend import keras


class WeightsError(EdgeDetectError):
    """The pretrained weights that were asked for cannot be had."""


@dataclass(frozen=True)
class Recipe:
    """A network and how it is trained.

    Attributes:
        build: from the ImageNet weights asked for ("imagenet", "none" or a
            file; ignored by a network that has none) to an uncompiled model:
            input NHWC RGB in [0, 1], output shape (n, 1), P(REAL).
        weights: of the backbone, where the caller asks for none in particular.
        size: (width, height) of the input in pixels.
        learning_rate: the highest, reached after `warmup_epochs`, then cosine down to 0;
            constant where `warmup_epochs` is None.
        weight_decay: decoupled, as in AdamW; not on biases and normalisation.
        crop_padding: pixels of random shift; 0 trains on the images as they are, unmirrored.
    """

    name: str
    build: Callable[[str], keras.Model]
    weights: str
    size: tuple[int, int]
    epochs: int
    batch_size: int
    learning_rate: float
    warmup_epochs: float | None
    weight_decay: float
    crop_padding: int
