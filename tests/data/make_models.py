"""Write the small networks of `tests/data/models`: python -m tests.data.make_models"""

from pathlib import Path

import numpy as np

from convert import litert
from convert.backend import keras

MODELS = Path(__file__).with_name("models")
WIDTH, HEIGHT = 16, 12  # not a square, so that a swap of the two shows
STEEPNESS = 12.0


def brightness() -> keras.Model:
    """P(REAL) = sigmoid(12 (mean - 0.5)), the mean over all pixels and channels."""
    inputs = keras.Input((HEIGHT, WIDTH, 3), name="rgb")
    x = keras.layers.GlobalAveragePooling2D()(inputs)
    dense = keras.layers.Dense(1, activation="sigmoid", name="p_real")
    model = keras.Model(inputs, dense(x), name="brightness")
    dense.set_weights([np.full((3, 1), STEEPNESS / 3), np.array([-STEEPNESS / 2])])
    return model


def ten_classes() -> keras.Model:
    inputs = keras.Input((HEIGHT, WIDTH, 3), name="rgb")
    x = keras.layers.GlobalAveragePooling2D()(inputs)
    return keras.Model(inputs, keras.layers.Dense(10, activation="softmax")(x), name="ten_classes")


def main() -> None:
    MODELS.mkdir(exist_ok=True)
    random = np.random.default_rng(0)
    calibration = random.integers(0, 256, (64, HEIGHT, WIDTH, 3), np.uint8)
    calibration[::2] //= 4  # dark ones
    calibration[1::4] |= 0xC0  # bright ones
    (MODELS / "brightness_float16.tflite").write_bytes(litert.float16(brightness()))
    (MODELS / "brightness_int8.tflite").write_bytes(litert.int8(brightness(), calibration))
    (MODELS / "ten_classes.tflite").write_bytes(litert.float16(ten_classes()))


if __name__ == "__main__":
    main()
