"""The views of a picture: crops at its own scale or scaled down, as a model's description asks for them.

What is done, in this order:

1. The picture is halved, as often as its shorter side keeps `reduce_above`
   pixels, at most MOST_HALVINGS times: a JPEG while it is decoded, by its DCT,
   anything else by averaging whole squares of pixels.
2. For each view set the picture so halved is scaled, with `preprocess.RESAMPLING`,
   until its shorter side has `short_side` pixels; it is never enlarged, unless
   one of its sides is shorter than that of a crop: then it is enlarged just so
   far that a crop fits. Only the part below each crop is really computed.
3. The crops lie in rows, as evenly as possible; see `positions`.
4. Modes and transparency are converted as for a whole picture, see `edge.imaging.preprocess`.
   Everything is cut and scaled as it lies in the file; each crop is turned
   upright at last.

Of extreme shapes: in a panorama of 20000 x 300 pixels four crops of 128 lie side
by side, half way up, 5000 pixels from each other; in one of 201 x 5000 they lie
one above the other. One of 60000 x 1 is enlarged 128 times: each crop shows one
pixel, as one of a picture of 1 x 1 does. Crops may overlap, and are the same in a
picture that is no larger than one of them.
"""

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image

from edge.imaging import preprocess
from edge.imaging.preprocess import Pixels
from edge.verdict import Place

Size = tuple[int, int]  # (width, height) in pixels
MOST_HALVINGS = 3  # what a JPEG's decoder can do


@dataclass(frozen=True)
class ViewSet:
    """Some crops of one picture, all at the same scale; see `positions` for where they lie.

    Attributes:
        crops: how many.
        short_side: the picture is scaled down until its shorter side has so many pixels; None: it is not scaled.
        weight: of each of these views in the mean of all.
    """

    crops: int
    short_side: int | None = None
    weight: float = 1.0


@dataclass(frozen=True)
class Views:
    """What a network is shown of a picture.

    Attributes:
        first: views that are always taken.
        further: views that are added where the score of the first ones lies within `further_between`.
        reduce_above: a picture is halved, as often as its shorter side keeps at least so many pixels; None: never.
    """

    first: tuple[ViewSet, ...]
    further: tuple[ViewSet, ...] = ()
    further_between: tuple[float, float] = (0.0, 1.0)
    reduce_above: int | None = None

    @property
    def sets(self) -> tuple[ViewSet, ...]:
        return self.first + self.further

    @property
    def first_count(self) -> int:
        """Of the views that are always taken."""
        return sum(one.crops for one in self.first)

    @property
    def weights(self) -> tuple[float, ...]:
        """Of every view, the first ones first."""
        return tuple(one.weight for one in self.sets for _ in range(one.crops))


class Taken(NamedTuple):
    """The views of one picture.

    Attributes:
        pixels: RGB, uint8, shape (views, height, width, 3), the first views first.
        own_size: of the upright picture itself.
        places: where each view lies in it.
    """

    pixels: Pixels
    own_size: Size
    places: tuple[Place, ...]


@dataclass(frozen=True)
class Cut:
    """One view to be taken.

    Attributes:
        view_set: its index in `Views.sets`.
        picture: of the upright picture, scaled for this set.
        left, top: of the crop in that.
    """

    view_set: int
    picture: Size
    left: int
    top: int


def positions(size: Size, crop: Size, count: int) -> list[tuple[int, int]]:
    """Where `count` crops lie in a picture: (left, top) of each, row by row.

    There are about as many columns as the picture's shape asks for. Crops are dealt to rows as evenly as possible, and
    the earlier rows get what is left over. In a row of k, crop i is centred at (i + 0.5) / k of the width, and row j
    of r at (j + 0.5) / r of the height; crops that would stand out are moved inside.
    """
    (width, height), (crop_width, crop_height) = size, crop
    columns = min(max(round(math.sqrt(count * width / height)), 1), count)
    rows = math.ceil(count / columns)
    found = []
    for row in range(rows):
        in_row = count // rows + (row < count % rows)
        top = _start(row, rows, height, crop_height)
        found += [(_start(column, in_row, width, crop_width), top) for column in range(in_row)]
    return found


def _start(index: int, count: int, length: int, crop: int) -> int:
    centred = ((2 * index + 1) * length - count * crop) // (2 * count)
    return min(max(centred, 0), length - crop)


def halvings(size: Size, views: Views) -> int:
    """How often a picture is halved."""
    done = 0
    if views.reduce_above is not None:
        while done < MOST_HALVINGS and min(size) >= views.reduce_above << (done + 1):
            done += 1
    return done


