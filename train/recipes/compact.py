"""`compact`: the default network, at CIFAKE's native 32x32.

What gives a generated thumbnail away lies in its finest detail, so the first
block works at full resolution and nothing is scaled up. Plain 3x3
convolutions, max pooling and ReLU6 quantise well and all map to the Edge TPU.
About 0.29 million parameters and 39 million multiply-adds.
"""

from train.backend import keras
from train.recipes.recipe import Recipe


def build(weights: str = "none") -> keras.Model:
    """The network; it has no pretrained weights, so `weights` is ignored."""
    inputs = x = keras.Input((32, 32, 3), name="rgb")
    for block, filters in enumerate((32, 64, 128)):
        if block:
            x = keras.layers.MaxPooling2D()(x)
        for _ in range(2):
            x = keras.layers.Conv2D(filters, 3, padding="same", use_bias=False, kernel_initializer="he_normal")(x)
            x = keras.layers.BatchNormalization(momentum=0.98)(x)
            x = keras.layers.ReLU(6.0)(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    # float32 also under mixed precision: a 16-bit sigmoid has too few steps near 0 and 1.
    outputs = keras.layers.Dense(1, activation="sigmoid", dtype="float32", name="p_real")(x)
    return keras.Model(inputs, outputs, name="compact")


RECIPE = Recipe(
    name="compact",
    build=build,
    weights="none",
    size=(32, 32),
    epochs=30,
    batch_size=128,
    learning_rate=2e-3,
    warmup_epochs=1,
    weight_decay=0.02,
    crop_padding=4,
)
