"""HTTP cameras on loopback that answer by a function, byte for byte: servers of cameras are rarely correct."""

import contextlib
import io
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from PIL import Image

from edge.capture.frame import Camera, Frame
from edge.capture.libav import StreamSettings
from edge.capture.open_camera import open_camera

OK = b"HTTP/1.1 200 OK\r\n"
TYPE = b"Content-Type: image/jpeg\r\n"
LENGTH = b"Content-Length: %d\r\n"
MULTIPART = OK + b"Content-Type: multipart/x-mixed-replace;boundary=frame\r\n\r\n"


@dataclass
class Request:
    """A request, and the connection on which it is answered.

    Attributes:
        headers: names in lower case.
    """

    path: str
    headers: dict[str, str]
    connection: socket.socket
    is_over: threading.Event

    def send(self, data: bytes) -> None:
        self.connection.sendall(data)

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until the server is closed, or so many seconds; whether it is closed."""
        return self.is_over.wait(seconds)


@dataclass
class HttpCamera:
    port: int
    requests: list[Request] = field(default_factory=list)
    scheme: str = "http"

    def address(self, path: str = "/", user: str = "", host: str = "127.0.0.1") -> str:
        return f"{self.scheme}://{user}{host}:{self.port}{path}"


@contextmanager
def http_camera(answer: Callable[[Request], None], context: ssl.SSLContext | None = None) -> Iterator[HttpCamera]:
    """A server that calls `answer` for each request, each on a thread of its own."""
    is_over = threading.Event()
    threads: list[threading.Thread] = []

    def serve(connection: socket.socket) -> None:
        with contextlib.suppress(OSError), contextlib.closing(connection):
            if context:
                connection = context.wrap_socket(connection, server_side=True)
            received = b""
            while b"\r\n\r\n" not in received:
                more = connection.recv(4096)
                if not more:
                    return
                received += more
            first, *lines = received.decode().split("\r\n\r\n")[0].split("\r\n")
            headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
            request = Request(first.split()[1], headers, connection, is_over)
            camera.requests.append(request)
            answer(request)
            connection.close()

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                connection.settimeout(30)
                threads.append(threading.Thread(target=serve, args=(connection,), daemon=True))
                threads[-1].start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        camera = HttpCamera(listener.getsockname()[1], scheme="https" if context else "http")
        accepting = threading.Thread(target=accept, daemon=True)
        accepting.start()
        try:
            yield camera
        finally:
            is_over.set()
            listener.shutdown(socket.SHUT_RDWR)
    accepting.join()
    for thread in threads:
        thread.join(5)


def answer(head: bytes, picture: bytes, end: bytes = b"\r\n") -> bytes:
    """A part of a multipart answer, with any head and end."""
    return head + b"\r\n" + picture + end


def part(picture: bytes, before: bytes = b"--frame\r\n", end: bytes = b"\r\n") -> bytes:
    """A part as the standard has it: boundary, type, length and picture."""
    return answer(before + TYPE + LENGTH % len(picture), picture, end)


def grey(level: int, size: tuple[int, int] = (64, 48), format_: str = "JPEG") -> bytes:
    """A picture of one level."""
    file = io.BytesIO()
    Image.new("RGB", size, (level, level, level)).save(file, format_)
    return file.getvalue()


def level(frame: Frame) -> int:
    """The mean level of a frame."""
    return round(float(frame.pixels.mean()))


def read_on(camera: Camera) -> None:
    """Take frames until the camera raises."""
    while True:
        camera.frame()


def opened(address: str, **options: float) -> Camera:
    return open_camera(address, stream=StreamSettings(connect_seconds=5), **options)  # type: ignore[arg-type]
