"""Random augmentation of pieces: the changes that pictures suffer when they are edited and shared.

Every step is drawn independently of the label, so that no step gives the label
away. The shares are those of published detectors; train/EXPERIMENTS.md records
what else was tried.
"""

from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageEnhance, ImageFilter

Array = npt.NDArray[np.uint8]
FILTERS = (Image.Resampling.BOX, Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS)
CAMERA_QUALITIES = (70, 75, 80, 82, 85, 87, 90, 90, 92, 93, 94, 95, 95, 96, 98)  # typical JPEG qualities of cameras


@dataclass(frozen=True)
class Augmentation:
    """The probability of each step, 0-1.

    Attributes:
        first_jpeg: encode a lossless picture as a camera's JPEG, before all other steps.
        native: crop at the piece's own scale.
        enlarged: crop a small part and enlarge it; the remaining crops are reduced a little.
        colour: change brightness, contrast and saturation.
        grey: convert to grey.
        blurred: blur.
        sharpened: sharpen, if the crop was not blurred.
        noisy: add Gaussian noise.
        masked: replace squares by grey.
        not_encoded: leave out the last encoding.
        webp: encode as WebP at last; the remaining crops are encoded as JPEG, a third of them twice.
    """

    first_jpeg: float = 0.5
    native: float = 0.4
    enlarged: float = 0.1
    colour: float = 0.4
    grey: float = 0.05
    blurred: float = 0.12
    sharpened: float = 0.12
    noisy: float = 0.1
    masked: float = 0.2
    not_encoded: float = 0.2
    webp: float = 0.2


def augmented(piece: Array, lossless: bool, size: int, how: Augmentation, random: np.random.Generator) -> Array:
    """A random crop of a piece after random changes.

    Args:
        piece: RGB, shape (height, width, 3).
        lossless: see `train.photos.pieces.Pieces`.
        size: side of the crop in pixels.
        how: probability of each step.

    Returns:
        RGB, uint8, shape (size, size, 3).
    """
    picture = Image.fromarray(piece)
    if lossless and random.random() < how.first_jpeg:
        picture = _jpeg(picture, int(random.choice(CAMERA_QUALITIES)), random)
    picture = _crop(picture, size, how, random)
    if random.random() < 0.5:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if turns := random.integers(4):
        picture = picture.rotate(90 * int(turns))
    picture = _toned(picture, how, random)
    return _masked(np.asarray(_encoded(picture, how, random)), how, random)


def _crop(picture: Image.Image, size: int, how: Augmentation, random: np.random.Generator) -> Image.Image:
    """A random square at the picture's scale, enlarged, or reduced a little."""
    most, drawn = min(picture.size), random.random()
    if drawn < how.native:
        side = size
    elif drawn < how.native + how.enlarged:
        side = int(size / random.uniform(1.3, 3.5))
    else:
        side = int(random.uniform(size / 1.3, max(most, size)))
    side = max(16, min(side, most))
    x, y = int(random.integers(picture.width - side + 1)), int(random.integers(picture.height - side + 1))
    box = (x, y, x + side, y + side)
    if side == size:
        return picture.crop(box)
    return picture.resize((size, size), FILTERS[random.integers(len(FILTERS))], box)


def _toned(picture: Image.Image, how: Augmentation, random: np.random.Generator) -> Image.Image:
    if random.random() < how.colour:
        for enhancer in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
            picture = enhancer(picture).enhance(random.uniform(0.65, 1.35))
    if random.random() < how.grey:
        picture = picture.convert("L").convert("RGB")
    if random.random() < how.blurred:
        picture = picture.filter(ImageFilter.GaussianBlur(random.uniform(0.3, 1.8)))
    elif random.random() < how.sharpened:
        picture = picture.filter(ImageFilter.UnsharpMask(random.uniform(0.5, 2), int(random.uniform(40, 160)), 0))
    if random.random() < how.noisy:
        values = np.asarray(picture, np.float32)
        noise = random.standard_normal(values.shape, np.float32) * random.uniform(1, 10)
        picture = Image.fromarray(np.clip(values + noise, 0, 255).astype(np.uint8))
    return picture


def _masked(pixels: Array, how: Augmentation, random: np.random.Generator) -> Array:
    """Replace some of the squares of 16 pixels by grey, so that the network cannot rely on one place."""
    if random.random() >= how.masked:
        return pixels
    squares = random.random((pixels.shape[0] // 16, pixels.shape[1] // 16)) < random.uniform(0.05, 0.5)
    masked = pixels.copy()
    masked[np.kron(squares, np.ones((16, 16), bool))] = 128
    return masked


def _encoded(picture: Image.Image, how: Augmentation, random: np.random.Generator) -> Image.Image:
    drawn = random.random()
    if drawn < how.not_encoded:
        return picture
    if drawn < how.not_encoded + how.webp:
        return _reopened(picture, "WEBP", quality=int(random.uniform(50, 95)), method=0)
    picture = _jpeg(picture, int(random.uniform(35, 97)), random)
    return _jpeg(picture, int(random.uniform(40, 97)), random) if random.random() < 0.33 else picture


def _jpeg(picture: Image.Image, quality: int, random: np.random.Generator) -> Image.Image:
    """The picture after JPEG compression; its grid of 8 x 8 blocks begins at a random place."""
    left, top = (int(n) for n in random.integers(8, size=2))
    padded = Image.fromarray(np.pad(np.asarray(picture), ((top, 0), (left, 0), (0, 0)), mode="edge"))
    decoded = _reopened(padded, "JPEG", quality=quality, subsampling=int(random.choice((0, 2, 2))))
    return decoded.crop((left, top, left + picture.width, top + picture.height))


def _reopened(picture: Image.Image, format_: str, **options: Any) -> Image.Image:
    buffer = BytesIO()
    picture.save(buffer, format_, **options)
    with Image.open(buffer) as reopened:
        return reopened.convert("RGB")
