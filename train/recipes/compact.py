"""`compact`, the network for thumbnails, and `small`, which needs two thirds of its time; both take 32x32 pixels.

A generated thumbnail differs from a photograph in the finest detail, so the
first block works at full resolution, and images are not scaled up. Plain 3x3
convolutions, max pooling and ReLU quantise well, and all run on the Edge TPU.
train/EXPERIMENTS.md has the gain of each choice.
"""

from dataclasses import replace
from functools import partial
from typing import Any

from train.backend import keras
from train.recipes.recipe import P_REAL, Recipe

Blocks = tuple[tuple[int, ...], ...]  # filters of each convolution, block by block; between blocks is a pooling
COMPACT: Blocks = ((32, 32), (64, 64, 64), (128, 128), (192, 192))
SMALL: Blocks = ((32, 32), (64, 64), (128, 128))


def build(weights: str = "none", *, name: str, blocks: Blocks) -> keras.Model:
    """The network, uncompiled; `weights` is ignored, because there are no pretrained weights."""
    inputs = x = keras.Input((32, 32, 3), name="rgb")
    for block, filters in enumerate(blocks):
        for layer, width in enumerate(filters):
            is_last = layer == len(filters) - 1
            x = _convolution(x, width, pooled=is_last and block < len(blocks) - 1)
    # float32 under mixed precision, too: 16 bits are too few for a mean of many values, or a sigmoid near 0 and 1.
    x = keras.layers.GlobalAveragePooling2D(dtype="float32")(x)
    outputs = keras.layers.Dense(1, activation="sigmoid", dtype="float32", name=P_REAL)(x)
    return keras.Model(inputs, outputs, name=name)


def _convolution(x: Any, filters: int, *, pooled: bool) -> Any:
    x = keras.layers.Conv2D(filters, 3, padding="same", use_bias=False, kernel_initializer="he_normal")(x)
    if pooled:  # before the normalisation, which then has a quarter of the work
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
