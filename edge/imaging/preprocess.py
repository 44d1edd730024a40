"""From the bytes of a file to the pixels a network sees: the only place where that happens.

Training, calibration, evaluation and the device all call `pixels`, so a model
always gets images prepared as those that it was trained on.

The steps, in this order:

1. The format must be one of `FORMATS`; other files are refused unopened, and
   files whose image data are damaged or cut short, see the modules beside this one.
2. The first frame of an animation is used.
3. JPEGs are decoded at the smallest DCT scale (1, 1/2, 1/4, 1/8) that still
   leaves `REDUCING_GAP` times the wanted size; a 12-megapixel photo costs a
   fraction of a full decode.
4. The whole image is scaled to the wanted size with `RESAMPLING`; nothing is
   cropped and the aspect ratio is not kept, as in the model's training.
5. Greyscale, palette, CMYK and Lab become RGB; 16-bit samples keep their high
   byte; floating-point samples are read as 0.0-1.0.
6. Transparency is laid over white.
7. The EXIF orientation is applied; a HEIC decoder applies the image's own.
"""

import contextlib
import os
import stat
import struct
import warnings
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import TYPE_CHECKING, Any

from PIL import Image, JpegImagePlugin, UnidentifiedImageError

from edge.errors import UndecodableImageError, UnreadableFileError, reason_of
from edge.imaging import jpeg, modes, reasons, turning
from edge.records import dataclass

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Pixels = npt.NDArray[np.uint8]
else:  # numpy is imported where it is used: the main process of `watch`, which decodes nothing, saves 9 MB
    Pixels = Any

# Formats of photographs and generated images. Pillow reads dozens more, whose
# decoders are rarely tested: hostile files must not reach them. JPEG includes
# MPO, the JPEGs with several pictures that some cameras write. Pillow loads the
# decoders of the first four at once, the others at the first such file.
_OF_PILLOW = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF")
FORMATS = (*_OF_PILLOW, "HEIC", "AVIF")  # the last two: see edge.imaging.heic and edge.imaging.avif
SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"}
    | {".heic", ".heif", ".hif", ".avif"}
)
_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
FIGURE_SUFFIX = "_results.png"  # of the figures of edge.imaging.annotate, which are never classified

# Pillow's default, so also that of most training scripts. Another filter changes
# verdicts, so every model's description names the one it was trained with.
RESAMPLING = Image.Resampling.BICUBIC
REDUCING_GAP = 3

MAX_BYTES = 256 * 1024 * 1024
# Greatest memory for decoding: what a 1 GB board can spare, and from 8 GB on what
# a WebP of 48 megapixels needs. Then the memory of a pixel, by format and mode,
# as tests/edge/imaging/test_preprocess.py measures it.
MEMORY_BYTES = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
MAX_DECODING_BYTES = min(1_000_000_000, max(640_000_000, MEMORY_BYTES // 8))
_BYTES_PER_PIXEL = {"WEBP": 20, "JPEG": 4, "MPO": 4}
_BYTES_PER_PLAIN_PIXEL = 8
_BYTES_PER_OTHER_PIXEL = 13  # transparency and palettes are copied twice
_NO_MEMORY = "not enough memory to decode it"

# Images that are too large are refused below, with a reason; Pillow's warning
# would only add noise on stderr.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
# Damaged EXIF data does not matter: only the pixels are used.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


def before_decoding(nbytes: int) -> None:
    """Called before an image is decoded that needs so many bytes of memory; a decoding process replaces it, to wait."""


def read(path: str | bytes | os.PathLike[str]) -> bytes:
    """The whole content of a regular file. It never blocks: a FIFO or a device is refused.

    Raises:
        UnreadableFileError: missing, forbidden, not a regular file, or over MAX_BYTES.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            status = os.fstat(descriptor)
            if stat.S_ISDIR(status.st_mode):
                raise UnreadableFileError(path, "is a folder, not a file")
            if not stat.S_ISREG(status.st_mode):
                raise UnreadableFileError(path, "is not a regular file")
            if status.st_size > MAX_BYTES:
                raise UnreadableFileError(path, f"{status.st_size} bytes, more than the limit of {MAX_BYTES}")
            with open(descriptor, "rb", buffering=0, closefd=False) as file:
                return file.readall()
        finally:
            os.close(descriptor)
    except (OSError, ValueError) as error:
        raise UnreadableFileError(path, reason_of(error)) from error


def pixels(path: str | bytes | os.PathLike[str], size: tuple[int, int], data: bytes | None = None) -> Pixels:
    """The image as a network sees it.

    Args:
        path: the file; with `data` given it only names the image in errors.
        size: (width, height) in pixels of the network's input.
        data: the file's content, if it has been read already.

    Returns:
        RGB, uint8, shape (height, width, 3), C-contiguous.

    Raises:
        UnreadableFileError: the file cannot be read, or there is not enough memory now.
        UndecodableImageError: the content is not an acceptable image.
    """
    return pixels_and_size(path, size, data)[0]


def pixels_and_size(
    path: str | bytes | os.PathLike[str], size: tuple[int, int], data: bytes | None = None
) -> tuple[Pixels, tuple[int, int]]:
    """The result of `pixels`, and the image's own upright (width, height)."""
    import numpy as np

    scaled, own_size = _decoded(path, read(path) if data is None else data, lambda _: size)
    return np.asarray(scaled), own_size


def upright(path: str | bytes | os.PathLike[str], longest: int, data: bytes | None = None) -> Image.Image:
    """The image for display: RGB, upright, with its aspect ratio, at most `longest` pixels a side.

    Args:
        data: the file's content, if it has been read already.

    Raises:
        UnreadableFileError, UndecodableImageError: see `pixels`.
    """

    def within(size: tuple[int, int]) -> tuple[int, int]:
        scale = min(1.0, longest / max(size))
        return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))

    return _decoded(path, read(path) if data is None else data, within)[0]


