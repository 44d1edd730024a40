"""Conversion of PyAV's decoded frames to RGB, in full size or reduced."""

import threading
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from edge.capture.frame import Frame, Reducible
from edge.errors import CameraError
from edge.imaging.preprocess import Pixels
from edge.imaging.views import Size

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

_BT709 = 1  # of AVColorSpace (libavutil/pixfmt.h)


class _Scaling(threading.local):
    """libswscale contexts, one pair for each thread; they are reused for frames of the same kind.

    Frames in BT.709 have a context of their own: before PyAV 17, a context that was used for BT.709 once treats all
    later frames as BT.709.
    """

    def __init__(self) -> None:
        from av.video.reformatter import VideoReformatter

        self.plain, self.of_bt709 = VideoReformatter(), VideoReformatter()


class Conversion:
    """Converts the frames of one stream."""

    def __init__(self, name: str) -> None:
        """
        Args:
            name: name of the stream, for error messages.
        """
        import av

        self._name, self._scaling = name, _Scaling()
        # PyAV 17 and later start threads by default, which cost more than they save.
        self._options: dict[str, Any] = {"threads": 1} if int(av.__version__.split(".")[0]) >= 17 else {}

    def frame(self, decoded: "VideoFrame", seconds: float) -> Frame:
        """A frame that is converted when it is used, and rotated according to the recording's metadata.

        Args:
            decoded: PyAV's frame.
            seconds: when the frame was taken, see `edge.capture.frame.Frame`.
        """
        orientation = _orientation(decoded)

        def upright(size: Size) -> Size:
            return size[::-1] if orientation.is_transposed else size

        def turned(pixels: Pixels) -> Pixels:
            rows_first = pixels.swapaxes(0, 1) if orientation.is_transposed else pixels
            flips = tuple(axis for axis in (0, 1) if orientation.is_flipped[axis])
            return np.ascontiguousarray(np.flip(rows_first, flips))

        return Frame(
            lambda: turned(self._rgb(decoded)),
            seconds,
            Reducible(
                upright((decoded.width, decoded.height)),
                lambda size: turned(self._rgb(decoded, upright(size))),
            ),
        )

    def _rgb(self, frame: "VideoFrame", size: Size | None = None) -> Pixels:
        """The frame in RGB, not rotated.

        Args:
            size: (width, height) in pixels to reduce it to; None: its own.
        """
        import av

        wanted, scaling = self._options | {"format": "rgb24"}, self._scaling.plain
        if frame.colorspace == _BT709:  # PyAV 14 does not consider it by itself
            wanted |= {"src_colorspace": "itu709", "dst_colorspace": "itu601"}
            scaling = self._scaling.of_bt709
        if size is not None:
            # Planar: for packed RGB of an even width, libswscale halves the colours' horizontal resolution.
            wanted |= {"format": "gbrp", "width": size[0], "height": size[1], "interpolation": "AREA"}
        try:
            pixels: Pixels = scaling.reformat(frame, **wanted).to_ndarray()  # type: ignore[assignment]  # as is right for this format
        except (av.FFmpegError, ValueError) as error:
            raise CameraError(
                f"{self._name}: cannot convert a frame of the pixel format {frame.format.name}"
            ) from error
        return pixels


class _Orientation(NamedTuple):
    """How a decoded frame is turned upright: rows and columns are exchanged, then axes are reversed.

    Attributes:
        is_flipped: (top and bottom, left and right) of the result of the exchange.
    """

    is_transposed: bool = False
    is_flipped: tuple[bool, bool] = (False, False)


def _orientation(frame: "VideoFrame") -> _Orientation:
    """The orientation by the frame's display matrix (libavutil/display.h), to the nearest of the eight.

    The matrix holds nine numbers in the machine's byte order: a b u, c d v, x y w. It maps a point (p, q) to
    (a p + c q, b p + d q).
    """
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return _Orientation()
    a, b, _, c, d = np.frombuffer(data, np.int32, 5)  # type: ignore[call-overload]  # it is a buffer.tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):
        return _Orientation(True, (b < 0, c < 0))
    return _Orientation(False, (d < 0, a < 0))
