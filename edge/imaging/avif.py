"""AVIF pictures, read by Pillow 11.3 and later where it was built with libavif.

Of an animation, the first frame is read. Pillow reports the rotation and the
mirroring that the file asks for as its EXIF orientation.
"""

import os
from importlib.util import find_spec
from io import BytesIO

from PIL import Image, UnidentifiedImageError

from edge import requirements
from edge.errors import UnreadableFileError
from edge.imaging import completeness, heic

SUFFIXES = (".avif",)
_BRANDS = frozenset((b"avif", b"avis"))  # AV1 Image File Format, sections 6.2 and 6.3

# Greatest memory of decoding in bytes per pixel: the planes, then RGB or RGBA, then Pillow's copies. Measured by
# tests/edge/imaging/test_avif.py with 8 bits without chroma subsampling: 11 and 17; with 10 and 12 bits: 14 and 21.
_BYTES_PER_PIXEL = 15
_BYTES_PER_TRANSPARENT_PIXEL = 22


def is_avif(data: bytes) -> bool:
    """Whether a file's first bytes are those of AVIF, and not of HEIC or video, which have the same structure."""
    return bool(heic.brands(data) & _BRANDS) and not heic.is_heic(data)


def require_decoder(path: str | bytes | os.PathLike[str], head: bytes) -> None:
    """Refuse an AVIF file that cannot be decoded here, before all of it is read.

    Args:
        path: names the file in errors.
        head: the first `heic.HEAD_BYTES` of the file.

    Raises:
        UnreadableFileError: it is AVIF, and this Pillow does not read AVIF.
    """
    if is_avif(head) and find_spec("PIL._avif") is None:
        least = requirements.PILLOW_FOR_AVIF
        raise UnreadableFileError(
            path, f"AVIF needs Pillow {least} or later, built with libavif: pip install -U pillow"
        )


def opened(path: str | bytes | os.PathLike[str], data: bytes) -> Image.Image:
    """Open the first frame of a file; Pillow's `load` decodes it.

    Args:
        path: names the file in errors.
        data: the file's content.

    Raises:
        UnidentifiedImageError: the file is not AVIF.
        UnreadableFileError: this Pillow does not read AVIF.
        MemoryError: there is not enough memory now.
        SyntaxError, ValueError, RuntimeError: the file is damaged.
    """
    if not is_avif(data):
        raise UnidentifiedImageError
    require_decoder(path, data)
    completeness.require_heif(data)
    try:
        from PIL import AvifImagePlugin
    except ImportError as error:
        raise UnreadableFileError(path, f"Pillow's decoder for AVIF does not load: {error}") from error
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # `watch` has a process for each core
    image = AvifImagePlugin.AvifImageFile(BytesIO(data))
    image.info.pop("xmp", None)  # Pillow would apply the orientation in it
    return image


def bytes_needed(image: Image.Image, data: bytes) -> int:
    """Greatest memory that decoding takes, in bytes, by the sizes in the file."""
    return max(image.width * image.height, heic.most_pixels(data)) * bytes_per_pixel(image)


def bytes_per_pixel(image: Image.Image) -> int:
    """Greatest memory that decoding takes, in bytes per pixel."""
    return _BYTES_PER_TRANSPARENT_PIXEL if image.mode == "RGBA" else _BYTES_PER_PIXEL
