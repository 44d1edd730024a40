"""Image files in place of a camera, to try settings and for tests."""

import logging
import os

import numpy as np

from edge.capture.frame import Frame
from edge.errors import CameraError, ImageError, printable, reason_of
from edge.imaging import preprocess

_log = logging.getLogger(__name__)

LONGEST_SIDE = 4096  # pixels, about a camera's; a larger image is scaled down to this


class ImageFolder:
    """One image file, or the images of a folder (without sub-folders) in the order of their names."""

    is_live = False

    def __init__(
        self,
        path: str | os.PathLike[str],
        frames_per_second: float = 1.0,
    ) -> None:
        """
        Args:
            path: an image file or a folder.
            frames_per_second: determines the times of the frames; they are read without waiting.

        Raises:
            CameraError: the path does not exist, or the folder contains no image.
        """
        self.name = printable(path)
        self._frames_per_second = frames_per_second
        self._position = 0
        try:
            self._paths = _images(os.fspath(path))
        except OSError as error:
            raise CameraError(f"{self.name}: {reason_of(error)}") from error
        if not self._paths:
            raise CameraError(f"{self.name}: no images in this folder")
        self._is_still = not os.path.isdir(path)

    def frame(self) -> Frame | None:
        """The next image that can be decoded; None after the last. Skipped images count for the times of later ones.

        Raises:
            CameraError: the path is an image file and cannot be decoded.
        """
        while self._position < len(self._paths):
            position, path = self._position, self._paths[self._position]
            self._position += 1
            try:
                content = preprocess.read(path)
                pixels = np.asarray(preprocess.upright(path, LONGEST_SIDE, content))
            except ImageError as error:
                if self._is_still:
                    raise CameraError(str(error)) from error
                _log.warning("%s; skipping it", error)
            else:
                return Frame(pixels, position / self._frames_per_second, encoded=content)
        return None

    def close(self) -> None:
        """Do nothing: no file stays open between frames."""


def _images(path: str) -> list[str]:
    if not os.path.isdir(path):
        os.stat(path)
        return [path]
    with os.scandir(path) as found:
        names = [entry.name for entry in found if not entry.name.startswith(".")]
    images = (name for name in names if os.path.splitext(name)[1].lower() in preprocess.SUFFIXES)
    return [os.path.join(path, name) for name in sorted(images)]
