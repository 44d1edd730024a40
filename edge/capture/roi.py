"""Rotation, flip and region of a camera's picture."""

import re
from dataclasses import dataclass
from typing import Literal

import numpy as np

from edge.errors import RoiError, printable
from edge.imaging.preprocess import Pixels

Rotation = Literal[0, 90, 180, 270]
Flip = Literal["horizontal", "vertical"]

_LENGTH = re.compile(r"([0-9]+(?:\.[0-9]+)?)(%?)")


@dataclass(frozen=True)
class Length:
    """A coordinate or side of a region, in pixels or in per cent of the picture's width or height."""

    value: float
    is_percent: bool = False

    def of(self, whole: int) -> int:
        """The length in pixels.

        Args:
            whole: the picture's width or height in pixels.
        """
        return round(self.value * whole / 100) if self.is_percent else round(self.value)

    def __str__(self) -> str:
        return f"{self.value:g}{'%' if self.is_percent else ''}"


@dataclass(frozen=True)
class Region:
    """A rectangle of the picture; x and y are the coordinates of its upper left corner."""

    x: Length
    y: Length
    width: Length
    height: Length

    def __str__(self) -> str:
        return f"{self.x},{self.y},{self.width},{self.height}"


@dataclass(frozen=True)
class Roi:
    """How each frame is rotated, then flipped, then cropped.

    Attributes:
        region: the part of the rotated and flipped picture that is classified; None: the whole picture.
        rotate: degrees, clockwise.
        flip: "horizontal" exchanges left and right, "vertical" top and bottom; None: no flip.
    """

    region: Region | None = None
    rotate: Rotation = 0
    flip: Flip | None = None

    def turned(self, size: tuple[int, int]) -> tuple[int, int]:
        """(width, height) after the rotation of a picture that has `size` before it; also the reverse."""
        return size if self.rotate in (0, 180) else size[::-1]

    def of(self, pixels: Pixels) -> Pixels:
        """The region of a picture, rotated and flipped: a view of `pixels`, without a copy.

        Args:
            pixels: RGB, uint8, shape (height, width, 3).

        Raises:
            RoiError: the region does not lie within the picture.
        """
        turned = np.rot90(pixels, -self.rotate // 90) if self.rotate else pixels
        if self.flip:
            turned = turned[:, ::-1] if self.flip == "horizontal" else turned[::-1]
        return turned if self.region is None else _crop(turned, self.region)


def region(text: str) -> Region:
    """Parse a region `X,Y,WIDTH,HEIGHT`, each in pixels or with % in per cent of the picture.

    Raises:
        RoiError: the text is not a valid region.
    """
    parts = [_LENGTH.fullmatch(part.strip()) for part in text.split(",")]
    lengths = [Length(float(part[1]), part[2] == "%") for part in parts if part]
    if len(parts) != 4 or len(lengths) != 4 or any(_is_invalid(length) for length in lengths):
        raise RoiError(
            f"{printable(text)}: invalid region; write X,Y,WIDTH,HEIGHT in pixels, or in per cent as 25%,0%,50%,100%"
        )
    x, y, width, height = lengths
    if not width.value or not height.value:
        raise RoiError(f"{printable(text)}: invalid region; width and height must be above 0")
    for start, length in ((x, width), (y, height)):
        if start.is_percent and length.is_percent and start.value + length.value > 100:
            raise RoiError(f"{printable(text)}: invalid region; it exceeds 100 % of the picture")
    return Region(x, y, width, height)


def _is_invalid(length: Length) -> bool:
    return length.value > 100 if length.is_percent else not length.value.is_integer()


def _crop(pixels: Pixels, region: Region) -> Pixels:
    height, width = pixels.shape[:2]
    left, top = region.x.of(width), region.y.of(height)
    right, bottom = left + region.width.of(width), top + region.height.of(height)
    if region.x.is_percent and region.width.is_percent:  # the sum, rounded once, so that neighbours meet
        right = Length(region.x.value + region.width.value, True).of(width)
    if region.y.is_percent and region.height.is_percent:
        bottom = Length(region.y.value + region.height.value, True).of(height)
    if right > width or bottom > height or right <= left or bottom <= top:
        raise RoiError(f"the region {region} does not lie within the picture of {width} x {height} pixels")
    return pixels[top:bottom, left:right]
