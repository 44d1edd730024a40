"""Temperature scaling: it makes a model's confidence equal to its accuracy."""

import numpy as np

from train.backend import keras
from train.metrics import Floats, Labels

STEPS = 30  # of Newton's method
HIGHEST = 10.0  # temperature; the lowest is 1 / HIGHEST. Beyond, a handful of images would decide


def temperature(scores: Floats, labels: Labels) -> float:
    """The temperature to divide the logits by, so that the log loss is least: Guo et al. 2017 (arXiv:1706.04599).

    Args:
        scores: P(REAL), shape (n,).
        labels: 1 for REAL, 0 for FAKE, shape (n,).

    Returns:
        The temperature; above 1 for an overconfident network. 1 if the labels determine none: the scores are never
        wrong, or no better than chance.
    """
    clipped = np.clip(scores, 1e-7, 1 - 1e-7)
    logits = np.log(clipped / (1 - clipped))
    is_never_wrong = np.all((logits > 0) == (labels == 1))
    if is_never_wrong or np.mean((0.5 - labels) * logits) >= 0:
        return 1.0  # the least loss would be at a temperature of 0, or at an infinite one
    inverse = 1.0
    for _ in range(STEPS):  # Newton's method; the loss is convex in the inverse of the temperature
        p = 1 / (1 + np.exp(-inverse * logits))
        slope, curvature = np.mean((p - labels) * logits), np.mean(p * (1 - p) * logits**2)
        inverse = float(np.clip(inverse - slope / max(curvature, 1e-9), 1 / HIGHEST, HIGHEST))
    return 1 / inverse


def calibrate(model: keras.Model, scores: Floats, labels: Labels) -> float:
    """Find the temperature of a model's validation scores, divide its last layer by it, and return it.

    The verdicts stay the same: a logit of 0 is P(REAL) = 0.5 at any temperature.
    """
    found = temperature(scores, labels)
    last = model.layers[-1]
    last.set_weights([weight / found for weight in last.get_weights()])
    return found
