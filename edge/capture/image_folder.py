"""Image files in the place of a camera: for tests, and to try settings without one."""

import os
from collections.abc import Callable

import numpy as np

from edge.capture.frame import Frame
from edge.errors import CameraError, ImageError, printable, reason_of
from edge.imaging import preprocess

LONGEST_SIDE = 4096  # pixels; a larger image is scaled down to that, as a camera would not be larger


class ImageFolder:
    """A still image, or the images of a folder in the order of their names, sub-folders not included."""

    is_live = False

    def __init__(
        self,
        path: str | os.PathLike[str],
        frames_per_second: float = 1.0,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        """
        Args:
            say: is told, once each, of the images that are skipped because they cannot be decoded.

        Raises:
            CameraError: there is no such file, no image in the folder, or the still image cannot be decoded.
        """
        self.name = printable(path)
        self._say, self._frames_per_second = say, frames_per_second
        self._position = 0
        try:
            self._paths = _images(os.fspath(path))
        except OSError as error:
            raise CameraError(f"{self.name}: {reason_of(error)}") from error
        if not self._paths:
            raise CameraError(f"{self.name}: no images in this folder")
        self._is_still = not os.path.isdir(path)

    def frame(self) -> Frame | None:
        """The next image that can be decoded; `seconds` are those of its place among all."""
        while self._position < len(self._paths):
            position, path = self._position, self._paths[self._position]
            self._position += 1
            try:
                pixels = np.asarray(preprocess.upright(path, LONGEST_SIDE))
            except ImageError as error:
                if self._is_still:
                    raise CameraError(str(error)) from error
                self._say(f"{error}; skipped")
            else:
                return Frame(pixels, position / self._frames_per_second)
        return None

    def close(self) -> None:
        """There is nothing to let go of."""


def _images(path: str) -> list[str]:
    if not os.path.isdir(path):
        os.stat(path)
        return [path]
    with os.scandir(path) as found:
        names = [entry.name for entry in found if not entry.name.startswith(".")]
    images = (name for name in names if os.path.splitext(name)[1].lower() in preprocess.SUFFIXES)
    return [os.path.join(path, name) for name in sorted(images)]
