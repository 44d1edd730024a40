"""A live HLS on loopback: segments appear one by one, as an encoder finishes them."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import av
import numpy as np

FRAMES_A_SECOND = 10
LEVELS = 12  # greys by which frames are known
WINDOW = 4  # segments in the playlist


def picture(number: int) -> np.ndarray:
    """A frame, with its number in the greys of its halves."""
    pixels = np.empty((48, 64, 3), np.uint8)
    pixels[:, :32], pixels[:, 32:] = (20 + 18 * digit for digit in (number % LEVELS, number // LEVELS % LEVELS))
    return pixels


def number_of(pixels: np.ndarray, after: int = -1) -> int:
    """The number of a frame, the first one with these greys that is greater than `after`."""
    low, high = (round((float(half.mean()) - 20) / 18) for half in (pixels[:, :24], pixels[:, 40:]))
    return after + 1 + (high * LEVELS + low - after - 1) % LEVELS**2


class LiveHls:
    """/live.m3u8 is a media playlist, /master.m3u8 names it, /several.m3u8 names it twice in different folders.

    `begin` is when the first frame is taken.
    """

    def __init__(self, folder: Path, segment_seconds: int, count: int, *, has_dates: bool, elapsed: float) -> None:
        """
        Args:
            count: number of segments.
            has_dates: whether the server sends Last-Modified.
            elapsed: seconds of the stream that are over at the start.
        """
        self.segment_seconds, self.has_dates = segment_seconds, has_dates
        self.segments = _encode(folder, segment_seconds, count)
        self.begin = time.monotonic() - elapsed
        self.is_stalled = threading.Event()  # while it is set, no request is answered
        self.requested: list[str] = []  # paths
        self.has_ended = False  # whether the playlist is that of a recording
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def playlist(self) -> tuple[str, float]:
        """The playlist, and how long ago it has changed."""
        passed = time.monotonic() - self.begin
        done = min(int(passed / self.segment_seconds), len(self.segments))
        first = max(0, done - WINDOW)
        head = (
            f"#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:{self.segment_seconds}\n#EXT-X-MEDIA-SEQUENCE:{first}\n"
        )
        names = "".join(f"#EXTINF:{self.segment_seconds}.0,\n{number}.ts\n" for number in range(first, done))
        end = "#EXT-X-ENDLIST\n" if self.has_ended else ""
        return head + names + end, passed - done * self.segment_seconds

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@contextmanager
def live_hls(
    folder: Path, segment_seconds: int, count: int, *, has_dates: bool = True, elapsed: float
) -> Iterator[LiveHls]:
    server = LiveHls(folder, segment_seconds, count, has_dates=has_dates, elapsed=elapsed)
    try:
        yield server
    finally:
        server.close()


def _encode(folder: Path, segment_seconds: int, count: int) -> list[bytes]:
    options = {"hls_time": str(segment_seconds), "hls_list_size": "0", "hls_segment_filename": str(folder / "%d.ts")}
    with av.open(str(folder / "all.m3u8"), "w", format="hls", options=options) as container:
        stream: Any = container.add_stream("libx264", rate=FRAMES_A_SECOND, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.gop_size = FRAMES_A_SECOND * segment_seconds
        for number in range(FRAMES_A_SECOND * segment_seconds * count):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(number), format="rgb24")))
        container.mux(stream.encode())
    return [(folder / f"{number}.ts").read_bytes() for number in range(count)]


def _handler(live: LiveHls) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            while live.is_stalled.is_set():
                time.sleep(0.02)
            age = None
            live.requested.append(self.path)
            name = self.path.removeprefix("/high").removeprefix("/low")
            if name == "/several.m3u8":
                body = b"#EXTM3U\n" + b"".join(
                    b"#EXT-X-STREAM-INF:BANDWIDTH=%d,RESOLUTION=%dx48\n%b/live.m3u8\n" % (width, width, folder)
                    for width, folder in ((64, b"low"), (640, b"high"))
                )
            elif name == "/master.m3u8":
                body = b"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=100000\nlive.m3u8\n"
            elif name == "/live.m3u8":
                text, age = live.playlist()
                body = text.encode()
            else:
                number = int(name.strip("/").removesuffix(".ts"))
                body = live.segments[number]
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            if live.has_dates and age is not None:
                self.send_header("Last-Modified", formatdate(time.time() - age, usegmt=True))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    return Handler
