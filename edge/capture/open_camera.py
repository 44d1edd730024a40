"""Opens a camera, stream, recording or image folder by the name that a user gives."""

import os
import re
import time
from dataclasses import replace

from edge import redact
from edge.capture import hls, http_pictures
from edge.capture.devices import found_cameras, picamera2_problem
from edge.capture.frame import Camera
from edge.capture.http_client import HttpClient, NotHttpError
from edge.capture.image_folder import ImageFolder
from edge.capture.libav import TIMEOUT_SECONDS, TRANSPORT_PAUSE_SECONDS, LibavCamera, StreamSettings
from edge.capture.picamera import PiCamera
from edge.errors import CameraError, printable
from edge.imaging import preprocess

SOURCES = "picamera2, picamera2:1, /dev/video0, rtsp://..., a video file, an image, or a folder of images"


def open_camera(
    source: str,
    size: tuple[int, int] | None = None,
    frames_per_second: float | None = None,
    stream: StreamSettings | None = None,
) -> Camera:
    """Open a camera, stream, recording or folder of images.

    Args:
        source: a name as in SOURCES.
        size: (width, height) in pixels to request from a camera of this machine, and to choose among the streams of a
            network camera that offers several by HLS.
        frames_per_second: rate to request from a camera of this machine; images of a folder are spaced by it. A network
            camera that gives one picture a request is asked at this rate.
        stream: how to connect to a network camera; None: the defaults.

    Raises:
        CameraError: the source cannot be opened.
        NotInstalledError: the library that reads the source is missing.
    """
    if number := re.fullmatch(r"picamera2(?::([0-9]{1,3}))?", source):
        return PiCamera(int(number[1] or 0), size, frames_per_second)
    if redact.is_address(source):
        stream = stream or StreamSettings()
        if redact.scheme(source) in ("http", "https"):
            return _http_camera(source, size, frames_per_second, stream)
        return LibavCamera(source, stream=stream)
    if source.startswith("/dev/video") and not os.path.exists(source):
        raise CameraError(f"{printable(source)}: no such device; {_seen()}")
    is_image = os.path.splitext(source)[1].lower() in preprocess.SUFFIXES
    if os.path.isdir(source) or (is_image and os.path.exists(source)):
        return ImageFolder(source, frames_per_second or 1.0)
    if not os.path.lexists(source):
        raise CameraError(f"{redact.shown(source)}: no such file or camera; a camera is {SOURCES}")
    return LibavCamera(source, size, frames_per_second)


def _http_camera(
    address: str, size: tuple[int, int] | None, frames_per_second: float | None, stream: StreamSettings
) -> Camera:
    """Open a camera by HTTP: as one of pictures if it sends pictures, and by PyAV if it sends anything else.

    Raises:
        CameraError, NotInstalledError: see `open_camera`.
    """
    client, began = HttpClient(address), time.monotonic()
    interval_seconds = 1 / frames_per_second if frames_per_second else 0.0
    playlist = None
    try:
        content = http_pictures.open_pictures(client, interval_seconds, stream.connect_seconds, TIMEOUT_SECONDS)
        if not isinstance(content, http_pictures.OtherContent):
            return content
        if content.playlist:
            stream, playlist = _of_hls(client, content, size, stream)
        elif content.type.startswith("audio/"):
            raise CameraError(f"{client.name}: has no video, only sound")
        elif content.type == "application/dash+xml":
            raise CameraError(f"{client.name}: sends DASH, which is not read; use its address of RTSP, HLS or MJPEG")
        elif content.type in ("text/html", "application/xhtml+xml"):
            raise CameraError(f"{client.name}: has no video, but a web page; use the address of its stream")
        else:
            stream = replace(stream, is_finite=content.answer.has_length)
            time.sleep(TRANSPORT_PAUSE_SECONDS)  # some cameras serve one connection, and are still closing it
    except NotHttpError:
        pass  # FFmpeg reads some protocols that resemble HTTP
    left = max(1.0, stream.connect_seconds - (time.monotonic() - began))
    return LibavCamera(address, stream=replace(stream, connect_seconds=left), playlist=playlist)


def _of_hls(
    client: HttpClient, content: http_pictures.OtherContent, size: tuple[int, int] | None, stream: StreamSettings
) -> tuple[StreamSettings, hls.LivePlaylist | None]:
    """The settings with the address of one stream, if several are offered, and its live playlist; None: a recording.

    Args:
        content: the answer of the camera's address; it may be a master playlist.
        size: see `edge.capture.hls.variant`.
    """
    text, answer, url = content.playlist, content.answer, hls.variant(content.playlist, content.answer.url, size)
    if url is not None:
        answer = client.get(stream.connect_seconds, url)
        try:
            text = http_pictures.text(answer, stream.connect_seconds)
        finally:
            answer.close()
        stream = replace(stream, url=client.with_login(url))
    live = hls.live(text, answer, time.monotonic())
    return replace(stream, is_finite=live is None), live


def first_source() -> str:
    """The source name of the Pi's own camera if there is one, otherwise of the first V4L2 device.

    Raises:
        CameraError: there is no camera.
    """
    usable = [found for found in found_cameras() if not found.problem and not found.is_usb]
    if not usable:
        raise CameraError(
            f"no camera found; {_seen()}; {picamera2_problem() or 'picamera2 is installed'}; or name a source:"
            f" {SOURCES}"
        )
    return usable[0].source


def _seen() -> str:
    """What cameras there are, for error messages."""
    return f"seen: {', '.join(map(str, found_cameras())) or 'nothing, neither by libcamera nor as /dev/video*'}"
