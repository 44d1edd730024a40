"""A network camera by HTTP: an endless stream of JPEGs, for tests whose camera has to last."""

import base64
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.support.ports import free_port

FRAME_SECONDS = 0.02


class NetworkCamera:
    """A camera on loopback that shows pictures in turn.

    /video is an endless multipart stream of JPEGs; /secret the same with user and password, `u` and `p@ss`; /end has
    ten frames and then ends; /stall stands still after those; other paths are files of `folder`.
    """

    def __init__(self, pictures: Sequence[bytes], *, port: int | None = None, folder: Path | None = None) -> None:
        """
        Args:
            pictures: JPEG files, shown one after the other and then again.
            port: to listen at; None: a free one.
        """
        self._stop = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", port or free_port()), _handler(folder, self._stop, pictures))
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def address(self, path: str = "/video", user: str = "") -> str:
        return f"http://{user}127.0.0.1:{self.port}{path}"

    def close(self) -> None:
        """Stop the server and break its connections."""
        self._stop.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@contextmanager
def network_camera(*pictures: bytes, port: int | None = None, folder: Path | None = None) -> Iterator[NetworkCamera]:
    """See `NetworkCamera`."""
    camera = NetworkCamera(pictures, port=port, folder=folder)
    try:
        yield camera
    finally:
        camera.close()


def _handler(folder: Path | None, stop: threading.Event, pictures: Sequence[bytes]) -> type[BaseHTTPRequestHandler]:
    expected = "Basic " + base64.b64encode(b"u:p@ss").decode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/secret" and self.headers["Authorization"] != expected:
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="camera"')
                self.end_headers()
            elif self.path in ("/video", "/secret", "/end", "/stall"):
                self._stream()
            elif folder is None:
                self.send_error(404)
            else:
                self.send_response(200)
                self.end_headers()
                self.wfile.write((folder / self.path.lstrip("/")).read_bytes())

        def _stream(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            sent = 0
            while not stop.wait(FRAME_SECONDS):
                if sent < 10 or self.path in ("/video", "/secret"):
                    picture = pictures[sent % len(pictures)]
                    head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n".encode()
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
