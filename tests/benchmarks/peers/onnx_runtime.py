"""ONNX Runtime with the same network, and Pillow."""

from protocol import Classify, run


def load(model: str, threads: int = 0) -> Classify:
    """
    Args:
        threads: 0 is as many as it thinks right.
    """
    import numpy as np
    import onnxruntime
    from PIL import Image

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    takes = session.get_inputs()[0]
    _, height, width, _ = takes.shape

    def classify(path: str) -> float:
        image = Image.open(path).convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
        return float(session.run(None, {takes.name: np.asarray(image, np.float32)[None] / np.float32(255)})[0][0][0])

    return classify


if __name__ == "__main__":
    run(load)
