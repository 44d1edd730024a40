"""ONNX Runtime with the same network, and Pillow."""

from protocol import Classify, run


def load(model: str) -> Classify:
    import numpy as np
    import onnxruntime
    from PIL import Image

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    takes = session.get_inputs()[0]
    _, height, width, _ = takes.shape

    def classify(path: str) -> float:
        image = Image.open(path).convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
        return float(session.run(None, {takes.name: np.asarray(image, np.float32)[None] / np.float32(255)})[0][0][0])

    return classify


run(load)
