"""Figures and thresholds from scores alone: intervals, recall, worst parts, fusion and operating points."""

from pathlib import Path

import numpy as np
import pytest

from edge.inference.model import Fusion, Views, ViewSet
from train.photos.calibrate import LEAST_PICTURES, from_logits, fused, importances
from train.photos.collection import CollectionError, Picture
from train.photos.measures import parts, recall_at, tier
from train.photos.scores import Scored

VIEWS = Views((ViewSet(2), ViewSet(1, 256, 2.0)), (ViewSet(3),), (0.2, 0.8))


def scored(label: int, source: str, logits: list[float], score: float = 0.5, answer: str = "UNSURE") -> Scored:
    picture = Picture(Path(f"{source}/{label}.jpg"), label, source, source, {"generator": source} if not label else {})
    return Scored(picture, "clean", score, answer, tuple(logits), 3, (640, 480))


def answers(random: np.random.Generator, sources: int = 6, each: int = 40, apart: float = 1.0) -> list[Scored]:
    """Six views a picture, real ones higher by twice `apart`."""
    return [
        scored(label, f"{label}-{source}", list(random.normal(apart * (2 * label - 1), 1.0, 6)))
        for label in (0, 1)
        for source in range(sources)
        for _ in range(each)
    ]


def test_importances_balance_classes_and_weigh_sources_by_the_root_of_their_size() -> None:
    labels = np.array([1] * 100 + [1] * 25 + [0] * 4, np.int8)
    sources = np.array(["a"] * 100 + ["b"] * 25 + ["c"] * 4)
    weights = importances(labels, sources)
    assert weights[labels == 1].sum() == pytest.approx(0.5)
    assert weights[labels == 0].sum() == pytest.approx(0.5)
    assert weights[:100].sum() == pytest.approx(2 * weights[100:125].sum()), "by the root of 100 and of 25"


def test_further_views_count_only_if_the_first_are_unsure() -> None:
    sure, unsure = [4.0, 4.0, 4.0, -9.0, -9.0, -9.0], [0.1, 0.1, 0.1, -9.0, -9.0, -9.0]
    by_first, by_all = fused(np.array([sure, unsure]), VIEWS, Fusion(1.0, 0.0), 0.0)
    assert by_first == pytest.approx(1 / (1 + np.exp(-4)))
    mean = (0.1 + 0.1 + 2 * 0.1 - 27) / 7
    assert by_all == pytest.approx(1 / (1 + np.exp(-mean)))
    assert fused(np.array([sure]), VIEWS, Fusion(10.0, 0.0), 0.01)[0] == 0.99


def test_operating_points_keep_their_limits_on_the_pictures_they_were_fitted_to() -> None:
    rows = answers(np.random.default_rng(1), apart=0.4)
    found = from_logits(rows, VIEWS, 0.001)
    assert [point.name for point in found.points] == ["1%", "3%", "10%"]
    assert found.fusion.scale > 0
    scores = fused(np.array([row.logits for row in rows]), VIEWS, found.fusion, 0.001)
    labels = np.array([row.picture.label for row in rows])
    sources = np.array([row.picture.source for row in rows])
    for point, share in zip(found.points, (0.01, 0.03, 0.10), strict=True):
        assert point.fake_below <= point.real_above
        alarms = scores[labels == 1] < point.fake_below
        assert alarms.mean() == pytest.approx(point.false_alarms, abs=0.001)
        assert point.false_alarms <= share
        assert (scores[labels == 0] > point.real_above).mean() <= 0.10
        for source in range(6):
            assert (scores[sources == f"1-{source}"] < point.fake_below).mean() <= 8 / 3 * share + 1e-9
    below = [point.fake_below for point in found.points]
    assert below == sorted(below)
    assert below[0] < below[-1]


def test_source_with_many_false_alarms_lowers_the_threshold() -> None:
    random = np.random.default_rng(2)
    rows = answers(random, apart=0.6)
    odd = [scored(1, "odd", list(random.normal(-0.6, 1.0, 6))) for _ in range(LEAST_PICTURES)]
    plain, with_odd = (from_logits(part, VIEWS, 0.001) for part in (rows, rows + odd))
    assert with_odd.points[1].fake_below < plain.points[1].fake_below


def test_separable_classes_get_one_threshold_and_no_unsure() -> None:
    found = from_logits(answers(np.random.default_rng(3), apart=5.0), VIEWS, 0.001)
    point = found.points[1]
    assert point.fake_below == point.real_above
    assert (point.false_alarms, point.misses) == (0.0, 0.0)


def test_logits_decreasing_with_real_are_refused() -> None:
    with pytest.raises(CollectionError, match="do not rise"):
        from_logits(answers(np.random.default_rng(4), apart=-1.0), VIEWS, 0.001)


def test_recall_at_false_alarm_rate() -> None:
    scores = np.array([0.1, 0.2, 0.3, 0.4, 0.15, 0.5, 0.6, 0.7, 0.8, 0.9])
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1, 1], np.int8)
    assert recall_at(scores, labels, 0.01) == 0.25, "0.1 alone is below every real one"
    assert recall_at(scores, labels, 0.2) == 1.0


def test_tier_has_figures_and_intervals_over_sources() -> None:
    random = np.random.default_rng(5)
    rows = []
    for label in (0, 1):
        for source in range(8):
            for _ in range(20):
                score = float(np.clip(random.normal(0.35 + 0.3 * label, 0.2), 0.01, 0.99))
                answer = "FAKE" if score < 0.3 else "REAL" if score > 0.7 else "UNSURE"
                rows.append(scored(label, f"{label}{source}", [0.0], score, answer))
    found = tier(rows, 0.5)
    assert found.pictures == len(rows)
    accuracy, auc = found.balanced_accuracy, found.auc
    assert accuracy.low < accuracy.value < accuracy.high
    assert auc.low < auc.value < auc.high
    real = [row for row in rows if row.picture.label]
    assert found.false_alarms == pytest.approx(np.mean([row.label == "FAKE" for row in real]))
    assert found.unsure_real == pytest.approx(np.mean([row.label == "UNSURE" for row in real]))
    assert tier(rows, 0.5) == found, "the intervals are drawn with a seed"


def test_worst_generators_and_sources_come_first() -> None:
    rows = [scored(0, "good", [0.0], 0.1, "FAKE")] * 9 + [scored(0, "bad", [0.0], 0.9, "REAL")] * 9
    rows += [scored(1, "camera", [0.0], 0.2, "FAKE")] * 5 + [scored(1, "camera", [0.0], 0.6, "UNSURE")] * 5
    found = parts(rows, 0.5)
    assert [(part.name, part.pictures) for part in found] == [("bad", 9), ("good", 9), ("camera", 10)]
    assert (found[0].right, found[0].wrong, found[0].unsure) == (0.0, 1.0, 0.0)
    assert (found[2].right, found[2].wrong, found[2].unsure) == (0.5, 0.5, 0.5)
