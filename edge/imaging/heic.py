"""HEIC photos, as iPhones take them, read by pillow-heif, which is imported at the first one.

Only the primary image is read: no thumbnail (which may show anything), no depth
map, no sequence. libheif rotates and mirrors it as the file asks, so the
orientation in its EXIF data does not apply any more.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from io import BytesIO

import PIL
from PIL import Image, UnidentifiedImageError

from edge import requirements
from edge.errors import UnreadableFileError
from edge.imaging import completeness, heif_grid

# Brands of ISO/IEC 23008-12, annex B: those of images coded with HEVC, and those of any codec.
_HEVC_BRANDS = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"))
_ANY_BRANDS = frozenset((b"mif1", b"mif2", b"msf1"))
_AV1_BRANDS = frozenset((b"avif", b"avis"))
_MOST_BRANDS = 64  # real files have fewer; a hostile one may claim a million
HEAD_BYTES = 16 + 4 * _MOST_BRANDS
SUFFIXES = (".heic", ".heif", ".hif")  # the last is that of cameras of Canon, Fujifilm and Sony

# Greatest memory of decoding in bytes per pixel, measured by tests/edge/imaging/test_heic.py: the YCbCr planes, cropped
# and rotated, then RGB, then Pillow's own copy.
_BYTES_PER_PIXEL = 12
_BYTES_PER_TRANSPARENT_PIXEL = 14
_BYTES_PER_DEEP_PIXEL = 21  # 10 or 12 bits, stored in two bytes while decoding

# libheif reports "Memory allocation error" for impossible sizes too; these are its words when memory is really short.
_SHORT_OF_MEMORY = ("Out of memory", "Memory allocation error: Unspecified: Allocating ")


def is_heic(data: bytes) -> bool:
    """Whether a file's first bytes are those of HEIC, and not of AVIF or video, which have the same structure."""
    found = brands(data)
    return bool(found & _HEVC_BRANDS) or (data[8:12] in _ANY_BRANDS and bool(found) and not found & _AV1_BRANDS)


def brands(data: bytes) -> set[bytes]:
    """The brands in a file's first box (ISO/IEC 14496-12, section 4.3); none if the file has another structure."""
    if data[4:8] != b"ftyp":
        return set()
    end = min(int.from_bytes(data[:4], "big"), HEAD_BYTES)
    return {data[8:12], *(data[at : at + 4] for at in range(16, end - 3, 4))}


def require_decoder(path: str | bytes | os.PathLike[str], head: bytes) -> None:
    """Refuse a HEIC file that cannot be decoded here, before all of it is read.

    Args:
        path: names the file in errors.
        head: the first HEAD_BYTES of the file.

    Raises:
        UnreadableFileError: it is HEIC, and pillow-heif is missing.
    """
    if is_heic(head) and find_spec("pillow_heif") is None:
        raise UnreadableFileError(path, requirements.PACKAGES["pillow_heif"].missing)


def opened(path: str | bytes | os.PathLike[str], data: bytes) -> Image.Image:
    """Open the primary image of a file; `load` decodes it.

    Args:
        path: names the file in errors.
        data: the file's content.

    Raises:
        UnidentifiedImageError: the file is not HEIC.
        UnreadableFileError: pillow-heif is missing, broken or too old, or Pillow is too old.
        MemoryError: there is not enough memory now.
        SyntaxError, ValueError, RuntimeError: the file is damaged.
    """
    if not is_heic(data):
        raise UnidentifiedImageError
    require_decoder(path, data)
    completeness.require_heif(data)
    if requirements.is_older(PIL.__version__, requirements.PILLOW_FOR_HEIC):
        wanted = f"HEIC photos need Pillow {requirements.PILLOW_FOR_HEIC}"
        raise UnreadableFileError(path, f"{wanted}, but {PIL.__version__} is loaded: upgrade Pillow and restart")
    try:
        from pillow_heif import HeifImageFile, options

        if problem := requirements.problem("pillow_heif"):
            raise UnreadableFileError(path, problem)
        options.DECODE_THREADS = 0  # none of its own: `watch` has a process for each core
        options.THUMBNAILS = options.DEPTH_IMAGES = options.AUX_IMAGES = False
        opener: Callable[[BytesIO], Image.Image] = HeifImageFile  # pillow-heif has no type hints
        with _memory_errors():
            return opener(BytesIO(data))
    except ImportError as error:
        raise UnreadableFileError(path, f"pillow-heif is installed but does not load: {error}") from error


def load(image: Image.Image) -> None:
    """Decode an image of `opened`.

    Raises:
        MemoryError: there is not enough memory now.
        SyntaxError, ValueError, RuntimeError, EOFError: the image is damaged.
    """
    with _memory_errors():
        image.load()


def loaded_part(image: Image.Image, data: bytes, box: tuple[int, int, int, int]) -> tuple[Image.Image, int, int] | None:
    """Decode no more tiles of a photo than a part of it needs.

    Args:
        image: of `opened`.
        data: the file's content.
        box: the part: left, top, right, bottom in pixels of the upright photo.

    Returns:
        An image with this part, and its left and top edge in the photo; None if the photo has to be decoded as a whole.

    Raises:
        MemoryError: there is not enough memory now.
    """
    found = heif_grid.part(data, box) if image.mode == "RGB" else None
    if found is None:
        return None
    try:
        with _memory_errors(), type(image)(BytesIO(found.data)) as part:  # type: ignore[call-arg]  # of pillow-heif
            if (part.size, part.mode) != (found.size, image.mode):
                return None
            part.load()
            return (part, found.left, found.top) if part.size == found.size else None
    except (RuntimeError, SyntaxError, ValueError, EOFError, OSError):
        return None  # the error of the whole photo counts


@contextmanager
def _memory_errors() -> Iterator[None]:
    """Turn libheif's errors about memory into MemoryError."""
    try:
        yield
    except (RuntimeError, SyntaxError) as error:
        if str(error).startswith(_SHORT_OF_MEMORY):
            raise MemoryError from error
        raise


def bytes_needed(image: Image.Image, data: bytes) -> int:
    """Greatest memory that decoding takes, in bytes, by the sizes in the file."""
    return max(image.width * image.height, most_pixels(data)) * bytes_per_pixel(image)


def most_pixels(data: bytes) -> int:
    """Pixels of the largest image in the file, by the sizes in it: the tiles of a grid are decoded completely."""
    at = most = 0
    while (at := data.find(b"ispe\0\0\0\0", at) + 1) > 0:  # ISO/IEC 23008-12, 6.5.3
        width, height = data[at + 7 : at + 11], data[at + 11 : at + 15]
        most = max(most, int.from_bytes(width, "big") * int.from_bytes(height, "big"))
    return most


def bytes_per_pixel(image: Image.Image) -> int:
    """Greatest memory that decoding takes, in bytes per pixel."""
    if image.info["bit_depth"] > 8:
        return _BYTES_PER_DEEP_PIXEL
    return _BYTES_PER_TRANSPARENT_PIXEL if image.mode in ("RGBA", "RGBa") else _BYTES_PER_PIXEL
