"""Whether something tells the label that should not: file formats, their traces in crops, and being encoded again.

A plain classifier is trained on such features alone, and measured on groups
that it was not trained on. On the files it shows how biased a collection is;
on what the network is shown in training, whether the augmentation took that
away.
"""

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from io import BytesIO
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from edge.errors import ImageError
from edge.imaging import preprocess
from edge.imaging.views import taken
from edge.inference.classifier import Classifier
from edge.inference.model import LABELS, load
from train.photos.augment import Augmentation, augmented
from train.photos.collection import CollectionError, Picture, shares
from train.photos.pieces import Pieces, cut
from train.photos.separability import balanced_accuracy, held_out_scores
from train.photos.traces import CROP_TRACES, FILE_TRACES, GRID, of_crop, of_file

SIZE = 128  # of a crop, pixels a side
ALL = "all of these"
AS_CUT, AS_SHOWN = "crops as cut", "crops as shown"
ENCODINGS = {"JPEG 90": ("JPEG", 90), "WebP 90": ("WEBP", 90)}


@dataclass(frozen=True)
class LabelCue:
    """How well some features tell the label, on groups that were held out.

    Attributes:
        of: what the features were measured on.
        balanced_accuracy: 0.5 is a coin; `low` to `high` holds it with 95 %, by drawing groups with replacement.
        is_format: whether it can be nothing but a trace of the format, which must tell nothing in crops as shown.
    """

    of: str
    features: str
    examples: int
    balanced_accuracy: float
    low: float
    high: float
    is_format: bool = False


@dataclass(frozen=True)
class Shift:
    """What encoding all pictures alike does to one class.

    Attributes:
        right, right_after: share on the right side of the model's threshold.
        score: mean change of P(REAL).
    """

    encoding: str
    label: str
    pictures: int
    right: float
    right_after: float
    score: float

    @property
    def points(self) -> float:
        return 100 * (self.right_after - self.right)


@dataclass(frozen=True)
class Probe:
    """All that was found; `unreadable` are reasons."""

    told: list[LabelCue]
    shifts: list[Shift]
    unreadable: list[str]

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"shifts": [asdict(shift) | {"points": shift.points} for shift in self.shifts]}


def probe(
    sides: dict[str, list[Picture]],
    weights: dict[str, float],
    scratch: Path,
    *,
    model: Path | None = None,
    pictures: int,
    crops: int,
    seed: int,
    processes: int,
) -> Probe:
    """Files and crops of "train", and answers of a model on "validation".

    Args:
        weights: of sources, see `train.photos.collection.shares`.
        scratch: a folder for decoded pieces, on a disk with room for 1.2 MB a picture.
        pictures: of which crops are taken, at most.

    Raises:
        CollectionError: "train" lacks a class.
        ModelError: the model cannot be run.
    """
    if len({picture.label for picture in sides["train"]}) < len(LABELS):
        raise CollectionError("no REAL or no FAKE pictures are left to train on: nothing to compare")
    shifts, not_judged = of_model(model, sides["validation"], processes) if model else ([], [])
    told, unreadable = of_files(sides["train"], weights)
    random, all_of_them = np.random.default_rng(seed), sides["train"]
    of_each = np.array(shares(all_of_them, weights))
    drawn = random.choice(len(of_each), min(pictures, np.count_nonzero(of_each)), replace=False, p=of_each)
    some = [all_of_them[index] for index in sorted(drawn)]
    told += of_crops(some, weights, scratch, crops=crops, seed=seed, processes=processes)
    return Probe(told, shifts, unreadable + not_judged)


def of_files(pictures: Sequence[Picture], weights: dict[str, float]) -> tuple[list[LabelCue], list[str]]:
    """How well the files' own size, format, quality and length tell the label; and why some could not be read.

    Args:
        weights: of sources, see `train.photos.collection.shares`.
    """
    found, readable, unreadable = [], [], []
    for picture in pictures:
        try:
            found.append(of_file(picture.path))
            readable.append(picture)
        except ImageError as error:
            unreadable.append(str(error))
    of_each = np.array(shares(readable, weights))
    rows = _told("files", FILE_TRACES, found, readable, of_each)
    return rows, unreadable


