"""Figures of merit of scores on pictures that are grouped by source, computed with numpy alone."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from train.metrics import measure, roc
from train.photos.scores import Scored

Floats = npt.NDArray[np.float64]
DRAWS = 1000  # bootstrap samples of an interval
LEAST_PICTURES = 8  # of a generator or source that has figures of its own


@dataclass(frozen=True)
class Interval:
    """A figure and its 95 % confidence interval, by bootstrap over sources."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Tier:
    """The figures of one tier; shares are 0-1.

    Attributes:
        pictures: number of pictures.
        balanced_accuracy: mean of the accuracy on each class, at the model's threshold without UNSURE.
        by_source: the same if every source of a class has the same weight, however many pictures it has.
        auc: area under the ROC curve of the scores.
        recall_at: share of generated pictures found, by the share of real pictures that is called FAKE ("1%", "5%").
        false_alarms: share of real pictures called FAKE, with the three answers.
        misses: share of generated pictures called REAL, with the three answers.
        unsure_real, unsure_fake: share of real and of generated pictures that were answered UNSURE.
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
    """Compute the figures of one tier.

    Args:
        threshold: the model's threshold without UNSURE: scores above it are REAL.
        seed: seed of the bootstrap samples.
    """
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
    """Share of generated pictures found, at the threshold that calls at most this share of real pictures FAKE."""
    alarms, found = roc(1 - scores, 1 - labels)
    return float(found[alarms <= false_alarms].max())


def _intervals(
    figures: Sequence[Callable[[npt.NDArray[np.intp]], float]],
    labels: npt.NDArray[np.int8],
    groups: npt.NDArray[np.str_],
    seed: int,
) -> list[Interval]:
    """Each figure with its interval: bootstrap over the sources of each class, as a source's pictures are alike."""
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
    """Figures of the pictures of one generator or source in one tier.

    Attributes:
        label: 1 for a source of photographs, 0 for a generator.
        pictures: number of pictures.
        right: share on the right side of the model's threshold without UNSURE.
        wrong, unsure: shares with the wrong answer, and with the answer UNSURE.
    """

    name: str
    label: int
    pictures: int
    right: float
    wrong: float
    unsure: float


def parts(rows: Sequence[Scored], threshold: float) -> list[Part]:
    """Figures of each generator, then of each source of photographs; the worst first."""
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
