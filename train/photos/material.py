"""The pictures and pieces that a run is trained on, and those that its best epoch is chosen by."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from train.photos.collection import HELD_OUT, Split, read, shares, without_copies
from train.photos.pieces import INDEX, Side, cut
from train.photos.shards import Store

TRAIN, VALIDATION, TEST = "train", "validation", "test"


@dataclass(frozen=True)
class Material:
    """Both sides of a split that a training uses.

    Attributes:
        held_out: pictures that the training does not see, as paths relative to the collection's folder: "validation"
            lists the pictures of that side; "test" lists all others, among them pictures that are left out for their
            generator, their licence or their likeness to a held-out picture.
        counts: number of pictures on each side.
    """

    training: Side
    validation: Side
    held_out: dict[str, list[str]]
    counts: dict[str, int]


def of_collection(data: Path, split: Split | None, cache: Path, seed: int, processes: int | None = None) -> Material:
    """Split a collection, leave out copies, and cut its pieces.

    Args:
        split: the groups to hold out; None holds out a tenth of them, by the seed.
        cache: a folder that keeps the pieces and the files' hashes between runs.

    Raises:
        CollectionError: `data` is not a collection.
    """
    pictures = read(data)
    split = split or Split.at_random(pictures, HELD_OUT, seed)
    sides = without_copies(split.apply(pictures), cache)
    training, validation = (
        Side(
            sides[name],
            cut(sides[name], cache / name, processes=processes),
            np.array(shares(sides[name], split.weights)),
        )
        for name in (TRAIN, VALIDATION)
    )
    seen = {picture.path for name in (TRAIN, VALIDATION) for picture in sides[name]}
    others = [picture for picture in pictures if picture.path not in seen]
    held_out = {
        name: [picture.path.relative_to(data).as_posix() for picture in of_side]
        for name, of_side in ((VALIDATION, sides[VALIDATION]), (TEST, others))
    }
    return Material(training, validation, held_out, {name: len(of_side) for name, of_side in sides.items()})


def is_unpacked(folder: Path) -> bool:
    """Whether the folder holds unpacked shards."""
    return any((folder / name / INDEX).exists() for name in (TRAIN, VALIDATION))


def unpacked(folder: Path) -> Material:
    """The material of a folder that `train.photos.shards.unpack` has filled.

    Raises:
        ShardError: one of the sides, or both, are missing.
    """
    training, validation = (_side(Store(folder / name)) for name in (TRAIN, VALIDATION))
    held_out = Store(folder / VALIDATION).held_out
    counts = {TRAIN: len(training.pictures), VALIDATION: len(validation.pictures), TEST: len(held_out[TEST])}
    return Material(training, validation, held_out, counts)


def _side(store: Store) -> Side:
    """The side of a store; a source keeps its share of the whole collection, however few of its pictures are there."""
    arrived = Counter(store.source_of)
    found = np.array([store.source_shares[source] / arrived[source] for source in store.source_of])
    labels = np.array([picture.label for picture in store.pictures])
    for label in np.unique(labels):  # each class gets half of the draws, also while sources are missing
        of_class = labels == label
        found[of_class] /= found[of_class].sum() * len(np.unique(labels))
    return Side(store.pictures, store.pieces(), found)
