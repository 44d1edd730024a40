"""Augmentation of training images, on whole batches of uint8 pixels."""

import numpy as np
import numpy.typing as npt

from edge.imaging.preprocess import Pixels


def flip_and_crop(pixels: Pixels, padding: int, random: np.random.Generator) -> Pixels:
    """Mirror half of the images at random, then shift each by up to `padding` pixels.

    The method is that of He et al. 2016 (arXiv:1512.03385, section 4.2), but
    the edges are filled with reflected pixels instead of black ones, which no
    photograph has along its edge.

    Args:
        pixels: uint8, shape (n, height, width, 3).
        padding: largest shift in pixels, in each direction; less than height and width.

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


def cutmix(
    pixels: Pixels, targets: npt.NDArray[np.float32], share: float, random: np.random.Generator
) -> tuple[Pixels, npt.NDArray[np.float32]]:
    """Paste a rectangle of another image of the batch into a `share` of the images, and mix the targets by area.

    The method is CutMix, Yun et al. 2019 (arXiv:1905.04899): the rectangle has
    the image's proportions, a random centre and a uniformly random area, and is
    clipped at the image's edges. It keeps the network from memorising images.

    Args:
        pixels: uint8, shape (n, height, width, 3).
        targets: float32, shape (n, k).
        share: part of the images that get a rectangle, 0-1.

    Returns:
        New arrays of the same shapes.
    """
    count, height, width, _ = pixels.shape
    size = np.sqrt(random.random(count)) * np.less(random.random(count), share)
    top, bottom = _span(size, height, random)
    left, right = _span(size, width, random)
    rows, columns = np.arange(height), np.arange(width)
    pasted = ((rows >= top) & (rows < bottom))[:, :, None] & ((columns >= left) & (columns < right))[:, None, :]
    others = random.permutation(count)
    area = pasted.mean((1, 2), dtype=np.float32)[:, None]
    mixed: Pixels = np.where(pasted[..., None], pixels[others], pixels)
    return mixed, (1 - area) * targets + area * targets[others]


def _span(
    size: npt.NDArray[np.float64], length: int, random: np.random.Generator
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Start and end of a stretch around a random point, as (first, past-the-last) indices, each of shape (n, 1)."""
    middle = random.integers(length, size=len(size))
    half = size * length / 2
    return np.rint(middle - half)[:, None], np.rint(middle + half)[:, None]


def _reflect(index: npt.NDArray[np.intp], length: int) -> npt.NDArray[np.intp]:
    """Indices with those outside of 0..length-1 mirrored at the edge, which itself is not repeated."""
    index = np.abs(index)
    return np.where(index >= length, 2 * (length - 1) - index, index)
