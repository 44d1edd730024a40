"""OpenCV's DNN module with the same network, and OpenCV's own decoders; the views of photos are cut with Pillow."""

from photo_views import Network
from protocol import Classify, run

SIZE = (32, 32)


def load(model: str) -> Classify:
    import cv2

    score = network(model)

    def classify(path: str) -> float:
        image = cv2.imread(path, cv2.IMREAD_COLOR)
        if image.shape[:2] != SIZE:
            # OpenCV's INTER_CUBIC looks at 16 pixels, however large the reduction: this is what its manual advises.
            image = cv2.resize(image, SIZE, interpolation=cv2.INTER_AREA)
        return score(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))

    return classify


def network(model: str) -> Network:
    import cv2
    import numpy as np

    dnn = cv2.dnn.readNet(model)

    def score(pixels: object) -> float:
        dnn.setInput(np.asarray(pixels, np.float32)[None] / np.float32(255))
        return float(dnn.forward().ravel()[0])

    return score


run(load, network)