def decoded(path: str | bytes | os.PathLike[str], data: bytes | None = None) -> tuple[Image.Image, bool]:
    """The whole image at its own resolution, RGB and upright, and whether its format is lossless.

    Raises:
        UnreadableFileError, UndecodableImageError: see `pixels`.
    """
    data = read(path) if data is None else data
    lossless = not data.startswith(_JPEG) and data[4:8] != b"ftyp" and not _is_lossy_webp(data)
    return _decoded(path, data, lambda size: size)[0], lossless


def _is_lossy_webp(data: bytes) -> bool:
    """Whether a WebP file holds a VP8 bitstream; lossless ones hold VP8L."""
    return data[:4] == b"RIFF" and data[8:12] == b"WEBP" and b"VP8 " in data[12:64]


def scaled(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    """A camera's frame as a network sees it: what `pixels` returns for a PNG file with the same content.

    For speed, a large frame is first reduced by an integer factor, like a JPEG,
    to no less than REDUCING_GAP times the size.

    Args:
        pixels: RGB, uint8, shape (height, width, 3).
        size: (width, height) in pixels of the network's input.

    Returns:
        RGB, uint8, shape (height, width, 3), C-contiguous.
    """
    import numpy as np

    if (pixels.shape[1], pixels.shape[0]) == size:
        return np.ascontiguousarray(pixels)
    return np.asarray(Image.fromarray(pixels).resize(size, RESAMPLING, reducing_gap=REDUCING_GAP))


def _opened(path: str | bytes | os.PathLike[str], data: bytes) -> Image.Image:
    if not data:
        raise UndecodableImageError(path, "the file is empty")
    try:
        image = _identified(path, data)
    except UnidentifiedImageError:
        raise UndecodableImageError(path, reasons.of_unknown(data, FORMATS)) from None
    except MemoryError as error:
        raise UnreadableFileError(path, _NO_MEMORY) from error
    except reasons.DECODER_ERRORS as error:
        raise UndecodableImageError(path, reasons.of_error(error)) from error
    needed = _bytes_needed(image, data)
    if needed > MAX_DECODING_BYTES:
        raise UndecodableImageError(
            path,
            f"{image.width} x {image.height} pixels would take {needed // 1_000_000} MB to decode,"
            f" more than the limit of {MAX_DECODING_BYTES // 1_000_000} MB",
        )
    return image


def _identified(path: str | bytes | os.PathLike[str], data: bytes) -> Image.Image:
    if data.startswith(_JPEG):  # most files; for any other, Pillow loads four more plugins
        with contextlib.suppress(SyntaxError, IndexError, TypeError, struct.error):  # as Image.open does
            return JpegImagePlugin.jpeg_factory(BytesIO(data))
    if data[4:8] == b"ftyp":  # HEIC, AVIF and video
        from edge.imaging import avif, heic  # a run that begins with a JPEG starts faster without: the same below

        return avif.opened(path, data) if avif.is_avif(data) else heic.opened(path, data)
    if data.startswith(_PNG):
        from edge.imaging import png

        return png.opened(data)
    image = Image.open(BytesIO(data), formats=_OF_PILLOW)
    if image.format == "WEBP":
        from edge.imaging import completeness

        completeness.require_webp(data)
    elif image.format == "TIFF":
        from edge.imaging import tiff

        tiff.require_decodable(image, data)
    return image


def _bytes_needed(image: Image.Image, data: bytes) -> int:
    if image.format == "HEIF":
        from edge.imaging import heic

        return heic.bytes_needed(image, data)
    if image.format == "AVIF":
        from edge.imaging import avif

        return avif.bytes_needed(image, data)
    return image.width * image.height * _bytes_per_pixel(image)


def _bytes_per_pixel(image: Image.Image) -> int:
    if image.format in _BYTES_PER_PIXEL:
        return _BYTES_PER_PIXEL[image.format]
    is_plain = image.mode in ("1", "L", "RGB", "I;16", "I", "F") and "transparency" not in image.info
    return _BYTES_PER_PLAIN_PIXEL if is_plain else _BYTES_PER_OTHER_PIXEL


@dataclass(frozen=True)
class Loaded:
    """A decoded image file, not upright yet.

    Attributes:
        image: in the mode of the file; a JPEG at the scale that was asked for.
        own_size: upright (width, height) of the whole image.
        orientation: EXIF orientation, 1 to 8, still to be applied (`edge.imaging.turning`).
        part: (left, top) of `image` in the stored picture, if only a part was decoded; None: it is the whole.
    """

    image: Image.Image
    own_size: tuple[int, int]
    orientation: int
    part: tuple[int, int] | None = None


@contextlib.contextmanager
def decoder_errors(path: str | bytes | os.PathLike[str]) -> Iterator[None]:
    """Turn the errors of Pillow's decoders into UndecodableImageError, and lack of memory into UnreadableFileError."""
    try:
        yield
    except MemoryError as error:
        raise UnreadableFileError(path, _NO_MEMORY) from error
    except reasons.DECODER_ERRORS as error:
        raise UndecodableImageError(path, reasons.of_error(error)) from error


def decode(
    path: str | bytes | os.PathLike[str],
    data: bytes,
    least_side: Callable[[tuple[int, int]], int],
    part: Callable[[tuple[int, int]], tuple[int, int, int, int] | None] | None = None,
) -> Loaded:
    """Decode an image file.

    Args:
        path: names the image in errors.
        data: the file's content.
        least_side: returns a least side in pixels for the header's upright (width, height). A JPEG is decoded at the
            smallest DCT scale at which both sides keep it.
        part: returns what is needed of the upright picture (left, top, right, bottom in pixels) for its upright
            (width, height); only a HEIC photo with tiles is decoded in parts. None: the whole.

    Raises:
        UnreadableFileError, UndecodableImageError: see `pixels`.
    """
    endless = jpeg.without_end(data) if data.startswith(_JPEG) else None
    with _opened(path, data if endless is None else endless + jpeg.END) as image, decoder_errors(path):
        if endless is not None:
            jpeg.require_whole(endless)
        stored = image.size  # `draft` changes it
        orientation = turning.of(image)
        least = least_side(turning.as_stored(stored, orientation))
        image.draft("RGB", (least, least))
        before_decoding(_bytes_needed(image, data))
        if image.format == "HEIF" and part and (box := part(stored)):
            from edge.imaging import heic

            if found := heic.loaded_part(image, data, box):
                return Loaded(found[0], stored, 1, found[1:])
        _load(image, data)
        if image.format == "TIFF":  # Pillow turns it upright while loading, and may keep the tag
            stored, orientation = image.size, 1
        elif image.format not in ("JPEG", "MPO", "PNG"):  # the tag may lie behind the pixels
            orientation = turning.of(image)
        # Programs that do not know of transparency leave it zero in a BMP; browsers show such a picture opaque.
        is_opaque = image.format == "BMP" and image.mode == "RGBA" and image.getchannel("A").getextrema() == (0, 0)
        return Loaded(image.convert("RGB") if is_opaque else image, turning.as_stored(stored, orientation), orientation)


@contextlib.contextmanager
def loaded(
    path: str | bytes | os.PathLike[str], data: bytes, least_side: Callable[[tuple[int, int]], int]
) -> Iterator[Loaded]:
    """The image that `decode` returns, for the length of a `with` block in which decoder errors become ours too.

    Args, Raises: see `decode`.
    """
    with decoder_errors(path):
        yield decode(path, data, least_side)


def side_to_decode(size: tuple[int, int]) -> int:
    """The least side, in pixels, of a JPEG that is scaled to `size` as a whole."""
    return max(size) * REDUCING_GAP


def whole(picture: Loaded, size: tuple[int, int]) -> Image.Image:
    """The whole image: RGB, upright, scaled to (width, height)."""
    stored_size = turning.as_stored(size, picture.orientation)
    scaled = modes.scalable(picture.image)
    if scaled.size != stored_size:
        scaled = scaled.resize(stored_size, RESAMPLING)
    return turning.turned(modes.rgb(scaled), picture.orientation)


def _decoded(
    path: str | bytes | os.PathLike[str],
    data: bytes,
    wanted: Callable[[tuple[int, int]], tuple[int, int]],
) -> tuple[Image.Image, tuple[int, int]]:
    """The upright RGB image, scaled to what `wanted` returns for its own upright (width, height), and that itself."""
    with loaded(path, data, lambda size: side_to_decode(wanted(size))) as picture:
        return whole(picture, wanted(picture.own_size)), picture.own_size


def _load(image: Image.Image, data: bytes) -> None:
    if image.format == "TIFF":
        from edge.imaging import tiff

        tiff.load(image)
    elif image.format == "HEIF":
        from edge.imaging import heic

        heic.load(image)
    elif image.format == "PNG":
        from edge.imaging import png

        png.load(image, data)
    else:
        image.load()
