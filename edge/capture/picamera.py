"""The Raspberry Pi's own camera, read by Picamera2."""

import contextlib
import logging
import os
import time
from typing import Any

from edge import requirements
from edge.capture import pixel_formats
from edge.capture.frame import Frame
from edge.errors import CameraError, NotInstalledError, printable

SIZE = (1280, 720)
TIMEOUT_SECONDS = 10.0
# What Picamera2 and libcamera raise for a camera that is missing, in use by another program, or unplugged.
ERRORS = (RuntimeError, OSError, IndexError, KeyError, ValueError, TypeError)


class PiCamera:
    """A camera of a Raspberry Pi. Each frame is exposed after it was requested: none has waited in a queue."""

    is_live = True

    def __init__(
        self,
        number: int = 0,
        size: tuple[int, int] | None = None,
        frames_per_second: float | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
        picamera2: Any = None,
    ) -> None:
        """
        Args:
            number: the camera's number in `rpicam-hello --list-cameras`.
            size: (width, height) in pixels, both even; None: SIZE. libcamera chooses the sensor mode that fits.
            frames_per_second: frame rate; None: 10 to 30, less in the dark, where the camera exposes longer.
            timeout_seconds: time limit for a frame.
            picamera2: the class to use instead of `picamera2.Picamera2`.

        Raises:
            NotInstalledError: Picamera2 is missing.
            CameraError: the camera does not exist or cannot be used.
        """
        self.name = f"picamera2:{number}"
        self._timeout_seconds = timeout_seconds
        width, height = size or SIZE
        if width % 2 or height % 2:
            raise CameraError(f"{self.name}: width and height must be even, not {width} x {height}")
        build = picamera2 or library()
        self._camera: Any = None
        try:
            self._camera = build(number)
            rate = {"FrameRate": frames_per_second} if frames_per_second else {}
            # libcamera's BGR888 has the bytes R, G, B in memory. Without a queue, no frame is older than the request.
            # The preview configuration, because the video configuration never exposes longer than 1/30 s.
            wanted = {"size": (width, height), "format": "BGR888"}
            self._camera.configure(self._camera.create_preview_configuration(main=wanted, controls=rate, queue=False))
            # Read back: a camera that lacks the format silently uses another.
            configured = self._camera.camera_configuration()
            main, colours = configured["main"], str(configured.get("colour_space", ""))
            self._layout, self._size, self._stride = str(main["format"]), tuple(main["size"]), int(main["stride"])
            self._is_bt709 = "709" in colours
            self._is_full_range = "sycc" in colours.lower() or "full" in colours.lower()
            if self._layout not in pixel_formats.FORMATS:
                raise CameraError(
                    f"{self.name}: the pixel format {printable(self._layout)} is not supported; for a webcam, name its"
                    " /dev/video device"
                )
            self._camera.start()
        except CameraError:
            self.close()
            raise
        except ERRORS as error:
            self.close()
            raise CameraError(f"{self.name}: {_reason(error)}") from error

    def frame(self) -> Frame:
        """The next frame: a copy of the camera's memory, converted to RGB when `Frame.pixels` is read.

        Raises:
            CameraError: the camera is lost, or gives no frame within the time limit.
        """
        if self._camera is None:
            raise CameraError(f"{self.name}: the camera is closed")
        try:
            request = self._camera.capture_request(wait=self._timeout_seconds)
            seconds = time.monotonic()
            try:
                buffer = request.make_buffer("main")
            finally:
                request.release()
        except TimeoutError as error:
            raise CameraError(f"{self.name}: no frame for {self._timeout_seconds:g} s; check its cable") from error
        except ERRORS as error:
            raise CameraError(f"{self.name}: {_reason(error)}") from error
        return Frame(
            lambda: pixel_formats.rgb(
                buffer,
                self._layout,
                (self._size[0], self._size[1]),
                self._stride,
                is_bt709=self._is_bt709,
                is_full_range=self._is_full_range,
            ),
            seconds,
        )

    def close(self) -> None:
        camera, self._camera = self._camera, None
        if camera is not None:
            with contextlib.suppress(*ERRORS):
                camera.close()


def library() -> Any:
    """Import the class `Picamera2`.

    Raises:
        NotInstalledError: it is not installed, does not load, or is too old.
    """
    # libcamera and Picamera2 would print to stderr what is reported as a one-line error.
    os.environ.setdefault("LIBCAMERA_LOG_LEVELS", "*:ERROR")
    if not logging.getLogger("picamera2").handlers:
        logging.getLogger("picamera2").addHandler(logging.NullHandler())
    try:
        import picamera2
    except ModuleNotFoundError as error:
        raise NotInstalledError(requirements.PACKAGES["picamera2"].missing) from error
    except (ImportError, *ERRORS) as error:  # for example, built against another numpy
        raise NotInstalledError(f"picamera2 is installed but does not load: {_reason(error)}") from error
    if problem := requirements.problem("picamera2"):
        raise NotInstalledError(problem)
    return picamera2.Picamera2


def _reason(error: Exception) -> str:
    """An error's text and that of its cause, because Picamera2's own texts are vague."""
    texts = [" ".join(str(one).split()) for one in (error, error.__cause__) if one is not None]
    return printable(": ".join(text.rstrip(".") for text in texts if text) or type(error).__name__)
