"""Features of a picture that its file format leaves behind: in the file, and in the pixels of a crop."""

from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, JpegImagePlugin

from edge.errors import UndecodableImageError
from edge.imaging import preprocess, reasons

Array = npt.NDArray[np.uint8]
BLOCK = 8
_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF")
_LUMINANCE_50 = 3688  # the sum of JPEG's luminance table for quality 50 (ITU-T T.81, table K.1)
_ROW = np.arange(BLOCK)
_DCT = np.cos(np.pi * (2 * _ROW + 1) * _ROW[:, None] / (2 * BLOCK)) / 2  # type II, orthonormal
_DCT[0] /= np.sqrt(2)
_DIAGONAL = np.add.outer(_ROW, _ROW)  # frequency of each coefficient of a block
_BANDS = ((1, 3), (3, 6), (6, 9), (9, 15))  # ranges of frequencies

FILE_TRACES = ("size in pixels", "format", "JPEG quality", "bits per pixel")
GRID = "8 x 8 grid"  # how much stronger edges are on the grid of JPEG blocks; only an encoder makes them so
CROP_TRACES = (GRID, "frequencies in its blocks", "bytes as PNG and JPEG 90", "clipped pixels")


def of_file(path: Path) -> dict[str, list[float]]:
    """The features of FILE_TRACES, from an image file's header and length.

    Raises:
        UnreadableFileError, UndecodableImageError: see `edge.imaging.preprocess.pixels`.
    """
    data = preprocess.read(path)
    try:
        with Image.open(BytesIO(data), formats=_FORMATS) as opened:
            (width, height), format_ = opened.size, opened.format or ""
            tables = getattr(opened, "quantization", None) or {}
            subsampling = JpegImagePlugin.get_sampling(opened) if tables else -1
    except reasons.DECODER_ERRORS as error:
        raise UndecodableImageError(path, str(error) or "damaged image data") from error
    longer, shorter = max(width, height), min(width, height)
    multiple = next(power for power in (64, 32, 16, 8, 1) if width % power == height % power == 0)
    return {
        "size in pixels": [longer, shorter, longer / shorter, float(width >= height), multiple],
        "format": [float(_FORMATS.index("JPEG" if tables else format_))],
        "JPEG quality": [_quality(sum(tables[0])) if tables else 0.0, subsampling],
        "bits per pixel": [8 * len(data) / (width * height)],
    }


def _quality(steps: int) -> float:
    """JPEG quality from the sum of a luminance table, by the formula of the Independent JPEG Group.

    It is an estimate for files of other encoders.
    """
    percent = 100 * steps / _LUMINANCE_50
    return (200 - percent) / 2 if percent <= 100 else 5000 / percent


def of_crop(crop: Array) -> dict[str, list[float]]:
    """The features of CROP_TRACES, from RGB pixels: uint8, shape (height, width, 3)."""
    grey = crop.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    strengths = [_phases(grey), _phases(grey.T)]
    left, top = (int(strength.argmax() + 1) % BLOCK for strength in strengths)
    return {
        GRID: [value for strength in strengths for value in (float(strength.max()), float(strength.std()), *strength)],
        "frequencies in its blocks": _frequencies(grey[top:, left:]),
        "bytes as PNG and JPEG 90": [_length(crop, "PNG", compress_level=6), _length(crop, "JPEG", quality=90)],
        "clipped pixels": [float((crop == 0).mean()), float((crop == 255).mean())],
    }


def _phases(grey: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Mean step between columns 8k + phase and their right neighbours, for each phase, relative to the overall mean."""
    steps = np.abs(np.diff(grey, axis=1))
    steps = steps[:, : steps.shape[1] // BLOCK * BLOCK].mean(0).reshape(-1, BLOCK).mean(0)
    return np.asarray(steps / (steps.mean() + 1e-3), np.float32)


def _frequencies(grey: npt.NDArray[np.float32]) -> list[float]:
    """Logarithm of the energy in each of _BANDS, and the share of near-zero coefficients in the upper two."""
    rows, columns = grey.shape[0] // BLOCK, grey.shape[1] // BLOCK
    blocks = grey[: rows * BLOCK, : columns * BLOCK].reshape(rows, BLOCK, columns, BLOCK).swapaxes(1, 2)
    coefficients = _DCT @ blocks @ _DCT.T
    bands = [coefficients[..., (low <= _DIAGONAL) & (high > _DIAGONAL)] for low, high in _BANDS]
    energies = [float(np.log10((band**2).mean() + 1e-3)) for band in bands]
    return [*energies, *(float((np.abs(band) < 0.5).mean()) for band in bands[2:])]


def _length(crop: Array, format_: str, **options: int) -> float:
    buffer = BytesIO()
    Image.fromarray(crop).save(buffer, format_, **options)
    return float(len(buffer.getvalue()))
