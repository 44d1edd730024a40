"""How an image has to be turned to be upright: EXIF orientation."""

from PIL import ExifTags, Image

from edge.imaging.reasons import DECODER_ERRORS

# How to turn an image upright, by its EXIF orientation (Exif 2.32, tag 0x0112).
TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def as_stored(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    """The stored (width, height) of an image with this upright one; also the reverse."""
    return size if orientation < 5 else size[::-1]


def turned(stored: Image.Image, orientation: int) -> Image.Image:
    """An image turned upright, by its EXIF orientation."""
    return stored.transpose(TRANSPOSITIONS[orientation]) if orientation > 1 else stored


def of(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 (upright) if it is missing or invalid."""
    if image.format == "HEIF":  # the decoder has turned it upright
        return 1
    try:
        # Pillow's own method for PNG decodes the pixels first; `png` has moved all metadata before them.
        exif = Image.Image.getexif(image) if image.format == "PNG" else image.getexif()
        orientation = exif.get(ExifTags.Base.Orientation, 1)
    except DECODER_ERRORS:
        return 1
    return orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1
