"""OpenCV's DNN module with the same network, and OpenCV's own decoders."""

from protocol import Classify, run

SIZE = (32, 32)


def load(model: str) -> Classify:
    import cv2
    import numpy as np

    network = cv2.dnn.readNet(model)

    def classify(path: str) -> float:
        image = cv2.imread(path, cv2.IMREAD_COLOR)
        if image.shape[:2] != SIZE:
            # OpenCV's INTER_CUBIC looks at 16 pixels, however large the reduction: this is what its manual advises.
            image = cv2.resize(image, SIZE, interpolation=cv2.INTER_AREA)
        network.setInput(cv2.cvtColor(image, cv2.COLOR_BGR2RGB)[None].astype(np.float32) / np.float32(255))
        return float(network.forward().ravel()[0])

    return classify


run(load)
