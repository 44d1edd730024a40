"""What a training image may look like instead, on whole batches of uint8 pixels."""

import numpy as np
import numpy.typing as npt

from edge.image import Pixels


def flip_and_crop(pixels: Pixels, padding: int, random: np.random.Generator) -> Pixels:
    """Mirror half of the images, then shift each by up to `padding` pixels, edges reflected.

    The crop is the one of He et al. 2016 (arXiv:1512.03385, section 4.2) with
    reflection instead of black, which no photograph has along its edge.

    Args:
        pixels: uint8, shape (n, height, width, 3).
        padding: pixels on each side, less than height and width.

    Returns:
        A new array of the same shape.
    """
    count, height, width, _ = pixels.shape
    flipped = np.less(random.random(count), 0.5)
    columns = np.arange(width)
    columns = np.where(flipped[:, None], columns[::-1], columns)
    rows = np.broadcast_to(np.arange(height), (count, height))
    shift = random.integers(-padding, padding, (2, count, 1), endpoint=True)
    rows = _reflect(rows + shift[0], height)
    columns = _reflect(columns + shift[1], width)
    moved: Pixels = pixels[np.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]
    return moved


def _reflect(index: npt.NDArray[np.intp], length: int) -> npt.NDArray[np.intp]:
    """Indices outside of 0..length-1 mirrored back, the edge itself not repeated."""
    index = np.abs(index)
    return np.where(index >= length, 2 * (length - 1) - index, index)
