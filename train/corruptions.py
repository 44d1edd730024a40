"""Corruptions that an image suffers when it is shared: re-encoding, blur, noise, rescaling, brightness.

Training applies them at random (`at_random`); evaluation applies a fixed list
(`CORRUPTIONS`). Both use the same functions, so that they mean the same by
"robust".
"""

from collections.abc import Callable
from functools import partial
from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageEnhance, ImageFilter

from edge.imaging.preprocess import Pixels

FILTERS = {
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "hamming": Image.Resampling.HAMMING,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
Corruption = Callable[[Image.Image], Image.Image]


def reencoded(image: Image.Image, quality: int, subsampling: int = 2) -> Image.Image:
    """The image after JPEG compression at Pillow's `quality`; `subsampling` 2 is 4:2:0, and 0 is 4:4:4."""
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=quality, subsampling=subsampling)
    return Image.open(buffer)


def blurred(image: Image.Image, sigma: float) -> Image.Image:
    """The image after a Gaussian blur; `sigma` in pixels."""
    return image.filter(ImageFilter.GaussianBlur(sigma))


def noisy(image: Image.Image, sigma: float, random: np.random.Generator) -> Image.Image:
    """The image with white Gaussian noise on each channel of each pixel; `sigma` on the scale 0-255."""
    noise = random.standard_normal((image.height, image.width, 3), np.float32) * np.float32(sigma)
    return Image.fromarray(np.clip(np.rint(np.asarray(image) + noise), 0, 255).astype(np.uint8))


def rescaled(
    image: Image.Image, factor: float, there: Image.Resampling, back: Image.Resampling | None = None
) -> Image.Image:
    """The image scaled by `factor` with the filter `there`, then back to its size with `back` (default: `there`)."""
    size = max(1, round(image.width * factor)), max(1, round(image.height * factor))
    return image.resize(size, there).resize(image.size, there if back is None else back)


def brightened(image: Image.Image, factor: float) -> Image.Image:
    """The image with every value multiplied by `factor`, clipped to 0-255."""
    return ImageEnhance.Brightness(image).enhance(factor)


def _fixed_noise(sigma: float) -> Corruption:
    """Noise that is always the same for an image: its seed is made of the pixels."""

    def corrupt(image: Image.Image) -> Image.Image:
        seed = int(np.asarray(image, np.uint64).sum())
        return noisy(image, sigma, np.random.default_rng(seed))

    return corrupt


def _fixed() -> dict[str, Corruption]:
    every: dict[str, Corruption] = {"clean": lambda image: image}
    every |= {f"JPEG quality {q}": partial(reencoded, quality=q) for q in (90, 75, 50)}
    every |= {f"blur, sigma {s}": partial(blurred, sigma=s) for s in (0.5, 1.0)}
    every |= {f"noise, sigma {s}": _fixed_noise(s) for s in (4, 8, 16)}
    for factor, title in ((0.5, "half"), (2, "double"), (4, "fourfold")):
        for name, filter_ in FILTERS.items():
            every[f"{title} size and back, {name}"] = partial(rescaled, factor=factor, there=filter_)
    every |= {f"brightness x {x}": partial(brightened, factor=x) for x in (0.7, 1.3)}
    return every


CORRUPTIONS: dict[str, Corruption] = _fixed()


def at_random(pixels: Pixels, share: float, random: np.random.Generator) -> Pixels:
    """Apply a random chain of corruptions, of random strength, to a `share` of the images.

    Args:
        pixels: uint8, shape (n, height, width, 3).
        share: part of the images to corrupt, 0-1.

    Returns:
        A new array of the same shape.
    """
    pixels = pixels.copy()
    for index in np.flatnonzero(random.random(len(pixels)) < share):
        pixels[index] = _chain(pixels[index], random)
    return pixels


def _chain(pixels: npt.NDArray[np.uint8], random: np.random.Generator) -> npt.NDArray[np.uint8]:
    """A random chain in the usual order of events: scaled, edited, degraded, saved as JPEG."""
    image = Image.fromarray(pixels)
    rescale, brighten, blur, noise, encode = random.random(5) < (0.5, 0.25, 0.2, 0.2, 0.6)
    if rescale:
        filters = list(FILTERS.values())
        there, back = (filters[i] for i in random.integers(len(filters), size=2))
        image = rescaled(image, float(np.exp(random.uniform(np.log(0.5), np.log(4)))), there, back)
    if brighten:
        image = brightened(image, random.uniform(0.6, 1.4))
    if blur:
        image = blurred(image, random.uniform(0.2, 1.2))
    if noise:
        image = noisy(image, random.uniform(1, 16), random)
    if encode:
        image = reencoded(image, int(random.integers(40, 96)), int(random.choice((0, 2))))
    return np.asarray(image)
