"""Fit P(REAL) to the logits of a picture's views, and the thresholds of the three answers.

Both are fitted on the validation pictures, in the tiers `clean` and `web`, with
the LiteRT file as the device runs it.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge.inference.model import Fusion, OperatingPoint, Views, description_path, load
from train.files import write_whole
from train.photos.collection import CollectionError, Picture
from train.photos.scores import Scored, scored

TIERS = ("clean", "web")
POINTS = {"1%": 0.01, "3%": 0.03, "10%": 0.10}  # name: share of real pictures that may be called FAKE
DEFAULT_POINT = "3%"
SOURCE_FACTOR = 8 / 3  # limit for a single source: this many times the share of false alarms of all sources
LEAST_PICTURES = 20  # pictures of a source that has this limit; in a smaller one a single picture would decide
MISSES = 0.10  # share of generated pictures that may be called REAL
STEPS = 50  # of Newton's method

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Calibrated:
    """Fitted values, and the number of answers that they were fitted to."""

    fusion: Fusion
    points: tuple[OperatingPoint, ...]
    answers: int


def calibrate(model: Path, pictures: Sequence[Picture]) -> Calibrated:
    """Run a model on the validation pictures, and write fusion and operating points into its JSON.

    Raises:
        ModelError: the model cannot be run.
        CollectionError: a class has no pictures, the model takes no views, or its logits do not separate the classes.
    """
    loaded = load(model)
    if loaded.description is None or loaded.description.views is None:
        raise CollectionError(f"{model}: its JSON has no views; only a model that judges crops has operating points")
    rows, _ = scored(model, pictures, TIERS)
    if {row.picture.label for row in rows} != {0, 1}:
        raise CollectionError("calibration needs validation pictures of both classes")
    found = from_logits(rows, loaded.description.views, loaded.description.score_limit)
    path = description_path(model)
    data = json.loads(path.read_text("utf-8"))
    description = replace(
        loaded.description, fusion=found.fusion, operating_points=found.points, operating_point=DEFAULT_POINT
    )
    write_whole(path, json.dumps(data | json.loads(description.to_json()), indent=1) + "\n")
    return found


def from_logits(rows: Sequence[Scored], views: Views, limit: float) -> Calibrated:
    """Fit fusion and operating points to the answers of a model.

    Args:
        limit: `score_limit` of the model's description.

    Raises:
        CollectionError: the logits do not separate the classes.
    """
    weights = np.array(views.weights)
    logits = np.array([row.logits for row in rows])
    labels = np.array([row.picture.label for row in rows], np.int8)
    sources = np.array([f"{row.picture.label}/{row.picture.source}" for row in rows])
    importance = importances(labels, sources)
    fusion = _fitted(logits @ weights / weights.sum(), labels, importance)
    scores = fused(logits, views, fusion, limit)
    return Calibrated(fusion, tuple(_points(scores, labels, sources, importance)), len(rows))


def importances(labels: npt.NDArray[np.int8], sources: npt.NDArray[np.str_]) -> Floats:
    """The weight of each answer in the fit, shape (n,); their sum is 1.

    Each class gets half. Within a class, a source gets a weight that grows with the square root of its size.
    """
    _, index, counts = np.unique(sources, return_inverse=True, return_counts=True)
    weights: Floats = 1 / np.sqrt(counts[index])
    for label in (0, 1):
        weights[labels == label] /= 2 * weights[labels == label].sum()
    return weights


def fused(logits: Floats, views: Views, fusion: Fusion, limit: float) -> Floats:
    """P(REAL) of many pictures from their views' logits, as `edge.inference.classifier.Classifier.judge` computes it.

    Args:
        logits: of every view, the first views and the further ones; shape (n, views).
        limit: `score_limit` of the model's description.

    Returns:
        P(REAL), shape (n,).
    """
    weights = np.array(views.weights)
    first = views.first_count
    by_first = _sigmoid(fusion.scale * (logits[:, :first] @ weights[:first] / weights[:first].sum()) + fusion.offset)
    by_all = _sigmoid(fusion.scale * (logits @ weights / weights.sum()) + fusion.offset)
    low, high = views.further_between
    found = np.where((by_first >= low) & (by_first <= high), by_all, by_first)
    return np.clip(found, limit, 1 - limit)


def _sigmoid(logits: Floats) -> Floats:
    return 1 / (1 + np.exp(-logits))


def _fitted(means: Floats, labels: npt.NDArray[np.int8], importance: Floats) -> Fusion:
    """Logistic regression on the mean logit (Platt 1999), by Newton's method."""
    design, found = np.stack([means, np.ones_like(means)], 1), np.array([1.0, 0.0])
    for _ in range(STEPS):
        p = _sigmoid(design @ found)
        slope = design.T @ (importance * (p - labels))
        curvature = (design * (importance * p * (1 - p))[:, None]).T @ design + 1e-6 * np.eye(2)
        found = found - np.linalg.solve(curvature, slope)
    scale, offset = map(float, found)
    if not (math.isfinite(scale) and scale > 0):
        raise CollectionError(
            "the model's logits do not rise with the share of real pictures: train it longer before you calibrate it"
        )
    return Fusion(scale, offset)


def _points(
    scores: Floats, labels: npt.NDArray[np.int8], sources: npt.NDArray[np.str_], importance: Floats
) -> "list[OperatingPoint]":
    """The thresholds of each of POINTS, with the false alarms and misses that were measured."""
    real, fake = labels == 1, labels == 0
    large = [scores[sources == name] for name in np.unique(sources[real]) if (sources == name).sum() >= LEAST_PICTURES]
    real_above = _quantile(scores[fake], importance[fake], 1 - MISSES)
    points = []
    for name, share in POINTS.items():
        below = _quantile(scores[real], importance[real], share)
        below = min([below, *(_quantile(of_source, None, SOURCE_FACTOR * share) for of_source in large)])
        # The thresholds of a good model may cross. Then the point has one threshold, in the middle, and no UNSURE.
        low, high = (below, real_above) if below <= real_above else ((below + real_above) / 2,) * 2
        points.append(
            OperatingPoint(
                name=name,
                false_alarms=float(importance[real & (scores < low)].sum() * 2),
                misses=float(importance[fake & (scores > high)].sum() * 2),
                fake_below=low,
                real_above=high,
            )
        )
    return points


def _quantile(scores: Floats, importance: Floats | None, share: float) -> float:
    """The greatest score below which at most this share of the weight lies; None weighs all scores alike."""
    order = np.argsort(scores)
    weights = np.full(len(scores), 1 / len(scores)) if importance is None else importance[order] / importance.sum()
    below = np.cumsum(weights) - weights  # weight of the smaller scores
    return float(scores[order][below <= share][-1])
