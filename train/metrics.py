"""Figures of merit of scores, computed with numpy alone."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge.inference.model import THRESHOLD

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int8]
Flags = npt.NDArray[np.bool_]

CALIBRATION_BINS = 15


@dataclass(frozen=True)
class Metrics:
    """Figures of P(REAL) scores against labels; REAL is the positive class.

    Attributes:
        images: number of images.
        accuracy: share of the images with the right label.
        balanced_accuracy: mean of the accuracy on REAL and the accuracy on FAKE.
        auc: area under the ROC curve; None if a class is absent.
        log_loss: mean negative log-likelihood, natural logarithm, scores clipped to [1e-7, 1 - 1e-7].
        expected_calibration_error: Guo et al. 2017 (arXiv:1706.04599), 15 equal bins of the confidence.
        real_as_real: number of REAL images called REAL.
        real_as_fake: number of REAL images called FAKE.
        fake_as_real: number of FAKE images called REAL.
        fake_as_fake: number of FAKE images called FAKE.
    """

    images: int
    accuracy: float
    balanced_accuracy: float
    auc: float | None
    log_loss: float
    expected_calibration_error: float
    real_as_real: int
    real_as_fake: int
    fake_as_real: int
    fake_as_fake: int


def measure(scores: Floats, labels: Labels, threshold: float = THRESHOLD) -> Metrics:
    """Compute all figures.

    Args:
        scores: P(REAL), shape (n,), n > 0.
        labels: 1 for REAL, 0 for FAKE, shape (n,).
        threshold: scores above it are called REAL.
    """
    called_real, is_real = scores > threshold, labels == 1
    real_as_real = int(np.sum(called_real & is_real))
    fake_as_real = int(np.sum(called_real & ~is_real))
    real, fake = int(is_real.sum()), int((~is_real).sum())
    recalls = [hits / of for hits, of in ((real_as_real, real), (fake - fake_as_real, fake)) if of]
    clipped = np.clip(scores, 1e-7, 1 - 1e-7)
    return Metrics(
        images=len(labels),
        accuracy=float(np.mean(called_real == is_real)),
        balanced_accuracy=float(np.mean(recalls)),
        auc=_auc(scores, is_real) if real and fake else None,
        log_loss=float(-np.mean(np.log(np.where(is_real, clipped, 1 - clipped)))),
        expected_calibration_error=_expected_calibration_error(scores, called_real, is_real),
        real_as_real=real_as_real,
        real_as_fake=real - real_as_real,
        fake_as_real=fake_as_real,
        fake_as_fake=fake - fake_as_real,
    )


def roc(scores: Floats, labels: Labels) -> tuple[Floats, Floats]:
    """The corners of the ROC curve: (false positive rates, true positive rates), both rising from 0 to 1."""
    order = np.argsort(-scores, kind="stable")
    is_real = labels[order] == 1
    last_of_ties = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    hits, misses = np.cumsum(is_real)[last_of_ties], np.cumsum(~is_real)[last_of_ties]
    return np.append(0, misses / misses[-1]), np.append(0, hits / hits[-1])


def reliability(confidence: Floats, correct: Flags, bins: int = CALIBRATION_BINS) -> list[tuple[float, float, int]]:
    """(mean confidence, accuracy, number of images) of each bin of confidence that is not empty."""
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    return [
        (float(confidence[which == b].mean()), float(correct[which == b].mean()), int((which == b).sum()))
        for b in np.unique(which)
    ]


def _auc(scores: Floats, is_real: Flags) -> float:
    """The probability that a REAL image scores above a FAKE image; ties count half (Mann-Whitney)."""
    _, tie, count = np.unique(scores, return_inverse=True, return_counts=True)
    rank = (np.cumsum(count) - (count - 1) / 2)[tie]
    real, fake = int(is_real.sum()), int((~is_real).sum())
    return float((rank[is_real].sum() - real * (real + 1) / 2) / (real * fake))


def _expected_calibration_error(scores: Floats, called_real: Flags, is_real: Flags) -> float:
    confidence = np.where(called_real, scores, 1 - scores)
    parts = reliability(confidence, called_real == is_real)
    return sum(count * abs(accuracy - mean) for mean, accuracy, count in parts) / len(scores)
