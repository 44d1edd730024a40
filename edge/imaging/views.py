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
from functools import partial
from typing import NamedTuple

from PIL import Image

from edge.imaging import preprocess
from edge.imaging.preprocess import Pixels
from edge.records import dataclass
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


class LazyViews:
    """The views of one decoded picture, cut when they are needed. For one thread at a time.

    It holds the decoded picture: drop it as soon as the picture is judged. Of a format that can be decoded in parts
    (HEIC with tiles), only what the first views need is decoded at first; the whole when further views are asked for.

    Attributes:
        own_size: upright (width, height) of the picture itself.
    """

    def __init__(
        self,
        path: str | bytes | os.PathLike[str],
        picture: preprocess.Loaded,
        views: Views | None,
        size: Size,
        decode_whole: Callable[[], preprocess.Loaded] | None = None,
    ) -> None:
        """
        Args:
            path: names the image in errors.
            picture: the picture, or the part of it that the first views need.
            views: None: one view, the whole picture.
            size: (width, height) of the network's input.
            decode_whole: called if `picture` is a part, and further views are needed; else None.
        """
        self.own_size = picture.own_size
        self._path, self._picture, self._views, self._size = path, picture, views, size
        self._decode_whole = decode_whole
        self._further: Pixels | None = None

    @property
    def places(self) -> tuple[Place, ...]:
        """Where each view lies in the picture, the first views first."""
        return places(self.own_size, self._views, self._size)

    def first(self) -> Pixels:
        """The views that are always judged: RGB, uint8, shape (views, height, width, 3).

        Raises:
            UnreadableFileError: there is not enough memory now.
            UndecodableImageError: they cannot be computed.
        """
        return self._pixels(self._picture, 0, None if self._views is None else self._views.first_count)

    def further(self) -> Pixels:
        """The further views: RGB, uint8, shape (views, height, width, 3). They are cut at the first call and kept.

        Raises:
            UnreadableFileError, UndecodableImageError: see `first`.
        """
        import numpy as np  # see edge.imaging.preprocess

        if self._further is None:
            if self._views is None or not self._views.further:
                self._further = np.empty((0, self._size[1], self._size[0], 3), np.uint8)
            else:
                self._further = self._pixels(self._whole(), self._views.first_count, None)
        return self._further

    def taken(self) -> Taken:
        """All views, cut at once.

        Raises:
            UnreadableFileError, UndecodableImageError: see `first`.
        """
        return Taken(self._pixels(self._whole(), 0, None), self.own_size, self.places)

    def _whole(self) -> preprocess.Loaded:
        if self._picture.part is not None and self._decode_whole is not None:
            self._picture = self._decode_whole()
        return self._picture

    def _pixels(self, picture: preprocess.Loaded, start: int, end: int | None) -> Pixels:
        import numpy as np

        with preprocess.decoder_errors(self._path):
            if self._views is None:
                return np.asarray(preprocess.whole(picture, self._size))[None]
            return _cut(picture, self._views, self._size, slice(start, end))


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
    picture = preprocess.decode(path, preprocess.read(path) if data is None else data, partial(_least_side, wanted))
    return _lazy(path, picture, wanted).taken()


def taken_lazily(
    path: str | bytes | os.PathLike[str], data: bytes | None, wanted: Callable[[Size], tuple[Views | None, Size]]
) -> LazyViews:
    """Like `taken_as`, but the views are cut when they are asked for. The file is read once."""
    content, least_side = preprocess.read(path) if data is None else data, partial(_least_side, wanted)
    picture = preprocess.decode(path, content, least_side, partial(_first_part, wanted))
    if picture.part is None:
        return _lazy(path, picture, wanted)
    return _lazy(path, picture, wanted, partial(preprocess.decode, path, content, least_side))  # keeps the content


def _lazy(
    path: str | bytes | os.PathLike[str],
    picture: preprocess.Loaded,
    wanted: Callable[[Size], tuple[Views | None, Size]],
    decode_whole: Callable[[], preprocess.Loaded] | None = None,
) -> LazyViews:
    views, size = wanted(picture.own_size)
    return LazyViews(path, picture, views, size, decode_whole)


def _least_side(wanted: Callable[[Size], tuple[Views | None, Size]], own_size: Size) -> int:
    """The least side of a JPEG, see `edge.imaging.preprocess.decode`."""
    views, size = wanted(own_size)
    if views is None:
        return preprocess.side_to_decode(size)
    return min(own_size) >> halvings(own_size, views)


def _first_part(
    wanted: Callable[[Size], tuple[Views | None, Size]], own_size: Size
) -> tuple[int, int, int, int] | None:
    """What the first views need of an upright picture; None: the whole."""
    views, size = wanted(own_size)
    if views is None:
        return None
    from edge.imaging import crops  # a model for whole pictures starts without it: the same below

    working, factor = working_size(own_size, views), 1 << halvings(own_size, views)
    boxes = [crops.box_of(cut, size, 1, working) for cut in plan(own_size, views, size)[: views.first_count]]
    left, top, right, bottom = crops.bounds(boxes, size, working)
    return left * factor, top * factor, min(right * factor, own_size[0]), min(bottom * factor, own_size[1])


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
    picture = preprocess.Loaded(Image.fromarray(pixels), own_size, 1)
    return Taken(_cut(picture, views, size, slice(None)), own_size, where)


def _cut(picture: preprocess.Loaded, views: Views, size: Size, which: slice) -> Pixels:
    from edge.imaging import crops

    factor, working = 1 << halvings(picture.own_size, views), working_size(picture.own_size, views)
    return crops.cut(picture, working, factor, size, plan(picture.own_size, views, size)[which])
