"""HEIC photos, as iPhones take them: read where pillow-heif is installed, which is imported when one is met.

The primary image counts, and nothing else of the file: not its thumbnail, which
may show anything, no depth map, no sequence. libheif turns and mirrors it as
the file asks, so that what the EXIF data says of its orientation is void.
"""

import os
from collections.abc import Callable
from io import BytesIO

from PIL import Image, UnidentifiedImageError

from edge.errors import UnreadableFileError

# Brands of ISO/IEC 23008-12, annex B: those of images coded with HEVC, and those that do not tell the codec.
_HEVC_BRANDS = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"))
_ANY_BRANDS = frozenset((b"mif1", b"mif2", b"msf1"))
_AV1_BRANDS = frozenset((b"avif", b"avis"))
_MOST_BRANDS = 64  # no file has so many, but a hostile one may say that it had a million

# What a pixel takes at most, as tests/test_heic.py measures it: as YCbCr, cropped and turned, as RGB, and as Pillow's.
_BYTES_PER_PIXEL = 12
_BYTES_PER_TRANSPARENT_PIXEL = 14
_BYTES_PER_DEEP_PIXEL = 21  # of 10 or 12 bits, which are two bytes on the way

# libheif says "Memory allocation error" also of sizes that make no sense; this is what it says when memory is short.
_SHORT_OF_MEMORY = ("Out of memory", "Memory allocation error: Unspecified: Allocating ")


def is_heic(data: bytes) -> bool:
    """Whether a file's first bytes say so; those of AVIF and of films look much the same."""
    if data[4:8] != b"ftyp":
        return False
    main, end = data[8:12], min(int.from_bytes(data[:4], "big"), 16 + 4 * _MOST_BRANDS)
    brands = {main, *(data[at : at + 4] for at in range(16, end - 3, 4))}
    return bool(brands & _HEVC_BRANDS) or (main in _ANY_BRANDS and not brands & _AV1_BRANDS)


def opened(path: str | bytes | os.PathLike[str], data: bytes) -> Image.Image:
    """The primary image of a file, which `load` decodes.

    Args:
        path: names the file in errors.
        data: the file's content.

    Raises:
        UnidentifiedImageError: it is no HEIC.
        UnreadableFileError: pillow-heif is missing or broken, so there is no answer yet.
        SyntaxError, ValueError, RuntimeError: it is damaged.
    """
    if not is_heic(data):
        raise UnidentifiedImageError
    try:
        from pillow_heif import HeifImageFile, options

        options.DECODE_THREADS = 0  # none beside ours: `watch` has a process for each core
        options.THUMBNAILS = options.DEPTH_IMAGES = options.AUX_IMAGES = False
        opener: Callable[[BytesIO], Image.Image] = HeifImageFile  # which has no types
        return opener(BytesIO(data))
    except ModuleNotFoundError as error:
        missing = "HEIC photos need pillow-heif: pip install 'edge-detect[heic]'"
        raise UnreadableFileError(path, missing) from error
    except ImportError as error:
        raise UnreadableFileError(path, f"pillow-heif is installed but does not load: {error}") from error


def load(image: Image.Image) -> None:
    """Decode it.

    Raises:
        MemoryError: memory is short just now.
        SyntaxError, ValueError, RuntimeError, EOFError: it is damaged.
    """
    try:
        image.load()
    except RuntimeError as error:
        if str(error).startswith(_SHORT_OF_MEMORY):
            raise MemoryError from error
        raise


def bytes_per_pixel(image: Image.Image) -> int:
    """What decoding takes at most, by what the file says of itself."""
    if image.info["bit_depth"] > 8:
        return _BYTES_PER_DEEP_PIXEL
    return _BYTES_PER_TRANSPARENT_PIXEL if image.mode in ("RGBA", "RGBa") else _BYTES_PER_PIXEL
