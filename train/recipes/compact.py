"""`compact`, the default network, and `small`, the same idea at two thirds of the work; both at CIFAKE's native 32x32.

What gives a generated thumbnail away lies in its finest detail, so the first
block works at full resolution and nothing is scaled up. Plain 3x3
convolutions, max pooling and ReLU quantise well and all map to the Edge TPU.
What each choice gained is in train/EXPERIMENTS.md.
"""

from dataclasses import replace
from functools import partial
from typing import Any

from train.backend import keras
from train.recipes.recipe import P_REAL, Recipe

Blocks = tuple[tuple[int, ...], ...]  # the filters of each convolution; blocks are parted by pooling
COMPACT: Blocks = ((32, 32), (64, 64, 64), (128, 128), (192, 192))
SMALL: Blocks = ((32, 32), (64, 64), (128, 128))


def build(weights: str = "none", *, name: str, blocks: Blocks) -> keras.Model:
    """The network; it has no pretrained weights, so `weights` is ignored."""
    inputs = x = keras.Input((32, 32, 3), name="rgb")
    for block, filters in enumerate(blocks):
        for layer, width in enumerate(filters):
            is_last = layer == len(filters) - 1
            x = _convolution(x, width, pooled=is_last and block < len(blocks) - 1)
    # float32 also under mixed precision: 16 bits are too few for a mean of many values, or a sigmoid near 0 and 1.
    x = keras.layers.GlobalAveragePooling2D(dtype="float32")(x)
    outputs = keras.layers.Dense(1, activation="sigmoid", dtype="float32", name=P_REAL)(x)
    return keras.Model(inputs, outputs, name=name)


def _convolution(x: Any, filters: int, *, pooled: bool) -> Any:
    x = keras.layers.Conv2D(filters, 3, padding="same", use_bias=False, kernel_initializer="he_normal")(x)
    if pooled:  # before the normalisation, which then has a quarter of the values to go through
        x = keras.layers.MaxPooling2D()(x)
    x = keras.layers.BatchNormalization(momentum=0.98)(x)
    return keras.layers.ReLU()(x)


RECIPE = Recipe(
    name="compact",
    build=partial(build, name="compact", blocks=COMPACT),
    weights="none",
    size=(32, 32),
    epochs=42,
    batch_size=128,
    learning_rate=2e-3,
    warmup_epochs=1,
    weight_decay=0.05,
    crop_padding=4,
    corrupted=0.25,
    mixed=0.5,
    optimizer="muon",
    subject_weight=0.5,
    average_decay=0.999,
)
SMALL_RECIPE = replace(RECIPE, name="small", build=partial(build, name="small", blocks=SMALL))
