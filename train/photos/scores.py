"""Run a LiteRT model over pictures in each tier, as the device runs it."""

import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from edge.errors import ImageError
from edge.imaging import preprocess
from edge.imaging.views import taken
from edge.inference.classifier import Classifier
from edge.inference.model import load
from train.photos.collection import Picture
from train.photos.tiers import changed

_classifier: Classifier


@dataclass(frozen=True)
class Scored:
    """The answer to a picture in one tier.

    Attributes:
        score: P(REAL), from the views that the device takes.
        label: the answer: REAL, FAKE or UNSURE.
        logits: logits of all views, also of further views that the device does not take.
        views: number of views that the device takes.
        size: (width, height) of the picture in this tier, in pixels.
    """

    picture: Picture
    tier: str
    score: float
    label: str
    logits: tuple[float, ...]
    views: int
    size: tuple[int, int]


def scored(
    model: Path, pictures: Sequence[Picture], tiers: Sequence[str], processes: int | None = None
) -> tuple[list[Scored], list[str]]:
    """Judge every picture in every tier.

    Args:
        tiers: names in `train.photos.tiers`.
        processes: number of processes that run the model; None starts one for each core.

    Returns:
        (answers in order, the reasons why the other pictures could not be judged).

    Raises:
        ModelError: the model cannot be run.
    """
    Classifier(load(model))  # raises the model's error here, not in a process
    jobs = [(picture, tier) for tier in tiers for picture in pictures]
    with ProcessPoolExecutor(processes or os.cpu_count(), get_context("spawn"), _begin, (model,)) as pool:
        outcomes = list(pool.map(_scored, jobs, chunksize=4))
    return [one for one in outcomes if isinstance(one, Scored)], [one for one in outcomes if isinstance(one, str)]


def _begin(model: Path) -> None:
    global _classifier
    _classifier = Classifier(load(model))


def _scored(job: tuple[Picture, str]) -> Scored | str:
    picture, tier = job
    path = os.fspath(picture.path)
    try:
        data = changed(path, preprocess.read(path), tier)
        views = taken(path, data, _classifier.views, _classifier.size)
    except ImageError as error:
        return str(error)
    verdict = _classifier.verdict(path, views.pixels, views.own_size, 0.0)
    judged = _classifier.judge(views.pixels)
    logits = [*judged.logits, *(_classifier.logit(view) for view in views.pixels[judged.count :])]
    return Scored(picture, tier, verdict.score, verdict.label, tuple(logits), judged.count, views.own_size)
