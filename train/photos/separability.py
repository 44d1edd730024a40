"""Measure how well features separate the two classes, on groups that were held out.

The classifier is a logistic regression on features that are divided into
ranges, so that it also finds a feature such as "exactly 512 pixels".
"""

import hashlib

import numpy as np
import numpy.typing as npt

from edge.inference.model import THRESHOLD

FOLDS = 5
RANGES = 8  # of a feature, each with the same number of examples
PENALTY = 0.01  # on squared weights, added to the mean loss of an example
STEPS = 7  # of Newton's method
DRAWS = 200  # bootstrap samples of an interval

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int8]
Names = npt.NDArray[np.str_]


def held_out_scores(features: Floats, labels: Labels, groups: Names, weights: Floats) -> Floats:
    """P(REAL) of each example, from a classifier that was trained on other groups; shape (n,).

    Args:
        features: shape (n, k).
        labels: 1 for REAL, 0 for FAKE, shape (n,).
        groups: name of each example's group, shape (n,).
        weights: weight of each example, shape (n,); they are scaled so that both classes have the same sum.
    """
    fold_of = _folds(labels, groups)
    scores = np.full(len(labels), THRESHOLD)
    for fold in range(FOLDS):
        held_out = fold_of == fold
        training = ~held_out
        if not held_out.any() or len(np.unique(labels[training])) < 2:
            continue
        edges = [
            np.unique(np.quantile(column[training], np.arange(1, RANGES) / RANGES, method="lower"))
            for column in features.T
        ]
        columns = np.concatenate([_in_ranges(*pair) for pair in zip(features.T, edges, strict=True)], axis=1)
        found = _regression(columns[training], labels[training], _balanced_weights(labels[training], weights[training]))
        scores[held_out] = _sigmoid(columns[held_out] @ found[1:] + found[0])
    return scores


def _folds(labels: Labels, groups: Names) -> npt.NDArray[np.intp]:
    """The fold of each example: the groups of each class are dealt to FOLDS in a fixed order."""
    of_group: dict[str, int] = {}
    for label in (1, 0):
        names = {str(name) for name in groups[labels == label]} - set(of_group)
        ranked = sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())
        of_group |= {name: place % FOLDS for place, name in enumerate(ranked)}
    return np.array([of_group[str(name)] for name in groups])


def _in_ranges(values: Floats, edges: Floats) -> Floats:
    return np.asarray(np.searchsorted(edges, values, side="left")[:, None] == np.arange(len(edges) + 1), np.float64)


def _balanced_weights(labels: Labels, weights: Floats) -> Floats:
    """The weights, scaled so that those of each class add up to a half."""
    sums = np.array([weights[labels == label].sum() for label in (0, 1)])
    return np.asarray(weights / (2 * sums[labels]))


def _regression(columns: Floats, labels: Labels, weights: Floats) -> Floats:
    """The coefficients of a logistic regression, the constant first, by Newton's method."""
    inputs = np.concatenate([np.ones((len(columns), 1)), columns], axis=1)
    penalty = np.full(inputs.shape[1], PENALTY)
    penalty[0] = 1e-6
    found = np.zeros(inputs.shape[1])
    for _ in range(STEPS):
        p = _sigmoid(inputs @ found)
        slope = inputs.T @ (weights * (p - labels)) + penalty * found
        curvature = (inputs * (weights * p * (1 - p))[:, None]).T @ inputs + np.diag(penalty)
        found = found - np.linalg.solve(curvature, slope)
    return found


def _sigmoid(logits: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.clip(logits, -30, 30))))


def balanced_accuracy(scores: Floats, labels: Labels, groups: Names, weights: Floats) -> tuple[float, float, float]:
    """(balanced accuracy, low, high): the figure and its 95 % confidence interval, by bootstrap over groups."""
    random = np.random.default_rng(0)
    members = [
        [np.flatnonzero((groups == name) & (labels == label)) for name in np.unique(groups[labels == label])]
        for label in (0, 1)
    ]

    def figure(chosen: npt.NDArray[np.intp]) -> float:
        right = (scores[chosen] > THRESHOLD) == (labels[chosen] == 1)
        return min(
            1.0, float((_balanced_weights(labels[chosen], weights[chosen]) * right).sum())
        )  # rounding may exceed 1

    drawn = [
        figure(np.concatenate([of[i] for of in members for i in random.integers(len(of), size=len(of))]))
        for _ in range(DRAWS)
    ]
    low, high = np.percentile(drawn, (2.5, 97.5))
    return figure(np.arange(len(labels))), float(low), float(high)
