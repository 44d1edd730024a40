"""Conversion of raw frames to RGB, for the pixel formats of Picamera2."""

import numpy as np
import numpy.typing as npt

from edge.errors import CameraError
from edge.imaging.preprocess import Pixels

# The channels of a pixel in the order of memory. libcamera names them in the reverse order, as in a little-endian
# number.
_PACKED = {
    "BGR888": "RGB",
    "RGB888": "BGR",
    "XBGR8888": "RGBX",
    "ABGR8888": "RGBX",
    "XRGB8888": "BGRX",
    "ARGB8888": "BGRX",
    "RGBX8888": "XBGR",
    "BGRX8888": "XRGB",
}
_CHROMA_IN_ONE_PLANE = {"NV12": "UV", "NV21": "VU"}
_CHROMA_IN_TWO_PLANES = {"YUV420": "UV", "YVU420": "VU"}
_TWO_PIXELS_IN_FOUR_BYTES = {"YUYV": "YUYV", "YVYU": "YVYU", "UYVY": "UYVY", "VYUY": "VYUY"}
FORMATS = (*_PACKED, *_CHROMA_IN_ONE_PLANE, *_CHROMA_IN_TWO_PLANES, *_TWO_PIXELS_IN_FOUR_BYTES)

_BT601, _BT709 = (0.299, 0.114), (0.2126, 0.0722)  # the shares of red and blue in the luma (ITU-R BT.601, BT.709)


def rgb(
    buffer: npt.NDArray[np.uint8],
    layout: str,
    size: tuple[int, int],
    stride: int,
    *,
    is_bt709: bool = False,
    is_full_range: bool = True,
) -> Pixels:
    """Convert a raw frame to RGB.

    Args:
        buffer: the frame's memory, uint8 of any shape; bytes beyond the picture are ignored.
        layout: libcamera's name of the pixel format, one of FORMATS.
        size: (width, height) in pixels.
        stride: bytes from one row of the first plane to the next; bytes beyond the width are padding.
        is_bt709: whether luma and chroma follow BT.709; otherwise BT.601.
        is_full_range: whether luma and chroma span 0-255; otherwise 16-235 (luma) and 16-240 (chroma).

    Returns:
        RGB, uint8, shape (height, width, 3), C-contiguous, a copy.

    Raises:
        CameraError: the layout is not supported, or there are too few bytes.
    """
    data, (width, height) = buffer.reshape(-1), size
    try:
        if layout in _PACKED:
            channels = _PACKED[layout]
            rows = _rows(data, height, stride)[:, : width * len(channels)].reshape(height, width, len(channels))
            if channels == "RGB":  # what is asked of Picamera2: no pixel needs to be touched on its own
                return rows.copy()
            return rows.take([channels.index(channel) for channel in "RGB"], axis=2)  # faster than by an index
        luma, blue, red = _planes(data, layout, width, height, stride)
    except ValueError as error:
        raise CameraError(
            f"a frame of {data.size} bytes is too small for {width} x {height} pixels in {layout}"
        ) from error
    return _converted(luma, blue, red, *(_BT709 if is_bt709 else _BT601), is_full_range)


def _rows(data: npt.NDArray[np.uint8], height: int, stride: int, start: int = 0) -> npt.NDArray[np.uint8]:
    return data[start : start + height * stride].reshape(height, stride)


def _planes(
    data: npt.NDArray[np.uint8], layout: str, width: int, height: int, stride: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Luma, Cb and Cr, each of shape (height, width)."""
    if layout in _TWO_PIXELS_IN_FOUR_BYTES:
        order, fours = _TWO_PIXELS_IN_FOUR_BYTES[layout], _rows(data, height, stride)[:, : (width + 1) // 2 * 4]
        luma = fours[:, order.index("Y") % 2 :: 2][:, :width]
        chroma = [fours[:, order.index(name) :: 4].repeat(2, axis=1)[:, :width] for name in "UV"]
        return luma, chroma[0], chroma[1]
    luma = _rows(data, height, stride)[:, :width]
    high, wide, start = (height + 1) // 2, (width + 1) // 2, height * stride
    if layout in _CHROMA_IN_ONE_PLANE:
        both = _rows(data, high, stride, start)
        halves = {name: both[:, at::2][:, :wide] for at, name in enumerate(_CHROMA_IN_ONE_PLANE[layout])}
    elif layout in _CHROMA_IN_TWO_PLANES:
        narrow = stride // 2
        first = _rows(data, high, narrow, start)[:, :wide]
        second = _rows(data, high, narrow, start + high * narrow)[:, :wide]
        halves = dict(zip(_CHROMA_IN_TWO_PLANES[layout], (first, second), strict=True))
    else:
        raise CameraError(f"the pixel format {layout} is not supported; supported are: {', '.join(FORMATS)}")
    blue, red = (halves[name].repeat(2, axis=0).repeat(2, axis=1)[:height, :width] for name in "UV")
    return luma, blue, red


def _converted(
    luma: npt.NDArray[np.uint8],
    blue: npt.NDArray[np.uint8],
    red: npt.NDArray[np.uint8],
    red_share: float,
    blue_share: float,
    is_full_range: bool,
) -> Pixels:
    """Y'CbCr to R'G'B' (ITU-R BT.601-7, section 2.5; JPEG File Interchange Format for the full range)."""
    floor, luma_steps, chroma_steps = (0, 255, 255) if is_full_range else (16, 219, 224)
    y = (luma.astype(np.float32) - floor) * (255 / luma_steps)
    cb = (blue.astype(np.float32) - 128) * (255 / chroma_steps)
    cr = (red.astype(np.float32) - 128) * (255 / chroma_steps)
    r = y + 2 * (1 - red_share) * cr
    b = y + 2 * (1 - blue_share) * cb
    g = (y - red_share * r - blue_share * b) / (1 - red_share - blue_share)
    converted: Pixels = np.rint(np.stack([r, g, b], axis=-1)).clip(0, 255).astype(np.uint8)
    return converted
