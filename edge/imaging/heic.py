"""HEIC photos, as iPhones take them: read where pillow-heif is installed, which is imported when one is met.

The primary image counts, and nothing else of the file: not its thumbnail, which
may show anything, no depth map, no sequence. libheif turns and mirrors it as
the file asks, so that what the EXIF data says of its orientation is void.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from io import BytesIO

import PIL
from PIL import Image, UnidentifiedImageError

from edge.errors import UnreadableFileError

# Brands of ISO/IEC 23008-12, annex B: those of images coded with HEVC, and those that do not tell the codec.
_HEVC_BRANDS = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"))
_ANY_BRANDS = frozenset((b"mif1", b"mif2", b"msf1"))
_AV1_BRANDS = frozenset((b"avif", b"avis"))
_MOST_BRANDS = 64  # no file has so many, but a hostile one may say that it had a million
HEAD_BYTES = 16 + 4 * _MOST_BRANDS
SUFFIXES = (".heic", ".heif")
_LEAST_PILLOW = (11, 1)

# Bytes per pixel at most, measured by tests/edge/imaging/test_heic.py: the YCbCr planes, cropped and rotated, then RGB,
# then Pillow's own copy.
_BYTES_PER_PIXEL = 12
_BYTES_PER_TRANSPARENT_PIXEL = 14
_BYTES_PER_DEEP_PIXEL = 21  # of 10 or 12 bits, which are two bytes on the way

# libheif says "Memory allocation error" also of sizes that make no sense; this is what it says when memory is short.
_SHORT_OF_MEMORY = ("Out of memory", "Memory allocation error: Unspecified: Allocating ")


def is_heic(data: bytes) -> bool:
    """Whether a file's first bytes say so; those of AVIF and of films look much the same."""
    if data[4:8] != b"ftyp":
        return False
    main, end = data[8:12], min(int.from_bytes(data[:4], "big"), HEAD_BYTES)
    brands = {main, *(data[at : at + 4] for at in range(16, end - 3, 4))}
    return bool(brands & _HEVC_BRANDS) or (main in _ANY_BRANDS and not brands & _AV1_BRANDS)


def require_decoder(path: str | bytes | os.PathLike[str], head: bytes) -> None:
    """Whether a file can be read here, before all of it has been.

    Args:
        path: names the file in errors.
        head: its first HEAD_BYTES.

    Raises:
        UnreadableFileError: it is HEIC, and pillow-heif is missing.
    """
    if is_heic(head) and find_spec("pillow_heif") is None:
        raise UnreadableFileError(path, "HEIC photos need pillow-heif: pip install 'edge-detect[heic]'")


def opened(path: str | bytes | os.PathLike[str], data: bytes) -> Image.Image:
    """The primary image of a file, which `load` decodes.

    Args:
        path: names the file in errors.
        data: the file's content.

    Raises:
        UnidentifiedImageError: it is no HEIC.
        UnreadableFileError: pillow-heif is missing or broken, or Pillow too old, so there is no answer yet.
        MemoryError: memory is short just now.
        SyntaxError, ValueError, RuntimeError: it is damaged.
    """
    if not is_heic(data):
        raise UnidentifiedImageError
    require_decoder(path, data)
    if tuple(map(int, PIL.__version__.split(".")[:2])) < _LEAST_PILLOW:  # to which every photo seems to be damaged
        wanted = "HEIC photos need Pillow {}.{}".format(*_LEAST_PILLOW)
        raise UnreadableFileError(path, f"{wanted}, and {PIL.__version__} is loaded: bring it up to date, start anew")
    try:
        from pillow_heif import HeifImageFile, options

        options.DECODE_THREADS = 0  # none beside ours: `watch` has a process for each core
        options.THUMBNAILS = options.DEPTH_IMAGES = options.AUX_IMAGES = False
        opener: Callable[[BytesIO], Image.Image] = HeifImageFile  # which has no types
        with _shortness_named():
            return opener(BytesIO(data))
    except ImportError as error:
        raise UnreadableFileError(path, f"pillow-heif is installed but does not load: {error}") from error


def load(image: Image.Image) -> None:
    """Decode it.

    Raises:
        MemoryError: memory is short just now.
        SyntaxError, ValueError, RuntimeError, EOFError: it is damaged.
    """
    with _shortness_named():
        image.load()


@contextmanager
def _shortness_named() -> Iterator[None]:
    try:
        yield
    except (RuntimeError, SyntaxError) as error:
        if str(error).startswith(_SHORT_OF_MEMORY):
            raise MemoryError from error
        raise


def bytes_needed(image: Image.Image, data: bytes) -> int:
    """What decoding takes at most, by what the file says of itself."""
    return max(image.width * image.height, _most_pixels(data)) * bytes_per_pixel(image)


def _most_pixels(data: bytes) -> int:
    """Of any image in the file, by their sizes as it says: what a grid is put together of is decoded whole."""
    at = most = 0
    while (at := data.find(b"ispe\0\0\0\0", at) + 1) > 0:  # ISO/IEC 23008-12, 6.5.3
        width, height = data[at + 7 : at + 11], data[at + 11 : at + 15]
        most = max(most, int.from_bytes(width, "big") * int.from_bytes(height, "big"))
    return most


def bytes_per_pixel(image: Image.Image) -> int:
    """The same for a pixel."""
    if image.info["bit_depth"] > 8:
        return _BYTES_PER_DEEP_PIXEL
    return _BYTES_PER_TRANSPARENT_PIXEL if image.mode in ("RGBA", "RGBa") else _BYTES_PER_PIXEL
