"""The Pi's own camera: pixel formats, opening, closing and errors."""

from typing import Any

import numpy as np
import pytest

from edge.capture import devices, pixel_formats
from edge.capture.picamera import PiCamera
from edge.errors import CameraError
from tests.support.videos import quadrants, shows_quadrants

PACKED = {"BGR888": "RGB", "RGB888": "BGR", "XBGR8888": "RGBX", "XRGB8888": "BGRX"}


def luma_and_chroma(pixels: np.ndarray, red: float, blue: float, is_full: bool) -> list[np.ndarray]:
    """R'G'B' to Y'CbCr, from the definition: Kr and Kb are the shares of red and blue (ITU-R BT.601-7, 2.5.1)."""
    r, g, b = (pixels[..., at] / 255.0 for at in range(3))
    y = red * r + (1 - red - blue) * g + blue * b
    steps, floor, wide = (255, 0, 255) if is_full else (219, 16, 224)
    cb, cr = (b - y) / (2 - 2 * blue), (r - y) / (2 - 2 * red)
    return [np.rint(floor + steps * y), np.rint(128 + wide * cb), np.rint(128 + wide * cr)]


def memory(
    layout: str, size: tuple[int, int], padding: int, red: float = 0.299, blue: float = 0.114, full: bool = True
):
    """The four quadrants as a camera stores them, with bright padding, and the stride."""

    def padded(rows: np.ndarray, stride: int) -> bytes:
        filled = np.full((rows.shape[0], stride), 255, np.uint8)
        filled[:, : rows.shape[1]] = rows
        return filled.tobytes()

    width, height = size
    picture = quadrants(width, height)
    if layout in PACKED:
        channels = {"R": picture[..., 0], "G": picture[..., 1], "B": picture[..., 2], "X": np.zeros((height, width))}
        rows = np.stack([channels[name] for name in PACKED[layout]], axis=-1).reshape(height, -1)
        stride = rows.shape[1] + padding
        return np.frombuffer(padded(rows, stride) + b"\xff" * 99, np.uint8), stride
    y, cb, cr = luma_and_chroma(picture, red, blue, full)
    if layout == "YUYV":
        rows = np.stack([y[:, 0::2], cb[:, 0::2], y[:, 1::2], cr[:, 0::2]], axis=-1).reshape(height, -1)
        return np.frombuffer(padded(rows, 2 * width + padding), np.uint8), 2 * width + padding
    stride, cb, cr = width + padding, cb[::2, ::2], cr[::2, ::2]
    if layout in ("NV12", "NV21"):
        both = (cb, cr) if layout == "NV12" else (cr, cb)
        chroma = padded(np.stack(both, axis=-1).reshape(height // 2, -1), stride)
    else:
        both = (cb, cr) if layout == "YUV420" else (cr, cb)
        chroma = b"".join(padded(one, stride // 2) for one in both)
    return np.frombuffer(padded(y, stride) + chroma + b"\xff" * 99, np.uint8), stride


@pytest.mark.parametrize("padding", [0, 64])
@pytest.mark.parametrize("layout", [*PACKED, "NV12", "NV21", "YUV420", "YVU420", "YUYV"])
def test_every_memory_layout_becomes_rgb(layout: str, padding: int) -> None:
    buffer, stride = memory(layout, (68, 48), padding)
    pixels = pixel_formats.rgb(buffer, layout, (68, 48), stride)
    assert pixels.shape == (48, 68, 3)
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    assert np.abs(pixels.astype(int) - quadrants(68, 48)).max() <= (0 if layout in PACKED else 3)
    assert not np.shares_memory(pixels, buffer)


@pytest.mark.parametrize("is_full_range", [True, False])
@pytest.mark.parametrize(("is_bt709", "shares"), [(False, (0.299, 0.114)), (True, (0.2126, 0.0722))])
def test_luma_and_chroma_follow_standard_and_range(
    is_bt709: bool, shares: tuple[float, float], is_full_range: bool
) -> None:
    buffer, stride = memory("NV12", (68, 48), 60, *shares, is_full_range)
    right = pixel_formats.rgb(buffer, "NV12", (68, 48), stride, is_bt709=is_bt709, is_full_range=is_full_range)
    assert shows_quadrants(right, tolerance=3)
    wrong = pixel_formats.rgb(buffer, "NV12", (68, 48), stride, is_bt709=not is_bt709, is_full_range=is_full_range)
    assert not shows_quadrants(wrong, tolerance=3)


def test_unsupported_layout_or_short_buffer_raises() -> None:
    with pytest.raises(CameraError, match="the pixel format SBGGR10_CSI2P is not supported"):
        pixel_formats.rgb(np.zeros(10_000, np.uint8), "SBGGR10_CSI2P", (64, 48), 80)
    for layout in pixel_formats.FORMATS:
        with pytest.raises(CameraError, match=f"of 100 bytes is too small for 64 x 48 pixels in {layout}"):
            pixel_formats.rgb(np.zeros(100, np.uint8), layout, (64, 48), 256)


class Sensor:
    """A stand-in for Picamera2 that shows the four quadrants in one layout."""

    layout, colours, timeouts = "BGR888", "sYCC", 0

    def __init__(self, number: int) -> None:
        if number > 0:
            raise RuntimeError("Camera __init__ sequence did not complete.") from IndexError("list index out of range")
        self.held = self.closed = self.started = 0
        type(self).last = self

    @staticmethod
    def global_camera_info() -> list[dict[str, Any]]:
        return [{"Model": "imx708\n", "Id": "/base/soc/i2c0mux/i2c@1/imx708@1a", "Num": 0}]

    def create_preview_configuration(
        self, main: dict[str, Any], controls: dict[str, Any], queue: bool
    ) -> dict[str, Any]:
        assert not queue
        return {"main": main}

    def configure(self, configuration: dict[str, Any]) -> None:
        size = configuration["main"]["size"]
        self.buffer, stride = memory(self.layout, size, 64) if self.layout != "MJPEG" else (np.zeros(9, np.uint8), 0)
        self.main = {"format": self.layout, "size": size, "stride": stride}

    def camera_configuration(self) -> dict[str, Any]:
        return {"main": self.main, "colour_space": self.colours}

    def start(self) -> None:
        self.started += 1

    def capture_request(self, wait: float) -> "Sensor":
        if self.timeouts:
            raise TimeoutError
        self.held += 1
        return self

    def make_buffer(self, name: str) -> np.ndarray:
        assert self.held == 1
        return self.buffer.copy()

    def release(self) -> None:
        self.held -= 1

    def close(self) -> None:
        self.closed += 1


@pytest.mark.parametrize("layout", ["BGR888", "RGB888", "XBGR8888", "NV12", "YUV420"])
def test_pi_camera_gives_rgb_frames_and_releases_requests(layout: str) -> None:
    class Other(Sensor):
        pass

    Other.layout = layout
    camera = PiCamera(size=(68, 48), picamera2=Other)
    for _ in range(3):
        assert shows_quadrants(camera.frame().pixels, tolerance=3)
    assert Other.last.held == 0
    assert (camera.name, camera.is_live) == ("picamera2:0", True)
    camera.close()
    camera.close()
    assert (Other.last.started, Other.last.closed) == (1, 1)
    with pytest.raises(CameraError, match="closed"):
        camera.frame()


def test_unusable_pi_camera_raises_and_is_released() -> None:
    with pytest.raises(CameraError, match=r"^picamera2:1: Camera __init__ sequence .* list index out of range$"):
        PiCamera(1, picamera2=Sensor)
    with pytest.raises(CameraError, match="must be even, not 65 x 48"):
        PiCamera(size=(65, 48), picamera2=Sensor)

    class Webcam(Sensor):
        layout = "MJPEG"

    with pytest.raises(CameraError, match="the pixel format MJPEG is not supported"):
        PiCamera(picamera2=Webcam)
    assert Webcam.last.closed == 1

    class Frozen(Sensor):
        timeouts = 1

    with pytest.raises(CameraError, match="no frame for 5 s"):
        PiCamera(picamera2=Frozen, timeout_seconds=5).frame()


def test_listed_libcamera_camera_has_printable_name() -> None:
    found = devices.found_cameras(Sensor)
    assert str(found[0]) == "picamera2:0 (imx708\\n)"
    assert not found[0].is_usb
