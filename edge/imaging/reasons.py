"""Why a file is not read, in words for the user."""

import re
import struct
import zlib

from PIL import Image

from edge.imaging import jpeg

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # TIFF 6.0, section 2; with a plus: BigTIFF

# The exceptions that Pillow's decoders raise on damaged data.
DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    ArithmeticError,
    EOFError,
    RuntimeError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


def of_unknown(data: bytes, formats: tuple[str, ...]) -> str:
    """The reason for a file that no decoder accepts.

    Args:
        data: its content.
        formats: names of those that are read.
    """
    if data.startswith(_TIFF):
        return "its samples, colours or compression: this kind of TIFF is not read"
    if (bits := jpeg.sample_bits(data)) not in (None, 8):
        return f"a JPEG with samples of {bits} bits is not supported"
    return f"not an image in a known format ({', '.join(formats)})"


def of_error(error: BaseException) -> str:
    """The text of a decoder's error."""
    text = " ".join(str(error).split())
    # Nothing, an error number of Pillow or libtiff, or Pillow's words for an empty size.
    if re.fullmatch(r"(decoder error )?-?\d*|not identified by this driver", text):
        return "damaged image data"
    return text
