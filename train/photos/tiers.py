"""Changes of a picture before it is measured: none, those of sharing (the tiers), or a single one (CHANGES)."""

from collections.abc import Callable, Mapping
from functools import partial
from io import BytesIO
from typing import Any

from PIL import Image, ImageFilter

from edge.imaging import preprocess

CLEAN = "clean"
Change = Callable[[Image.Image], bytes]


def _encoded(picture: Image.Image, format_: str, **options: Any) -> bytes:
    buffer = BytesIO()
    picture.save(buffer, format_, **options)
    return buffer.getvalue()


def _shared(picture: Image.Image, *, longest: int, quality: int) -> bytes:
    """The file that a website or chat program would pass on: at most `longest` pixels a side, then JPEG."""
    return _encoded(_scaled(picture, min(1.0, longest / max(picture.size))), "JPEG", quality=quality)


def _scaled(picture: Image.Image, scale: float) -> Image.Image:
    if scale == 1:
        return picture
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    return picture.resize(size, Image.Resampling.BICUBIC)


def _rescaled(picture: Image.Image, *, scale: float) -> bytes:
    return _encoded(_scaled(picture, scale), "PNG", compress_level=1)


def _blurred(picture: Image.Image, *, sigma: float) -> bytes:
    return _encoded(picture.filter(ImageFilter.GaussianBlur(sigma)), "PNG", compress_level=1)


def _jpeg(picture: Image.Image, *, qualities: tuple[int, ...]) -> bytes:
    data = b""
    for quality in qualities:
        data = _encoded(picture, "JPEG", quality=quality)
        picture = Image.open(BytesIO(data))
    return data


# The tiers that every picture is measured in.
TIERS: Mapping[str, Change | None] = {
    CLEAN: None,  # the file as it is
    "web": partial(_shared, longest=768, quality=60),
    "hard": partial(_shared, longest=512, quality=40),
}
CHANGES: Mapping[str, Change] = {
    **{f"JPEG {quality}": partial(_jpeg, qualities=(quality,)) for quality in (95, 85, 75, 60, 50)},
    "JPEG 75, then 85": partial(_jpeg, qualities=(75, 85)),
    **{f"WebP {quality}": partial(_encoded, format_="WEBP", quality=quality) for quality in (80, 50)},
    **{f"scaled by {scale}": partial(_rescaled, scale=scale) for scale in (1.5, 1.25, 0.75, 0.5, 0.25)},
    **{f"blur, sigma {sigma}": partial(_blurred, sigma=sigma) for sigma in (1, 2, 3)},
}


def changed(path: str, data: bytes, tier: str) -> bytes:
    """The content of an image file after the change of a tier.

    Args:
        path: names the image in errors.
        tier: a name in TIERS or CHANGES.

    Raises:
        UndecodableImageError: the content is not an acceptable image.
    """
    change = TIERS.get(tier) if tier in TIERS else CHANGES[tier]
    return data if change is None else change(preprocess.decoded(path, data)[0])
