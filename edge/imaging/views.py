"""The views of a picture: crops at its own scale or scaled down, as a model's description asks for them.

The steps, in this order:

1. The picture is halved while its shorter side keeps at least `reduce_above`
   pixels, at most MOST_HALVINGS times: a JPEG by its DCT scale while decoding,
   anything else by averaging squares of pixels.
2. For each view set, the halved picture is scaled down with `preprocess.RESAMPLING`
   until its shorter side has `short_side` pixels. It is only enlarged if a side
   is shorter than that of a crop, just so far that a crop fits. Only the parts
   below the crops are computed.
3. The crops lie in rows, as evenly as possible; see `positions`.
4. Modes and transparency are converted as for a whole picture, see `edge.imaging.preprocess`.
   Cropping and scaling happen in the orientation of the file; each crop is
   turned upright last.

Extreme shapes: in a panorama of 20000 x 300 pixels, four crops of 128 lie side
by side at half height, 5000 pixels apart; in a picture of 201 x 5000 they lie
one above the other. A picture of 60000 x 1 is enlarged 128 times, so each crop
shows one pixel, as for a picture of 1 x 1. Crops may overlap; in a picture no
larger than a crop they are all the same.
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
MOST_HALVINGS = 3  # as far as a JPEG decoder's DCT scales go


@dataclass(frozen=True)
class ViewSet:
    """Crops of one picture at the same scale; see `positions` for where they lie.

    Attributes:
        crops: their number.
        short_side: pixels of the shorter side to which the picture is scaled down; None: it is not scaled.
        weight: of each of these views in the mean of all logits.
    """

    crops: int
    short_side: int | None = None
    weight: float = 1.0


@dataclass(frozen=True)
class Views:
    """The views of a picture that a network is shown.

    Attributes:
        first: views that the network always judges.
        further: views that it also judges if the score of the first ones lies within `further_between`.
        further_between: (least, greatest) score.
        reduce_above: a picture is halved while its shorter side keeps at least this many pixels; None: never.
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
        """The number of views that are always judged."""
        return sum(one.crops for one in self.first)

    @property
    def weights(self) -> tuple[float, ...]:
        """The weight of every view, the first ones first."""
        return tuple(one.weight for one in self.sets for _ in range(one.crops))


class Taken(NamedTuple):
    """The views of one picture.

    Attributes:
        pixels: RGB, uint8, shape (views, height, width, 3), the first views first.
        own_size: upright (width, height) of the picture itself.
        places: where each view lies in the picture.
    """

    pixels: Pixels
    own_size: Size
    places: tuple[Place, ...]


@dataclass(frozen=True)
class Cut:
    """The position of one view.

    Attributes:
        view_set: index of its set in `Views.sets`.
        picture: (width, height) of the upright picture, scaled for this set.
        left, top: of the crop in the scaled picture, pixels.
    """

    view_set: int
    picture: Size
    left: int
    top: int


def positions(size: Size, crop: Size, count: int) -> list[tuple[int, int]]:
    """(left, top) of `count` crops in a picture, row by row.

    The number of columns follows the picture's aspect ratio. Crops are distributed evenly over the rows; the first rows
    get one more if there is a remainder. In a row of k crops, crop i is centred at (i + 0.5) / k of the width; of r
    rows, row j is centred at (j + 0.5) / r of the height. Crops that would cross the border are moved inside.
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
    """How many times a picture of this upright (width, height) is halved."""
    done = 0
    if views.reduce_above is not None:
        while done < MOST_HALVINGS and min(size) >= views.reduce_above << (done + 1):
            done += 1
    return done


def working_size(own_size: Size, views: Views) -> Size:
    """(width, height) of a picture after halving."""
    factor = 1 << halvings(own_size, views)
    return -(-own_size[0] // factor), -(-own_size[1] // factor)


def plan(own_size: Size, views: Views, size: Size) -> tuple[Cut, ...]:
    """The positions of all views in a picture, in order.

    Args:
        own_size: upright (width, height) of the picture.
        size: (width, height) of the network's input.
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
    """The places of all views in a picture as fractions of its size, in order; see `plan` for the arguments."""
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
        views: None: one view, the whole picture, as `edge.imaging.preprocess.pixels` returns it.
        size: (width, height) of the network's input.

    Raises:
        UnreadableFileError, UndecodableImageError: see `edge.imaging.preprocess.pixels`.
    """
    return taken_as(path, data, lambda _: (views, size))


def taken_as(
    path: str | bytes | os.PathLike[str], data: bytes | None, wanted: Callable[[Size], tuple[Views | None, Size]]
) -> Taken:
    """Like `taken`, with views and size as a function of the picture's own upright (width, height)."""

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
    """The views of a camera's frame: what `taken` returns for a PNG file with the same content.

    Without views, the frame is scaled by `edge.imaging.preprocess.scaled`.

    Args:
        pixels: RGB, uint8, shape (height, width, 3).
    """
    own_size = pixels.shape[1], pixels.shape[0]
    where = places(own_size, views, size)
    if views is None:
        return Taken(preprocess.scaled(pixels, size)[None], own_size, where)
    return Taken(_cut(preprocess.Loaded(Image.fromarray(pixels), own_size, 1), views, size), own_size, where)


def _cut(picture: preprocess.Loaded, views: Views, size: Size) -> Pixels:
    """All views of a picture, uint8, shape (views, height, width, 3). A JPEG may have been halved while decoding."""
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
    """(left, top) of a crop in the stored picture, before `preprocess.TRANSPOSITIONS` turns it upright."""
    left = cut.picture[0] - cut.left - size[0] if orientation in (2, 3, 6, 7) else cut.left
    top = cut.picture[1] - cut.top - size[1] if orientation in (3, 4, 7, 8) else cut.top
    return (left, top) if orientation < 5 else (top, left)
