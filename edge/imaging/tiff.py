"""TIFF files that Pillow decodes wrongly without an error, which are refused.

Each kind was found by decoding generated files of known content; see tests/edge/imaging/test_tiff.py.
"""

import sys

from PIL import Image

from edge.imaging import completeness
from edge.process.stderr import silenced

# Tags of TIFF 6.0 and of its supplement 1.
_SUBFILE_TYPE, _BITS, _PHOTOMETRIC, _COLOUR_MAP, _SAMPLE_FORMAT, _SUBSAMPLING = 254, 258, 262, 320, 339, 530
_PLANES, _FILL_ORDER, _REFERENCE = 284, 266, 532
_FULL_RANGE = (0, 255, 128, 255, 128, 255)
_STRIPS, _TILES = (273, 279), (324, 325)  # offsets and lengths
_ROUNDING = 0.01  # by which floating-point samples may exceed their range
_ROWS_AT_ONCE = 64
_OPTIONAL = ("tiff_jpeg", "webp", "zstd", "lzma", "tiff_sgilog", "tiff_sgilog24", "tiff_thunderscan", "tiff_raw_16")


def require_decodable(image: Image.Image, data: bytes) -> None:
    """Check that Pillow decodes a TIFF file rightly, and that its compressed data are all there.

    Args:
        image: the opened file, not decoded yet.
        data: its content.

    Raises:
        ValueError: it does not, or they are not.
    """
    if reason := _reason_against(image):
        raise ValueError(f"{reason}: this kind of TIFF is not read")
    if image.info["compression"] != "raw":
        tags = image.tag_v2  # type: ignore[attr-defined]  # of a TIFF
        for offsets, lengths in (_STRIPS, _TILES):
            if offsets in tags and lengths in tags:
                completeness.require_strips(data, tags[offsets], tags[lengths])


def _reason_against(image: Image.Image) -> str | None:
    tags = image.tag_v2  # type: ignore[attr-defined]
    bits, is_raw = max(tags.get(_BITS, (1,))), image.info["compression"] == "raw"
    kinds = set(tags.get(_SAMPLE_FORMAT, (1,)))
    if tags.get(_SUBFILE_TYPE, 0) & 1:
        return "it begins with a thumbnail, as raw files of cameras do"
    if tags.get(_PLANES) == 2 and (is_raw or image.mode in ("LA", "La", "PA", "LAB")):
        if bits > 8 or image.mode in ("LA", "La", "PA", "LAB"):
            return "colour planes one after the other, with 16 bits, Lab or grey with transparency"
        if tags.get(_PHOTOMETRIC) == 0 or tags.get(_FILL_ORDER) == 2:
            return "colour planes one after the other, with white as zero or reversed bits"
    if tags.get(_PHOTOMETRIC) == 0 and bits > 8:
        return "white is zero, with more than 8 bits"
    if bits == 12 or (bits == 32 and 1 in kinds):
        return f"samples of {bits} bits"
    if bits in (8, 16) and 2 in kinds:
        return f"signed samples of {bits} bits"
    if not is_raw and kinds != {1} and bits > 8 and (tags.prefix == b"MM") == (sys.byteorder == "little"):
        return "compressed signed or floating-point samples in the other byte order"
    if is_raw and tags.get(_PHOTOMETRIC) == 6 and tuple(tags.get(_SUBSAMPLING, (2, 2))) != (1, 1):
        return "uncompressed YCbCr with subsampling"
    if is_raw and tags.get(_PHOTOMETRIC) == 6 and tuple(tags.get(_REFERENCE, _FULL_RANGE)) != _FULL_RANGE:
        return "uncompressed YCbCr in the range of video"
    if image.mode in ("P", "PA") and 0 < max(tags.get(_COLOUR_MAP, (0,))) < 256:
        return "a colour map of 8 bits"
    return None


def load(image: Image.Image) -> None:
    """Decode a TIFF without libtiff's remarks on stderr, which do not name the file.

    Raises:
        ValueError: the scale of its samples is unknown.
        OSError and others of Pillow: it is damaged.
    """
    try:
        with silenced(b""):
            image.load()
    except OSError as error:
        compression = image.info["compression"]
        if compression not in _OPTIONAL:
            raise
        name = "old-style JPEG (compression 6)" if compression == "tiff_jpeg" else compression
        raise OSError(f"damaged image data, or a compression of TIFF that is not read: {name}") from error
    if reason := _unknown_scale(image):
        raise ValueError(f"{reason}: this kind of TIFF is not read")


def _unknown_scale(image: Image.Image) -> str | None:
    """Why it is not known which samples of a decoded image are black and white; None if it is known.

    Pillow writes 16-bit grey of PNG files as signed 32-bit integers, and programs of photography write floating-point
    samples from 0.0 to 1.0. Science has other scales: most of such a picture would be black or white.
    """
    if image.mode not in ("I", "F"):
        return None
    low, high = image.getextrema()
    assert isinstance(low, float | int)  # of one band
    assert isinstance(high, float | int)
    if image.mode == "I":
        return "signed samples outside 0-65535" if low < 0 or high > 65535 else None
    if low >= -_ROUNDING and high <= 1 + _ROUNDING:
        return None
    import numpy as np  # see edge.imaging.preprocess

    outside = 0
    for top in range(0, image.height, _ROWS_AT_ONCE):  # not all at once, for memory
        samples = np.asarray(image.crop((0, top, image.width, min(top + _ROWS_AT_ONCE, image.height))))
        outside += np.count_nonzero((samples < -_ROUNDING) | (samples > 1 + _ROUNDING))
    return "floating-point samples mostly outside 0.0-1.0" if outside * 2 > image.width * image.height else None
