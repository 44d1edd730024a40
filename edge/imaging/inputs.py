"""The inputs of the models, and which model an image goes to.

Nothing here refers to an interpreter, so it can be sent to decoding processes.
"""

import math
import os
from collections.abc import Callable, Iterable

from edge.imaging.preprocess import Pixels
from edge.imaging.views import LazyViews, Size, Taken, Views, of_frame, taken_as, taken_lazily
from edge.records import dataclass


@dataclass(frozen=True)
class Domain:
    """The images that a model was measured on, by (least, greatest) upright width and height in pixels."""

    width: tuple[int, int]
    height: tuple[int, int]

    def holds(self, size: tuple[int, int]) -> bool:
        """Whether an image of this (width, height) lies in the domain."""
        return self.width[0] <= size[0] <= self.width[1] and self.height[0] <= size[1] <= self.height[1]

    def reason_outside(self, size: tuple[int, int]) -> str | None:
        """Why an image of this (width, height) lies outside of the domain, in words; None if it lies inside."""
        if self.holds(size):
            return None
        ranges = (self.width, self.height)
        known = " x ".join(str(least) if least == most else f"{least}-{most}" for least, most in ranges)
        return f"{size[0]} x {size[1]} pixels; the model was measured on {known}"

    def distance(self, size: tuple[int, int]) -> float:
        """How far an image of this (width, height) lies outside: the sum of |log ratio| of both sides; 0 inside."""
        ranges = (self.width, self.height)
        return sum(
            max(math.log(least / length), math.log(length / greatest), 0.0)
            for length, (least, greatest) in zip(size, ranges, strict=True)
        )


@dataclass(frozen=True)
class Input:
    """The input of one model.

    Attributes:
        model: index of the model.
        size: (width, height) of the network's input in pixels.
        views: the crops that it is shown; None: the whole picture, scaled.
        domain: the images that it is for; None: all.
    """

    model: int
    size: Size
    views: Views | None = None
    domain: Domain | None = None


def choose(own_size: Size, inputs: Iterable[Input]) -> Input:
    """The first input whose domain holds an image of this upright (width, height); else the nearest one.

    Args:
        inputs: at least one; it is iterated no further than needed.
    """
    nearest: tuple[float, Input] | None = None
    for one in inputs:
        if one.domain is None or one.domain.holds(own_size):
            return one
        distance = one.domain.distance(own_size)
        if nearest is None or distance < nearest[0]:
            nearest = distance, one
    assert nearest is not None
    return nearest[1]


def take(
    path: str | bytes | os.PathLike[str], data: bytes | None, chosen: Callable[[Size], Input]
) -> tuple[Input, Taken]:
    """The views of an image file for its model. The file is read and decoded once.

    Args:
        path: the file; with `data` given it only names the image in errors.
        data: the file's content, if it has been read already.
        chosen: returns the input for an upright (width, height), see `choose`.

    Raises:
        UnreadableFileError, UndecodableImageError: see `edge.imaging.preprocess.pixels`.
    """
    choice = _Choice(chosen)
    taken = taken_as(path, data, choice)
    return choice.input, taken


def take_lazily(
    path: str | bytes | os.PathLike[str], data: bytes | None, chosen: Callable[[Size], Input]
) -> tuple[Input, LazyViews]:
    """Like `take`, but the views are cut when they are needed, for a caller that has the network at hand."""
    choice = _Choice(chosen)
    lazy = taken_lazily(path, data, choice)
    return choice.input, lazy


class _Choice:
    """The views and size that the chosen input has, for `edge.imaging.views.taken_as`."""

    def __init__(self, chosen: Callable[[Size], Input]) -> None:
        self._chosen = chosen
        self._latest: tuple[Size, Input] | None = None

    def __call__(self, own_size: Size) -> tuple[Views | None, Size]:
        if self._latest is None or self._latest[0] != own_size:  # usually the decoded size is that of the header
            self._latest = own_size, self._chosen(own_size)
        return self.input.views, self.input.size

    @property
    def input(self) -> Input:
        """For the size that was asked for last: one is, before anything is decoded."""
        assert self._latest is not None
        return self._latest[1]


def take_of_frame(pixels: Pixels, chosen: Callable[[Size], Input]) -> tuple[Input, Taken]:
    """The views of a camera's frame for its model.

    Args:
        pixels: RGB, uint8, shape (height, width, 3).
        chosen: returns the input for a (width, height), see `choose`.
    """
    one = chosen((pixels.shape[1], pixels.shape[0]))
    return one, of_frame(pixels, one.views, one.size)
