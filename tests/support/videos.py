"""Small videos with known colours, and a server that streams them as a network camera does."""

import base64
import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
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


class Server:
    """A network camera by HTTP, on loopback.

    /video is an endless multipart stream of JPEGs; /secret the same with user and password, `u` and `p@ss`; /end has
    ten frames and then ends; /stall stands still after those; other paths are files of `folder`.
    """

    def __init__(self, folder: Path, port: int = 0, size: tuple[int, int] = (64, 48)) -> None:
        self._stop = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), _handler(folder, self._stop, jpeg(*size)))
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def address(self, path: str, user: str = "") -> str:
        return f"http://{user}127.0.0.1:{self.port}{path}"

    def close(self) -> None:
        """Stop the server and break its connections."""
        self._stop.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@contextmanager
def served(folder: Path, port: int = 0, size: tuple[int, int] = (64, 48)) -> Iterator[Server]:
    server = Server(folder, port, size)
    try:
        yield server
    finally:
        server.close()


def _handler(folder: Path, stop: threading.Event, picture: bytes) -> type[BaseHTTPRequestHandler]:
    expected = "Basic " + base64.b64encode(b"u:p@ss").decode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/secret" and self.headers["Authorization"] != expected:
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="camera"')
                self.end_headers()
            elif self.path in ("/video", "/secret", "/end", "/stall"):
                self._stream()
            else:
                self.send_response(200)
                self.end_headers()
                self.wfile.write((folder / self.path.lstrip("/")).read_bytes())

        def _stream(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            sent = 0
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n".encode()
            while not stop.wait(0.02):
                if sent < 10 or self.path in ("/video", "/secret"):
                    try:
                        self.wfile.write(head + picture + b"\r\n")
                    except OSError:  # the client has gone
                        return
                    sent += 1
                elif self.path == "/end":
                    return

        def log_message(self, *_: object) -> None:
            pass

    return Handler
