"""`compact`: the default network, at CIFAKE's native 32x32.

What gives a generated thumbnail away lies in its finest detail, so the first
block works at full resolution and nothing is scaled up. Plain 3x3
convolutions, max pooling and ReLU quantise well and all map to the Edge TPU.
What each choice gained is in train/EXPERIMENTS.md.
"""

from typing import Any

from train.backend import keras
from train.recipes.recipe import P_REAL, Recipe

BLOCKS = ((32, 32), (64, 64, 64), (128, 128), (192, 192))


def build(weights: str = "none") -> keras.Model:
    """The network; it has no pretrained weights, so `weights` is ignored."""
    inputs = x = keras.Input((32, 32, 3), name="rgb")
    for block, filters in enumerate(BLOCKS):
        for layer, width in enumerate(filters):
            is_last = layer == len(filters) - 1
            x = _convolution(x, width, pooled=is_last and block < len(BLOCKS) - 1)
    # float32 also under mixed precision: 16 bits are too few for the mean of 64 values, and for a sigmoid near 0 and 1.
    x = keras.layers.GlobalAveragePooling2D(dtype="float32")(x)
    outputs = keras.layers.Dense(1, activation="sigmoid", dtype="float32", name=P_REAL)(x)
    return keras.Model(inputs, outputs, name="compact")


def _convolution(x: Any, filters: int, *, pooled: bool) -> Any:
    x = keras.layers.Conv2D(filters, 3, padding="same", use_bias=False, kernel_initializer="he_normal")(x)
    if pooled:  # before the normalisation, which then has a quarter of the values to go through
        x = keras.layers.MaxPooling2D()(x)
    x = keras.layers.BatchNormalization(momentum=0.98)(x)
    return keras.layers.ReLU()(x)


RECIPE = Recipe(
    name="compact",
    build=build,
    weights="none",
    size=(32, 32),
    epochs=36,
    batch_size=128,
    learning_rate=2e-3,
    warmup_epochs=1,
    weight_decay=0.02,
    crop_padding=4,
    corrupted=0.25,
    optimizer="muon",
    subject_weight=0.5,
    average_decay=0.999,
)