def of_crops(
    pictures: Sequence[Picture], weights: dict[str, float], folder: Path, *, crops: int, seed: int, processes: int
) -> list[LabelCue]:
    """How well traces in pixels tell the label: before and after the augmentation of training.

    Args:
        folder: of the pictures' pieces, see `train.photos.pieces.cut`.
        crops: that are looked at, drawn as training draws them.
    """
    pieces = cut(pictures, folder, seed=seed, processes=processes)
    random = np.random.default_rng(seed)
    of_each = np.array(shares(pictures, weights))
    of_piece = of_each[pieces.picture] / np.bincount(pieces.picture, minlength=len(pictures))[pieces.picture]
    chosen = random.choice(len(of_piece), crops, p=of_piece / of_piece.sum())
    shown = [pictures[index] for index in pieces.picture[chosen]]
    rows = []
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        for name, how in ((AS_CUT, None), (AS_SHOWN, Augmentation())):
            jobs = np.array_split(chosen, max(1, crops // 64))
            made = pool.map(partial(_traces, pieces, how), jobs, [(seed, number) for number in range(len(jobs))])
            traces = [one for part in made for one in part]
            rows += _told(name, CROP_TRACES, traces, shown, np.ones(crops))
    return rows


def _traces(
    pieces: Pieces, how: Augmentation | None, chosen: npt.NDArray[np.intp], seed: tuple[int, int]
) -> list[dict[str, list[float]]]:
    random, opened, found = np.random.default_rng(seed), pieces.opened(), []
    for index in chosen:
        height, width = pieces.sizes[index]
        piece = opened[index, :height, :width]
        if how is not None:
            piece = augmented(piece, bool(pieces.lossless[index]), SIZE, how, random)
        found.append(of_crop(piece[:SIZE, :SIZE]))
    return found


def of_model(model: Path, pictures: Sequence[Picture], processes: int) -> tuple[list[Shift], list[str]]:
    """What encoding both classes alike does to a model's answers; and why some pictures could not be judged.

    Raises:
        ModelError: the model cannot be run.
    """
    loaded = load(model)
    Classifier(loaded)  # its error here, not in a process
    with ProcessPoolExecutor(processes, get_context("spawn"), _begin, (model,)) as pool:
        outcomes = list(pool.map(_scores, [picture.path for picture in pictures], chunksize=8))
    unreadable = [outcome for outcome in outcomes if isinstance(outcome, str)]
    judged = [pair for pair in zip(pictures, outcomes, strict=True) if not isinstance(pair[1], str)]
    shifts = []
    for label, name in enumerate(LABELS):
        scores = np.array([outcome for picture, outcome in judged if picture.label == label], np.float64)
        for column, encoding in enumerate(ENCODINGS, 1):
            if len(scores):
                right = ((scores > loaded.threshold) == bool(label)).mean(0)
                moved = float((scores[:, column] - scores[:, 0]).mean())
                shifts.append(Shift(encoding, name, len(scores), float(right[0]), float(right[column]), moved))
    return shifts, unreadable


_classifier: Classifier


def _begin(model: Path) -> None:
    global _classifier
    _classifier = Classifier(load(model))


def _scores(path: Path) -> list[float] | str:
    """P(REAL) of a picture as it is, and after each of ENCODINGS."""
    try:
        data = preprocess.read(path)
        picture = preprocess.decoded(path, data)[0]
        contents = [data, *(_encoded(picture, *encoding) for encoding in ENCODINGS.values())]
        views = (taken(path, content, _classifier.views, _classifier.size).pixels for content in contents)
        return [_classifier.judge(pixels).score for pixels in views]
    except ImageError as error:
        return str(error)


def _encoded(picture: Image.Image, format_: str, quality: int) -> bytes:
    buffer = BytesIO()
    picture.save(buffer, format_, quality=quality)
    return buffer.getvalue()


def _told(
    of: str,
    names: Sequence[str],
    found: Sequence[dict[str, list[float]]],
    pictures: Sequence[Picture],
    weights: npt.NDArray[np.float64],
) -> list[LabelCue]:
    labels = np.array([picture.label for picture in pictures], np.int8)
    groups = np.array([picture.group for picture in pictures])
    parts = {name: np.array([one[name] for one in found], np.float64) for name in names}
    parts[ALL] = np.concatenate(list(parts.values()), axis=1)
    rows = []
    for name, features in parts.items():
        scores = held_out_scores(features, labels, groups, weights)
        value, low, high = balanced_accuracy(scores, labels, groups, weights)
        rows.append(LabelCue(of, name, len(labels), value, low, high, is_format=name == GRID))
    return rows


def table(probe: Probe) -> str:
    """What was found, for a person."""
    lines = [f"{'told by':44}{'examples':>9}{'balanced accuracy, groups held out':>38}"]
    for row in probe.told:
        remark = "  format: should be near 50%" if row.is_format and row.of == AS_SHOWN else ""
        value = f"{row.balanced_accuracy:.1%} ({row.low:.1%}-{row.high:.1%})"
        lines.append(f"{row.of + ': ' + row.features:44}{row.examples:9}{value:>38}{remark}")
    if probe.shifts:
        lines += ["", f"{'all encoded alike':30}{'pictures':>9}{'right':>9}{'then':>9}{'points':>8}{'P(REAL)':>9}"]
        lines += [
            f"{shift.encoding + ': ' + shift.label:30}{shift.pictures:9}{shift.right:9.1%}{shift.right_after:9.1%}"
            f"{shift.points:+8.1f}{shift.score:+9.3f}"
            for shift in probe.shifts
        ]
    lines += ["", f"{len(probe.unreadable)} unreadable files"]
    return "\n".join(lines)
