"""What each of several models takes of a picture, and which of them an image goes to.

Nothing here knows of interpreters: it can be given to processes that decode.
"""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from edge.imaging.preprocess import Pixels
from edge.imaging.views import Size, Taken, of_frame, taken_as
from edge.inference.model import Domain, Views


@dataclass(frozen=True)
class Input:
    """What one model takes.

    Attributes:
        model: its index among those that it is one of.
        size: (width, height) of the network's input.
        views: None: the whole picture, scaled.
        domain: of the images that it is for; None: of all.
    """

    model: int
    size: Size
    views: Views | None = None
    domain: Domain | None = None


def choose(own_size: Size, inputs: Iterable[Input]) -> Input:
    """The first whose domain holds an image of this upright (width, height); else the one that is nearest to it.

    Args:
        inputs: at least one; no more of them are asked for than needed.
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
    """The views of an image file for the model that it goes to: its header is read once, and it is decoded once.

    Args:
        chosen: the Input for an upright (width, height); see `choose`.

    Raises:
        UnreadableFileError, UndecodableImageError: see `edge.imaging.preprocess.pixels`.
    """
    latest: tuple[Size, Input] | None = None

    def wanted(own_size: Size) -> tuple[Views | None, Size]:
        nonlocal latest
        if latest is None or latest[0] != own_size:  # as a rule the file's header tells the size of what is decoded
            latest = own_size, chosen(own_size)
        return latest[1].views, latest[1].size

    taken = taken_as(path, data, wanted)
    assert latest is not None  # asked for before anything is decoded
    return latest[1], taken


def take_of_frame(pixels: Pixels, chosen: Callable[[Size], Input]) -> tuple[Input, Taken]:
    """The same of a camera's frame: RGB, uint8, shape (height, width, 3)."""
    one = chosen((pixels.shape[1], pixels.shape[0]))
    return one, of_frame(pixels, one.views, one.size)
