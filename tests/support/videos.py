"""Small pictures and videos with known colours."""

import io
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

RED, GREEN, BLUE, WHITE = (220, 30, 30), (30, 220, 30), (30, 30, 220), (220, 220, 220)
COLOURS = (RED, GREEN, BLUE, WHITE)  # left above, right above, left below, right below
BT601, BT709 = 5, 1  # of AVColorSpace


def quadrants(width: int, height: int) -> np.ndarray:
    picture = np.empty((height, width, 3), np.uint8)
    top, left = height // 2, width // 2
    picture[:top, :left], picture[:top, left:], picture[top:, :left], picture[top:, left:] = COLOURS
    return picture


def corners(pixels: np.ndarray) -> np.ndarray:
    """The colours amid the four quadrants, as COLOURS has them."""
    height, width = pixels.shape[:2]
    return np.array([pixels[y, x] for y in (height // 4, 3 * height // 4) for x in (width // 4, 3 * width // 4)], int)


def shows_quadrants(pixels: np.ndarray, tolerance: int = 6) -> bool:
    return bool(np.abs(corners(pixels) - COLOURS).max() <= tolerance)


def video(
    path: Path,
    codec: str = "mpeg4",
    pixel_format: str = "yuv420p",
    size: tuple[int, int] = (66, 50),
    count: int = 5,
    standard: int = BT601,
    rotation: int = 0,
    title: str = "",
    **options: str,
) -> Path:
    """Write a video of the four quadrants, ten frames a second."""
    with av.open(str(path), "w") as container:
        container.metadata["title"] = title
        stream: Any = container.add_stream(codec, rate=10, options=options)
        stream.width, stream.height, stream.pix_fmt = *size, pixel_format
        stream.codec_context.qmin = stream.codec_context.qmax = 2
        stream.codec_context.colorspace = standard
        if rotation:
            stream.set_display_rotation(rotation)
        for _ in range(count):
            plain = av.VideoFrame.from_ndarray(quadrants(*size), format="rgb24")
            frame = plain.reformat(format=pixel_format, dst_colorspace=standard)
            frame.colorspace = standard
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def sound(path: Path) -> Path:
    """A recording without a picture."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def jpeg(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(quadrants(width, height)).save(file, "JPEG", quality=95, subsampling=0)
    return file.getvalue()
