"""The student project's way: TensorFlow's own interpreter and a plain Pillow loop, on the float16 file."""

import os

from photo_views import Network
from protocol import Classify, run

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"


def load(model: str) -> Classify:
    from PIL import Image

    score, size = _interpreter(model)
    return lambda path: score(Image.open(path).convert("RGB").resize(size, Image.Resampling.BICUBIC))


def network(model: str) -> Network:
    return _interpreter(model)[0]


def _interpreter(model: str) -> tuple[Network, tuple[int, int]]:
    import numpy as np
    import tensorflow as tf

    interpreter = tf.lite.Interpreter(model_path=model)
    interpreter.allocate_tensors()
    takes, returns = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    _, height, width, _ = takes["shape"]

    def score(pixels: object) -> float:
        interpreter.set_tensor(takes["index"], np.asarray(pixels, np.float32)[None] / np.float32(255))
        interpreter.invoke()
        return float(interpreter.get_tensor(returns["index"])[0][0])

    return score, (width, height)


run(load, network)
