"""Draw figures of a training run and of scores, each as a PNG file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt

from edge.imaging import preprocess
from edge.inference.model import LABELS, THRESHOLD
from train.metrics import measure, reliability, roc

matplotlib.use("agg")  # draws to files, without a screen
from matplotlib import pyplot as plt

REAL, FAKE, MUTED = "#1b7f4d", "#c2410c", "#9aa5b1"
WORST = 32  # mistakes in a figure
DPI = 120


def training_curves(history: Sequence[dict[str, float]], out: Path) -> None:
    """Draw `training.png`: loss and accuracy over the epochs, on training and on validation images."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    epochs = range(1, len(history) + 1)
    for axis, quantity in zip(axes, ("loss", "accuracy"), strict=True):
        for part, colour in (("training", MUTED), ("validation", FAKE)):
            axis.plot(epochs, [entry[f"{part}_{quantity}"] for entry in history], color=colour, label=part)
        axis.set(xlabel="epoch", ylabel=quantity)
        axis.grid(alpha=0.3)
        axis.legend()
    axes[0].set_yscale("log")
    save(figure, out / "training.png")


def score_figures(
    scores: npt.NDArray[np.float64],
    labels: npt.NDArray[np.int8],
    paths: Sequence[Path],
    out: Path,
    split: str,
    threshold: float = THRESHOLD,
) -> None:
    """Draw four figures of scores: confusion matrix, ROC curve, reliability, and the worst mistakes.

    Args:
        scores: P(REAL), shape (n,).
        labels: 1 for REAL, 0 for FAKE, shape (n,).
        paths: the image files, for the mistakes.
        out: folder for the figures.
        split: begins the files' names, such as `test_roc.png`.
        threshold: scores above it are called REAL.
    """
    _confusion(scores, labels, threshold, out / f"{split}_confusion.png")
    if 0 < labels.sum() < len(labels):
        _roc(scores, labels, out / f"{split}_roc.png")
    _reliability(scores, labels, threshold, out / f"{split}_reliability.png")
    _mistakes(scores, labels, threshold, paths, out / f"{split}_mistakes.png")


def _confusion(scores: npt.NDArray[np.float64], labels: npt.NDArray[np.int8], threshold: float, path: Path) -> None:
    measured = measure(scores, labels, threshold)
    counts = np.array([[measured.fake_as_fake, measured.fake_as_real], [measured.real_as_fake, measured.real_as_real]])
    figure, axis = plt.subplots(figsize=(4.4, 4), layout="constrained")
    axis.imshow(counts, cmap="Greens")
    for (row, column), count in np.ndenumerate(counts):
        colour = "white" if count > counts.max() / 2 else "black"
        axis.text(column, row, f"{count}", ha="center", va="center", color=colour, fontsize=16)
    axis.set(xlabel="called", ylabel="is", title=f"accuracy {measured.accuracy:.2%} of {measured.images}")
    axis.set_xticks([0, 1], LABELS)
    axis.set_yticks([0, 1], LABELS)
    save(figure, path)


def _roc(scores: npt.NDArray[np.float64], labels: npt.NDArray[np.int8], path: Path) -> None:
    false_positive, true_positive = roc(scores, labels)
    figure, axis = plt.subplots(figsize=(4.4, 4), layout="constrained")
    axis.plot([0, 1], [0, 1], color=MUTED, linestyle=":")
    axis.plot(false_positive, true_positive, color=REAL)
    axis.set(
        xlabel="FAKE images called REAL",
        ylabel="REAL images called REAL",
        title=f"AUC {measure(scores, labels).auc:.4f}",
    )
    axis.grid(alpha=0.3)
    save(figure, path)


def _reliability(scores: npt.NDArray[np.float64], labels: npt.NDArray[np.int8], threshold: float, path: Path) -> None:
    called_real = scores > threshold
    parts = reliability(np.where(called_real, scores, 1 - scores), called_real == (labels == 1))
    confidence, accuracy, count = zip(*parts, strict=True)
    figure, (axis, share) = plt.subplots(
        2, 1, figsize=(4.4, 5), height_ratios=[3, 1], sharex=True, layout="constrained"
    )
    axis.plot([0.5, 1], [0.5, 1], color=MUTED, linestyle=":")
    axis.plot(confidence, accuracy, color=REAL, marker="o")
    error = measure(scores, labels, threshold).expected_calibration_error
    axis.set(ylabel="accuracy", title=f"expected calibration error {error:.2%}")
    axis.grid(alpha=0.3)
    share.bar(confidence, count, width=0.02, color=MUTED)
    share.set(xlabel="confidence", ylabel="images", yscale="log")
    save(figure, path)


def _mistakes(
    scores: npt.NDArray[np.float64], labels: npt.NDArray[np.int8], threshold: float, paths: Sequence[Path], path: Path
) -> None:
    """The most confident mistakes, worst first; an empty figure if there are none."""
    wrong = np.flatnonzero((scores > threshold) != (labels == 1))
    worst = wrong[np.argsort(-np.abs(scores[wrong] - threshold), kind="stable")][:WORST]
    figure, axes = plt.subplots(4, WORST // 4, figsize=(12, 7), layout="constrained")
    figure.suptitle(f"the {len(worst)} worst of {len(wrong)} mistakes among {len(labels)} images")
    for axis in axes.flat:
        axis.axis("off")
    for axis, index in zip(axes.flat, worst, strict=False):
        axis.imshow(np.asarray(preprocess.upright(paths[index], 128)))
        axis.set_title(
            f"is {LABELS[labels[index]]}\nP(REAL) {scores[index]:.3f}",
            fontsize=8,
            color=REAL if labels[index] else FAKE,
        )
    save(figure, path)


def save(figure: Any, path: Path) -> None:
    """Write a figure as PNG, and free its memory."""
    figure.savefig(path, dpi=DPI)
    plt.close(figure)
