"""Measure the bias of a collection: how well file formats, and their traces in crops, predict the label.

A plain classifier is trained on such features alone, and measured on groups
that it was not trained on. Its accuracy on files shows how biased a collection
is; its accuracy on augmented crops shows whether augmentation removed the bias.
The probe also measures how a model's answers change when all pictures are
encoded alike.
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

SIZE = 128  # side of a crop in pixels
ALL = "all of these"
AS_CUT, AS_SHOWN = "crops as cut", "crops as shown"
ENCODINGS = {"JPEG 90": ("JPEG", 90), "WebP 90": ("WEBP", 90)}


@dataclass(frozen=True)
class Sampling:
    """What a probe takes from the training pictures.

    Attributes:
        pictures: largest number of pictures to cut crops from.
        crops: number of crops.
        seed: seed of the choice of both.
        processes: number of processes that decode and measure.
    """

    pictures: int
    crops: int
    seed: int
    processes: int


@dataclass(frozen=True)
class LabelCue:
    """How well some features predict the label, on groups that were held out.

    Attributes:
        of: what the features were measured on: files, crops as cut, or crops as shown.
        features: name of the features.
        examples: number of files or crops.
        balanced_accuracy: accuracy of the prediction; 0.5 is chance.
        low, high: its 95 % confidence interval, by bootstrap over groups.
        is_format: whether only a file format makes such features. In crops as shown they should predict nothing.
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
    """How a model's answers to the pictures of one class change when all pictures are encoded alike.

    Attributes:
        encoding: name of the encoding.
        label: name of the class.
        pictures: number of pictures.
        right, right_after: share on the right side of the model's threshold, before and after.
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
        """Change of the share on the right side, in percentage points."""
        return 100 * (self.right_after - self.right)


@dataclass(frozen=True)
class Probe:
    """The result.

    Attributes:
        told: how well each kind of features predicts the label.
        shifts: how a model's answers change; empty if no model was given.
        unreadable: for each picture that could not be read, the reason.
    """

    told: list[LabelCue]
    shifts: list[Shift]
    unreadable: list[str]

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"shifts": [asdict(shift) | {"points": shift.points} for shift in self.shifts]}


def probe(
    sides: dict[str, list[Picture]],
    weights: dict[str, float],
    scratch: Path,
    sampling: Sampling,
    model: Path | None = None,
) -> Probe:
    """Probe files and crops of the side "train", and the answers of a model on the side "validation".

    Args:
        sides: the pictures of each side of a split.
        weights: factor on the share of a source, see `train.photos.collection.shares`.
        scratch: a folder for decoded pieces, on a disk with room for 1.2 MB a picture.
        model: a LiteRT file; None leaves the answers out.

    Raises:
        CollectionError: a class has no pictures in "train".
        ModelError: the model cannot be run.
    """
    if len({picture.label for picture in sides["train"]}) < len(LABELS):
        raise CollectionError("no REAL or no FAKE pictures are left to train on: nothing to compare")
    shifts, not_judged = of_model(model, sides["validation"], sampling.processes) if model else ([], [])
    cues, unreadable = of_files(sides["train"], weights)
    random, pictures = np.random.default_rng(sampling.seed), sides["train"]
    of_each = np.array(shares(pictures, weights))
    count = min(sampling.pictures, np.count_nonzero(of_each))
    drawn = random.choice(len(of_each), count, replace=False, p=of_each)
    cues += of_crops([pictures[index] for index in sorted(drawn)], weights, scratch, sampling)
    return Probe(cues, shifts, unreadable + not_judged)


def of_files(pictures: Sequence[Picture], weights: dict[str, float]) -> tuple[list[LabelCue], list[str]]:
    """How well the size, format, quality and length of files predict the label.

    Args:
        weights: factor on the share of a source, see `train.photos.collection.shares`.

    Returns:
        (cues, the reasons why some files could not be read).
    """
    found, readable, unreadable = [], [], []
    for picture in pictures:
        try:
            found.append(of_file(picture.path))
            readable.append(picture)
        except ImageError as error:
            unreadable.append(str(error))
    of_each = np.array(shares(readable, weights))
    return _cues("files", FILE_TRACES, found, readable, of_each), unreadable


def of_crops(
    pictures: Sequence[Picture], weights: dict[str, float], folder: Path, sampling: Sampling
) -> list[LabelCue]:
    """How well traces in the pixels of crops predict the label, before and after the augmentation of training.

    The crops are drawn as training draws them.

    Args:
        weights: factor on the share of a source, see `train.photos.collection.shares`.
        folder: a folder for the pictures' pieces, see `train.photos.pieces.cut`.
    """
    seed, crops = sampling.seed, sampling.crops
    pieces = cut(pictures, folder, seed=seed, processes=sampling.processes)
    random = np.random.default_rng(seed)
    of_each = np.array(shares(pictures, weights))
    of_piece = of_each[pieces.picture] / np.bincount(pieces.picture, minlength=len(pictures))[pieces.picture]
    chosen = random.choice(len(of_piece), crops, p=of_piece / of_piece.sum())
    shown = [pictures[index] for index in pieces.picture[chosen]]
    rows = []
    with ProcessPoolExecutor(sampling.processes, get_context("spawn")) as pool:
        for name, how in ((AS_CUT, None), (AS_SHOWN, Augmentation())):
            jobs = np.array_split(chosen, max(1, crops // 64))
            made = pool.map(partial(_traces, pieces, how), jobs, [(seed, number) for number in range(len(jobs))])
            traces = [one for part in made for one in part]
            rows += _cues(name, CROP_TRACES, traces, shown, np.ones(crops))
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
    """How a model's answers change when pictures of both classes are encoded alike.

    Returns:
        (changes, the reasons why some pictures could not be judged).

    Raises:
        ModelError: the model cannot be run.
    """
    loaded = load(model)
    Classifier(loaded)  # raises the model's error here, not in a process
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
    """P(REAL) of a picture, unchanged and after each of ENCODINGS; or the reason why it could not be judged."""
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


def _cues(
    of: str,
    names: Sequence[str],
    found: Sequence[dict[str, list[float]]],
    pictures: Sequence[Picture],
    weights: npt.NDArray[np.float64],
) -> list[LabelCue]:
    """A cue for each kind of features, and one for all of them together."""
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
    """The result as a table of text."""
    lines = [f"{'label predicted by':44}{'examples':>9}{'balanced accuracy, groups held out':>38}"]
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
