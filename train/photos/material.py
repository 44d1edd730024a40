"""What a run is trained and chosen on: pieces of pictures, whose they are, and how often each is drawn."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from train.photos.collection import HELD_OUT, Picture, Split, read, shares, without_copies
from train.photos.pieces import INDEX, Pieces, cut
from train.photos.shards import Store

TRAIN, VALIDATION, TEST = "train", "validation", "test"


@dataclass(frozen=True)
class Side:
    """The pictures of one side of a split, and their pieces.

    Attributes:
        shares: how often each picture is drawn; their sum is 1.
    """

    pictures: Sequence[Picture]
    pieces: Pieces
    shares: npt.NDArray[np.float64]


@dataclass(frozen=True)
class Material:
    """Both sides that a training sees.

    Attributes:
        held_out: paths below the collection's folder of the pictures of "validation", and under "test" of all others
            that are not trained on: also those whose generator, licence or likeness to a held-out one forbids it.
        counts: pictures of each side.
    """

    training: Side
    validation: Side
    held_out: dict[str, list[str]]
    counts: dict[str, int]


def of_collection(data: Path, split: Split | None, cache: Path, seed: int, processes: int | None = None) -> Material:
    """Cut from a collection.

    Args:
        split: which groups are held out; None holds out a tenth of them, by the seed.
        cache: a folder where the pieces are kept between runs.

    Raises:
        CollectionError: `data` is no collection.
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
    """Whether shards have been unpacked into a folder."""
    return any((folder / name / INDEX).exists() for name in (TRAIN, VALIDATION))


def unpacked(folder: Path) -> Material:
    """Out of shards, as `train.photos.shards.unpack` has left it.

    Raises:
        ShardError: there is nothing, or one of the sides is missing.
    """
    training, validation = (_side(Store(folder / name)) for name in (TRAIN, VALIDATION))
    held_out = Store(folder / VALIDATION).held_out
    counts = {TRAIN: len(training.pictures), VALIDATION: len(validation.pictures), TEST: len(held_out[TEST])}
    return Material(training, validation, held_out, counts)


def _side(store: Store) -> Side:
    """A source has the share that it has in the whole collection, however many of its pictures have arrived."""
    arrived = Counter(store.source_of)
    found = np.array([store.source_shares[source] / arrived[source] for source in store.source_of])
    labels = np.array([picture.label for picture in store.pictures])
    for label in np.unique(labels):  # both classes alike, also while sources are missing
        of_class = labels == label
        found[of_class] /= found[of_class].sum() * len(np.unique(labels))
    return Side(store.pictures, store.pieces(), found)
