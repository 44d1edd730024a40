"""The picture that a camera shows to those who look at it."""

import io
import os
import time
from typing import Any

import numpy as np
from PIL import Image

from edge.camera.event_recorder import EventRecorder
from edge.camera.loop import CameraLoop, Latest
from edge.camera.report import now
from edge.capture.roi import Roi
from edge.errors import CameraError, RoiError

LONGEST_SIDE = 640  # pixels
QUALITY = 80
LEAST_SECONDS = 0.2  # from one encoding to the next; until then clients get the former picture


class LiveView:
    """Encodes the latest classified frame, as `edge.daemon.live.Picture`; for one thread beside the camera's loop."""

    def __init__(self, loop: CameraLoop, events: EventRecorder, view: Roi) -> None:
        """
        Args:
            view: the region, rotation and flip of the loop.
        """
        self._loop, self._events, self._view = loop, events, view
        self._encoded: tuple[Latest, bytes, tuple[int, int]] | None = None
        self._encoded_at = float("-inf")

    def __call__(self) -> tuple[dict[str, Any], bytes]:
        latest = self._loop.latest
        if latest is None:
            self._encoded = None
        elif self._encoded is None or (
            self._encoded[0] is not latest and time.monotonic() - self._encoded_at >= LEAST_SECONDS
        ):
            self._encoded_at = time.monotonic()
            try:
                self._encoded = (latest, *encoded(latest, self._view))
            except (CameraError, RoiError, OSError, ValueError):  # the next frame may be another
                self._encoded = None
        fields = {"camera": self._loop.name, "pid": os.getpid(), **now(self._loop, self._events)}
        if self._encoded is None:
            return fields, b""
        shown, jpeg, (width, height) = self._encoded
        age = round(time.monotonic() - shown.taken_at, 3)
        return fields | {"frame_seconds": age, "width": width, "height": height}, jpeg


def encoded(latest: Latest, view: Roi) -> tuple[bytes, tuple[int, int]]:
    """The part of a frame that is classified as a JPEG file, at most LONGEST_SIDE pixels a side; and (width, height).

    Raises:
        CameraError, RoiError: see `Frame.small`.
        OSError, ValueError: it cannot be encoded.
    """
    pixels = np.ascontiguousarray(latest.frame.small(view, LONGEST_SIDE))
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "JPEG", quality=QUALITY)
    return data.getvalue(), (pixels.shape[1], pixels.shape[0])
