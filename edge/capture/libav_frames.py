"""From what PyAV (FFmpeg's libraries) has decoded to RGB, in full or reduced."""

import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from edge.capture.frame import Frame, Reducible
from edge.errors import CameraError
from edge.imaging.preprocess import Pixels
from edge.imaging.views import Size

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

_BT709 = 1  # of AVColorSpace (libavutil/pixfmt.h)


class _Scaling(threading.local):
    """libswscale, with what it has worked out for a kind of frames; each thread has its own.

    And each kind of colours: before PyAV 17, one that was once told of BT.709 takes all that follow for that.
    """

    def __init__(self) -> None:
        from av.video.reformatter import VideoReformatter

        self.plain, self.of_bt709 = VideoReformatter(), VideoReformatter()


class Conversion:
    """Of the frames of one stream."""

    def __init__(self, name: str) -> None:
        """
        Args:
            name: of the stream, for errors.
        """
        import av

        self._name, self._scaling = name, _Scaling()
        # From PyAV 17 on it would have threads of its own, which cost more than they save.
        self._options: dict[str, Any] = {"threads": 1} if int(av.__version__.split(".")[0]) >= 17 else {}

    def frame(self, decoded: "VideoFrame", seconds: float) -> Frame:
        """A frame that is converted when it is asked for, upright by what the recording says of itself."""
        turns = round(getattr(decoded, "rotation", 0) / 90)  # anticlockwise; PyAV 12 has none

        def upright(size: Size) -> Size:
            return size[::-1] if turns % 2 else size

        def turned(pixels: Pixels) -> Pixels:
            return np.ascontiguousarray(np.rot90(pixels, turns))

        return Frame(
            lambda: turned(self._rgb(decoded)),
            seconds,
            Reducible(
                upright((decoded.width, decoded.height)),
                lambda size: turned(self._rgb(decoded, upright(size))),
            ),
        )

    def _rgb(self, frame: "VideoFrame", size: Size | None = None) -> Pixels:
        """As it lies in the recording; reduced if a size is given."""
        import av

        wanted, scaling = self._options | {"format": "rgb24"}, self._scaling.plain
        if frame.colorspace == _BT709:  # which PyAV 14 does not look at by itself
            wanted |= {"src_colorspace": "itu709", "dst_colorspace": "itu601"}
            scaling = self._scaling.of_bt709
        if size is not None:
            # Into planes: packed RGB of an even width would get colours of half the breadth, coarsely rounded.
            wanted |= {"format": "gbrp", "width": size[0], "height": size[1], "interpolation": "AREA"}
        try:
            pixels: Pixels = scaling.reformat(frame, **wanted).to_ndarray()  # type: ignore[assignment]  # as is right for this format
        except (av.FFmpegError, ValueError) as error:
            raise CameraError(f"{self._name}: a frame of the kind {frame.format.name} cannot be converted") from error
        return pixels
