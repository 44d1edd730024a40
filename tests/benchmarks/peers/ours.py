"""edge-detect, in one process, as `classify` does it."""

from pathlib import Path

from protocol import Classify, run


def load(model: str) -> Classify:
    from edge.inference.classifier import Classifier
    from edge.inference.model import load as load_model

    network = Classifier(load_model(Path(model)))
    return lambda path: network.classify(path).score


run(load)
