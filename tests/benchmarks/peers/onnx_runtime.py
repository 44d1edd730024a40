"""ONNX Runtime with the same network, and Pillow."""

from photo_views import Network
from protocol import Classify, run


def load(model: str, threads: int = 0) -> Classify:
    """
    Args:
        threads: 0 is as many as it thinks right.
    """
    from PIL import Image

    score, size = _session(model, threads)
    return lambda path: score(Image.open(path).convert("RGB").resize(size, Image.Resampling.BICUBIC))


def network(model: str, threads: int = 0) -> Network:
    """See `load`."""
    return _session(model, threads)[0]


def _session(model: str, threads: int) -> tuple[Network, tuple[int, int]]:
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    takes = session.get_inputs()[0]
    _, height, width, _ = takes.shape

    def score(pixels: object) -> float:
        return float(session.run(None, {takes.name: np.asarray(pixels, np.float32)[None] / np.float32(255)})[0][0][0])

    return score, (width, height)


if __name__ == "__main__":
    run(load, network)