def working_size(own_size: Size, views: Views) -> Size:
    """Of a picture that was halved."""
    factor = 1 << halvings(own_size, views)
    return -(-own_size[0] // factor), -(-own_size[1] // factor)


def plan(own_size: Size, views: Views, size: Size) -> tuple[Cut, ...]:
    """What is taken from an upright picture of a size, in order.

    Args:
        size: of the network's input.
    """
    working = working_size(own_size, views)
    cuts = []
    for index, one in enumerate(views.sets):
        picture = _scaled_size(working, one.short_side, size)
        cuts += [Cut(index, picture, left, top) for left, top in positions(picture, size, one.crops)]
    return tuple(cuts)


def _scaled_size(working: Size, short_side: int | None, crop: Size) -> Size:
    scale = 1.0 if short_side is None else min(1.0, short_side / min(working))
    scale = max(scale, crop[0] / working[0], crop[1] / working[1])
    return max(crop[0], round(working[0] * scale)), max(crop[1], round(working[1] * scale))


def places(own_size: Size, views: Views | None, size: Size) -> tuple[Place, ...]:
    """Where the views of a picture lie in it, in order."""
    if views is None:
        return (Place(0.0, 0.0, 1.0, 1.0, 0),)
    return tuple(
        Place(
            cut.left / cut.picture[0],
            cut.top / cut.picture[1],
            size[0] / cut.picture[0],
            size[1] / cut.picture[1],
            cut.view_set,
        )
        for cut in plan(own_size, views, size)
    )


def taken(path: str | bytes | os.PathLike[str], data: bytes | None, views: Views | None, size: Size) -> Taken:
    """The views of an image file.

    Args:
        path: the file; with `data` given it only names the image in errors.
        data: the file's content, if it has been read already.
        views: None: one view, the whole picture, as `edge.imaging.preprocess.pixels` has it.
        size: (width, height) of the network's input.

    Raises:
        UnreadableFileError, UndecodableImageError: see `edge.imaging.preprocess.pixels`.
    """
    return taken_as(path, data, lambda _: (views, size))


def taken_as(
    path: str | bytes | os.PathLike[str], data: bytes | None, wanted: Callable[[Size], tuple[Views | None, Size]]
) -> Taken:
    """Like `taken`, where the picture's own upright (width, height) decides what is wanted of it."""

    def least_side(own_size: Size) -> int:
        views, size = wanted(own_size)
        if views is None:
            return preprocess.side_to_decode(size)
        return min(own_size) >> halvings(own_size, views)

    with preprocess.loaded(path, preprocess.read(path) if data is None else data, least_side) as picture:
        views, size = wanted(picture.own_size)
        where = places(picture.own_size, views, size)
        if views is None:
            return Taken(np.asarray(preprocess.whole(picture, size))[None], picture.own_size, where)
        return Taken(_cut(picture, views, size), picture.own_size, where)


def of_frame(pixels: Pixels, views: Views | None, size: Size) -> Taken:
    """The views of a camera's frame: what `taken` makes of a PNG file of the same content.

    Without views, a frame is reduced and scaled as `edge.imaging.preprocess.scaled` does it.

    Args:
        pixels: RGB, uint8, shape (height, width, 3).
    """
    own_size = pixels.shape[1], pixels.shape[0]
    where = places(own_size, views, size)
    if views is None:
        return Taken(preprocess.scaled(pixels, size)[None], own_size, where)
    return Taken(_cut(preprocess.Loaded(Image.fromarray(pixels), own_size, 1), views, size), own_size, where)


def _cut(picture: preprocess.Loaded, views: Views, size: Size) -> Pixels:
    """All views of a picture, which is at its own scale or, if it is a JPEG, may be halved already."""
    orientation, halved = picture.orientation, picture.image
    working = preprocess.as_stored(working_size(picture.own_size, views), orientation)
    if halved.size != working:
        halved = preprocess.scalable(halved).reduce(1 << halvings(picture.own_size, views))
        if halved.size != working:
            raise ValueError(f"decoded as {picture.image.width} x {picture.image.height} pixels")
    whole: Image.Image | None = None
    stored_size = preprocess.as_stored(size, orientation)
    cuts = plan(picture.own_size, views, size)
    pixels = np.empty((len(cuts), size[1], size[0], 3), np.uint8)
    for view, cut in zip(pixels, cuts, strict=True):
        width, height = preprocess.as_stored(cut.picture, orientation)
        left, top = _as_stored(cut, size, orientation)
        right, bottom = left + stored_size[0], top + stored_size[1]
        if (width, height) == working:
            crop = preprocess.scalable(halved.crop((left, top, right, bottom)))
        else:
            whole = whole or preprocess.scalable(halved)
            across, down = working[0] / width, working[1] / height
            box = left * across, top * down, min(right * across, working[0]), min(bottom * down, working[1])
            crop = whole.resize(stored_size, preprocess.RESAMPLING, box)
        view[:] = np.asarray(preprocess.turned(preprocess.rgb(crop), orientation))
    return pixels


def _as_stored(cut: Cut, size: Size, orientation: int) -> tuple[int, int]:
    """(left, top) of a crop in the picture before that is turned by `preprocess.TRANSPOSITIONS`."""
    left = cut.picture[0] - cut.left - size[0] if orientation in (2, 3, 6, 7) else cut.left
    top = cut.picture[1] - cut.top - size[1] if orientation in (3, 4, 7, 8) else cut.top
    return (left, top) if orientation < 5 else (top, left)
