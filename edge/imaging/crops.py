"""Views cut from a decoded picture: only what they show is converted, reduced and scaled."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from edge.imaging import modes, preprocess, turning
from edge.imaging.preprocess import Pixels

if TYPE_CHECKING:
    from edge.imaging.views import Cut

Size = tuple[int, int]  # (width, height) in pixels
Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels
Bounds = tuple[int, int, int, int]  # the same in whole pixels
_SUPPORT = 2  # pixels to both sides that the bicubic filter reads, at the scale of the smaller picture


def cut(picture: preprocess.Loaded, working: Size, factor: int, size: Size, cuts: "Sequence[Cut]") -> Pixels:
    """Some views of a picture, uint8, shape (views, height, width, 3).

    Args:
        picture: a JPEG may have been halved while decoding.
        working: upright (width, height) of the picture after halving.
        factor: by which the whole picture is reduced for that.
        size: (width, height) of each view.
        cuts: the views.

    Raises:
        ValueError: the picture has another size.
    """
    orientation, image = picture.orientation, picture.image
    own = image.size if picture.part is None else turning.as_stored(picture.own_size, orientation)
    working = turning.as_stored(working, orientation)
    factor = 1 if own == working else factor
    if (-(-own[0] // factor), -(-own[1] // factor)) != working:
        raise ValueError(f"decoded as {own[0]} x {own[1]} pixels")
    stored_size = turning.as_stored(size, orientation)
    boxes = [box_of(one, size, orientation, working) for one in cuts]
    read = bounds(boxes, stored_size, working)
    halved = image if own == image.size == working else _part(image, picture.part or (0, 0), factor, working, read)
    whole: Image.Image | None = None
    pixels = np.empty((len(cuts), size[1], size[0], 3), np.uint8)
    for view, one, box in zip(pixels, cuts, boxes, strict=True):
        if turning.as_stored(one.picture, orientation) == working:
            crop = modes.scalable(halved.crop(box))
        else:
            whole = whole or _premultiplied(_part(halved, (0, 0), 1, working, read))
            crop = whole.resize(stored_size, preprocess.RESAMPLING, box)
            crop = crop.convert("RGBA") if crop.mode == "RGBa" else crop
        view[:] = np.asarray(turning.turned(modes.rgb(crop), orientation))
    return pixels


def box_of(cut: "Cut", size: Size, orientation: int, working: Size) -> Box:
    """What a view shows of the stored picture of `working` pixels."""
    scaled, (width, height) = (turning.as_stored(one, orientation) for one in (cut.picture, size))
    left, top = _as_stored(cut, size, orientation)
    right, bottom = left + width, top + height
    if scaled == working:
        return left, top, right, bottom
    across, down = working[0] / scaled[0], working[1] / scaled[1]
    return left * across, top * down, min(right * across, working[0]), min(bottom * down, working[1])


def bounds(boxes: Sequence[Box], stored_size: Size, working: Size) -> Bounds:
    """The pixels that are read to scale some boxes of a picture to views."""
    least, most = list(working), [0, 0]
    for box in boxes:
        for axis in (0, 1):
            start, end = box[axis], box[axis + 2]
            margin = _SUPPORT * max(1.0, (end - start) / stored_size[axis]) + 1
            least[axis] = min(least[axis], max(0, math.floor(start - margin)))
            most[axis] = max(most[axis], min(working[axis], math.ceil(end + margin)))
    return least[0], least[1], most[0], most[1]


def _part(image: Image.Image, start: tuple[int, int], factor: int, working: Size, box: Bounds) -> Image.Image:
    """A part of a picture, reduced by a factor, in a mode that can be scaled, within an image of `working` pixels.

    The pixels outside of the box are undefined. The coordinates are those of the whole picture: relative to the box,
    their rounding to 32 bits would differ, and change pixels.

    Args:
        image: the picture, or a part that begins at `start`.
    """
    is_scalable = modes.is_scalable(image)
    if factor == 1 and image.size == working and is_scalable:
        return image
    left, top = box[0] * factor - start[0], box[1] * factor - start[1]
    right, bottom = min(box[2] * factor - start[0], image.width), min(box[3] * factor - start[1], image.height)
    if is_scalable and factor > 1:
        part = image.reduce(factor, (left, top, right, bottom))
    else:
        is_whole = (left, top, right, bottom) == (0, 0, *image.size)
        part = modes.scalable(image if is_whole else image.crop((left, top, right, bottom)))
        part = part.reduce(factor) if factor > 1 else part
    if part.size == working:
        return part
    canvas = Image.new(part.mode, working, None)  # uninitialised: memory that is not written takes no room
    canvas.paste(part, box[:2])
    return canvas


def _premultiplied(image: Image.Image) -> Image.Image:
    """An image as Pillow scales it: it would convert all of one with transparency for each view."""
    return image.convert("RGBa") if image.mode == "RGBA" else image


def _as_stored(cut: "Cut", size: Size, orientation: int) -> tuple[int, int]:
    """(left, top) of a crop in the stored picture, before `turning.TRANSPOSITIONS` turns it upright."""
    left = cut.picture[0] - cut.left - size[0] if orientation in (2, 3, 6, 7) else cut.left
    top = cut.picture[1] - cut.top - size[1] if orientation in (3, 4, 7, 8) else cut.top
    return (left, top) if orientation < 5 else (top, left)
