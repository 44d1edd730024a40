"""Figures of merit of scores on pictures that come from sources, with numpy alone."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from train.metrics import measure, roc
from train.photos.scores import Scored

Floats = npt.NDArray[np.float64]
DRAWS = 1000  # of sources, for an interval
LEAST_PICTURES = 8  # of a generator or source that is called the worst


@dataclass(frozen=True)
class Interval:
    """A figure and the range that holds it with 95 %, by drawing sources with replacement."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Tier:
    """The figures under one tier; shares are 0-1.

    Attributes:
        balanced_accuracy, auc: of the score alone, at the model's one threshold, every picture alike.
        by_source: balanced accuracy with every source of a class alike, however many pictures it has.
        recall_at: share of generated pictures found where a share of the real ones is called FAKE.
        false_alarms, misses: of the three answers: REAL called FAKE, FAKE called REAL.
        unsure_real, unsure_fake: answered UNSURE.
    """

    pictures: int
    balanced_accuracy: Interval
    by_source: Interval
    auc: Interval
    recall_at: dict[str, float]
    false_alarms: float
    misses: float
    unsure_real: float
    unsure_fake: float

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def tier(rows: Sequence[Scored], threshold: float, *, seed: int = 0) -> Tier:
    """All the figures of one tier."""
    scores = np.array([row.score for row in rows])
    labels = np.array([row.picture.label for row in rows], np.int8)
    answers = np.array([row.label for row in rows])
    groups = np.array([f"{row.picture.label}/{row.picture.source}" for row in rows])
    counts = dict(zip(*np.unique(groups, return_counts=True), strict=True))

    def balanced(chosen: npt.NDArray[np.intp]) -> float:
        return measure(scores[chosen], labels[chosen], threshold).balanced_accuracy

    right = (scores > threshold) == (labels == 1)

    def by_source(chosen: npt.NDArray[np.intp]) -> float:
        shares = [[], []]  # type: list[list[float]]
        for group in dict.fromkeys(groups[chosen]):
            of_group = chosen[groups[chosen] == group]
            shares[labels[of_group[0]]] += [float(right[of_group].mean())] * (len(of_group) // counts[group])
        return float(np.mean([np.mean(of_class) for of_class in shares]))

    def auc(chosen: npt.NDArray[np.intp]) -> float:
        return measure(scores[chosen], labels[chosen], threshold).auc or 0.0

    intervals = _intervals((balanced, by_source, auc), labels, groups, seed)
    real, fake = labels == 1, labels == 0
    return Tier(
        pictures=len(rows),
        balanced_accuracy=intervals[0],
        by_source=intervals[1],
        auc=intervals[2],
        recall_at={f"{share:.0%}": recall_at(scores, labels, share) for share in (0.01, 0.05)},
        false_alarms=float((answers[real] == "FAKE").mean()),
        misses=float((answers[fake] == "REAL").mean()),
        unsure_real=float((answers[real] == "UNSURE").mean()),
        unsure_fake=float((answers[fake] == "UNSURE").mean()),
    )


def recall_at(scores: Floats, labels: npt.NDArray[np.int8], false_alarms: float) -> float:
    """Share of generated pictures below the threshold below which at most that share of the real ones lies."""
    alarms, found = roc(1 - scores, 1 - labels)
    return float(found[alarms <= false_alarms].max())


def _intervals(
    figures: Sequence[Callable[[npt.NDArray[np.intp]], float]],
    labels: npt.NDArray[np.int8],
    groups: npt.NDArray[np.str_],
    seed: int,
) -> list[Interval]:
    """Bootstrap over sources, of each class by itself: pictures of a source do not vary independently."""
    random = np.random.default_rng(seed)
    members = [[np.flatnonzero(groups == group) for group in np.unique(groups[labels == label])] for label in (0, 1)]
    drawn: list[list[float]] = []
    for _ in range(DRAWS):
        parts = [of_class[i] for of_class in members for i in random.integers(len(of_class), size=len(of_class))]
        chosen = np.concatenate(parts)
        drawn.append([figure(chosen) for figure in figures])
    everything = np.arange(len(labels))
    low, high = np.percentile(drawn, (2.5, 97.5), axis=0)
    return [Interval(figure(everything), float(low[i]), float(high[i])) for i, figure in enumerate(figures)]


@dataclass(frozen=True)
class Part:
    """A generator's or a source's pictures under one tier.

    Attributes:
        right: share on the right side of the one threshold.
        wrong, unsure: shares of the three answers.
    """

    name: str
    label: int
    pictures: int
    right: float
    wrong: float
    unsure: float


def parts(rows: Sequence[Scored], threshold: float) -> list[Part]:
    """By generator for generated pictures, by source for real ones; the worst first."""
    by_name: dict[tuple[int, str], list[Scored]] = {}
    for row in rows:
        picture = row.picture
        by_name.setdefault((picture.label, picture.generator if picture.label == 0 else picture.source), []).append(row)
    found = []
    for (label, name), of_part in by_name.items():
        right = np.mean([(row.score > threshold) == (label == 1) for row in of_part])
        wrong = np.mean([row.label == ("FAKE", "REAL")[1 - label] for row in of_part])
        unsure = np.mean([row.label == "UNSURE" for row in of_part])
        found.append(Part(name, label, len(of_part), float(right), float(wrong), float(unsure)))
    return sorted(found, key=lambda part: (part.label, part.right))
