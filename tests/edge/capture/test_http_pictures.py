"""Cameras that send pictures by HTTP: dialects of MJPEG, damage, hostile answers, closing."""

import itertools
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge.capture import http_pictures
from edge.capture.capture import Capture, is_held
from edge.capture.http_pictures import HttpPictures
from edge.capture.libav import StreamSettings
from edge.capture.open_camera import open_camera
from edge.capture.roi import Roi
from edge.errors import CameraError
from edge.imaging.inputs import Input, take
from edge.imaging.views import Views, ViewSet
from tests.conftest import CHECKOUT, environment
from tests.support.http_cameras import (
    LENGTH,
    MULTIPART,
    OK,
    TYPE,
    Request,
    answer,
    grey,
    http_camera,
    level,
    opened,
    part,
)
from tests.support.videos import jpeg, shows_quadrants

QUADRANTS = jpeg(64, 48)


def chunked(data: bytes) -> bytes:
    return b"%x\r\n" % len(data) + data + b"\r\n"


def wrong_length(by: int) -> Callable[[int, bytes], bytes]:
    return lambda _, picture: answer(b"--frame\r\n" + TYPE + LENGTH % (len(picture) + by), picture)


SOUND = b"--frame\r\nContent-Type: audio/basic\r\nContent-Length: 160\r\n\r\n" + b"\x7f" * 160 + b"\r\n"
DIALECTS: dict[str, tuple[bytes, Callable[[int, bytes], bytes]]] = {
    "as the standard says": (MULTIPART, lambda _, picture: part(picture)),
    "no boundary before the first picture": (
        MULTIPART,
        lambda number, picture: part(picture, before=b"\r\n--frame\r\n" if number else b"", end=b""),
    ),
    "image/jpg": (MULTIPART, lambda _, picture: answer(b"--frame\r\nContent-Type: image/jpg\r\n", picture)),
    "parts without a type": (MULTIPART, lambda _, picture: answer(b"--frame\r\n" + LENGTH % len(picture), picture)),
    "boundary without dashes": (MULTIPART, lambda _, picture: part(picture, before=b"frame\r\n")),
    "too short a length": (MULTIPART, wrong_length(-40)),
    "too great a length": (MULTIPART, wrong_length(2)),
    "length of zero": (MULTIPART, lambda _, picture: answer(b"--frame\r\nContent-Length: 0\r\n", picture)),
    "sound between pictures": (MULTIPART, lambda _, picture: part(picture) + SOUND),
    "no headers in the parts": (MULTIPART, lambda _, picture: b"--frame\r\n\r\n" + picture),
    "another boundary": (MULTIPART, lambda _, picture: part(picture, before=b"--ipcamera\r\n")),
    "line feeds alone": (MULTIPART, lambda _, picture: part(picture).replace(b"\r\n", b"\n", 3)),
    "nothing between pictures": (OK + b"\r\n", lambda _, picture: picture),
    "no type of the answer": (OK + b"\r\n", lambda _, picture: part(picture)),
    "another type of the answer": (OK + b"Content-Type: video/x-motion-jpeg\r\n\r\n", lambda _, picture: part(picture)),
    "length of the answer": (MULTIPART.replace(b"OK", b"OK\r\nContent-Length: 0"), lambda _, picture: part(picture)),
    "HTTP 1.0": (MULTIPART.replace(b"1.1", b"1.0"), lambda _, picture: part(picture)),
    "chunks": (
        MULTIPART.replace(b"OK", b"OK\r\nTransfer-Encoding: chunked"),
        lambda _, picture: chunked(part(picture)),
    ),
    "chunks across parts": (
        MULTIPART.replace(b"OK", b"OK\r\nTransfer-Encoding: chunked"),
        lambda _, picture: chunked(part(picture)[:50]) + chunked(part(picture)[50:]),
    ),
}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_dialect_of_mjpeg_gives_each_picture_once(dialect: str) -> None:
    head, one = DIALECTS[dialect]

    def serve(request: Request) -> None:
        request.send(head)
        for number in itertools.count():
            request.send(one(number, grey(10 + 20 * (number % 10))))
            if request.wait(0.005):
                return

    with http_camera(serve) as server:
        camera = opened(server.address("/stream"))
        assert isinstance(camera, HttpPictures)
        assert camera.is_live
        frames = [camera.frame() for _ in range(15)]
        camera.close()
    assert [level(frame) for frame in frames if frame] == [10 + 20 * (number % 10) for number in range(15)]
    assert len(server.requests) == 1


def test_colours_of_an_mjpeg_camera_are_right() -> None:
    with http_camera(lambda request: request.send(MULTIPART + part(QUADRANTS) * 3)) as server:
        frame = opened(server.address()).frame()
    assert frame is not None
    assert shows_quadrants(frame.pixels)
    assert frame.area == 64 * 48


def test_frame_of_a_jpeg_camera_is_seen_like_the_file(tmp_path: Path) -> None:
    noise = np.random.default_rng(3).integers(0, 256, (90, 160, 3), np.uint8)
    path = tmp_path / "a.jpg"
    Image.fromarray(noise).resize((1280, 720)).save(path, quality=90)
    with http_camera(lambda request: request.send(OK + TYPE + b"\r\n" + path.read_bytes())) as server:
        frame = opened(server.address()).frame()
    assert frame is not None
    crops = Input(0, (128, 128), Views((ViewSet(4),), reduce_above=224))
    small, whole = frame.seen(Roi(), lambda _: crops)[1], take(path, None, lambda _: crops)[1]
    assert np.array_equal(small.pixels, whole.pixels)
    assert small.own_size == whole.own_size == (1280, 720)
    plain = Input(0, (32, 32))
    difference = frame.seen(Roi(), lambda _: plain)[1].pixels.astype(int) - take(path, None, lambda _: plain)[1].pixels
    assert np.abs(difference).max() <= 3


def test_damaged_and_too_large_pictures_are_left_out() -> None:
    huge = bytearray(QUADRANTS)
    at = huge.index(b"\xff\xc0") + 5
    huge[at : at + 4] = b"\xff\xff\xff\xff"  # 65535 x 65535 pixels
    cut = QUADRANTS[:300]

    def serve(request: Request) -> None:
        request.send(MULTIPART + b"".join(map(part, (grey(10), cut, bytes(huge), b"\xff\xd8\xff\xd9", b"", grey(50)))))
        request.wait()

    with http_camera(serve) as server:
        camera = opened(server.address())
        assert [level(camera.frame()) for _ in range(2)] == [10, 50]


def test_stream_without_huffman_tables_is_decoded() -> None:
    data = bytearray(grey(90))
    while (at := data.find(b"\xff\xc4")) >= 0:
        del data[at : at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")]
    with http_camera(lambda request: request.send(MULTIPART + part(bytes(data)) * 2)) as server:
        assert level(opened(server.address()).frame()) == 90


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        (OK + b"Content-Type: text/html\r\n\r\n<html>login</html>", "has no video, but a web page; use the address"),
        (OK + b"Content-Type: audio/mpeg\r\n\r\n" + bytes(500), "has no video, only sound"),
        (OK + TYPE + b"\r\nnot a picture at all", "the stream has ended"),
        (OK + b"Content-Type: image/png\r\n\r\nnot a picture at all", "sends a picture that cannot be decoded"),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", "server returned 404 not found"),
        (b"HTTP/1.1 500 \x1b[2J\r\n\r\n", r"server returned 500 \\x1b\[2j"),
        (b"HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n", "redirects too often"),
        (b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\n\r\n", "redirects to an address that is not of HTTP"),
        (b"HTTP/1.1 302 Found\r\nLocation: ftp://127.0.0.1/\r\n\r\n", "redirects to an address that is not of HTTP"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://[/\r\n\r\n", "redirects to an address that is not of HTTP"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://a:b/\r\n\r\n", "not an address; its host or port is invalid"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n", ""),
        (b"\xff" * 100_000, ""),
        (b"", "the connection broke off"),
        (OK + b"Content-Type: multipart/x\r\nTransfer-Encoding: chunked\r\n\r\nzzz\r\n", "the connection broke off"),
        (MULTIPART, "the stream has ended"),
    ],
)
def test_answer_without_pictures_is_one_line_error(sent: bytes, message: str) -> None:
    with (
        http_camera(lambda request: request.send(sent)) as server,
        pytest.raises(CameraError, match=f"^http://127.0.0.1:{server.port}/x: {message}") as caught,
    ):
        opened(server.address("/x", "u:GeHeim@")).frame()
    assert "\n" not in str(caught.value)
    assert str(caught.value).isprintable()
    assert "GeHeim" not in str(caught.value)


def drip(beginning: bytes, drop: bytes) -> Callable[[Request], None]:
    def serve(request: Request) -> None:
        request.send(beginning)
        while not request.wait(0.1):
            request.send(drop)

    return serve


@pytest.mark.parametrize(
    ("serve", "message"),
    [
        (lambda request: request.wait(), "no answer for 1 s"),
        (drip(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"), "no answer for 1 s"),
        (drip(b"HTTP/1.1 200 OK\r\n\r\n", b" "), "no answer for 1 s"),
        (drip(MULTIPART, b"x"), "no picture for 1 s"),
        (drip(MULTIPART, QUADRANTS[:3]), "no picture for 1 s"),
        (lambda request: (request.send(MULTIPART), request.wait()), "no answer for 0.5 s"),
        (lambda request: (request.send(OK + TYPE + b"\r\n" + QUADRANTS[:99]), request.wait()), "no answer for 0.5 s"),
    ],
    ids=range(7),
)
def test_slow_and_silent_answers_reach_a_time_limit(
    serve: Callable[[Request], None], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.capture.open_camera.TIMEOUT_SECONDS", 0.5)
    began = time.monotonic()
    with http_camera(serve) as server:
        with pytest.raises(CameraError, match=f": {message}$"):
            open_camera(server.address(), stream=StreamSettings(connect_seconds=1)).frame()
        assert time.monotonic() - began < 4


def test_fast_camera_and_slow_reader_give_the_newest_picture() -> None:
    picture = grey(90, (640, 480)) + bytes(100_000)  # large enough to fill the buffers of the connection

    def serve(request: Request) -> None:
        request.send(MULTIPART)
        for number in itertools.count():
            stamp = b"\xff\xfe" + (6).to_bytes(2, "big") + number.to_bytes(4, "big")
            sent.append(time.monotonic())
            request.send(part(picture[:2] + stamp + picture[2:]))
            if request.wait(0.01):
                return

    sent: list[float] = []
    with http_camera(serve) as server, Capture(lambda: opened(server.address())) as capture:
        for _ in range(5):
            time.sleep(0.5)
            frame = capture.latest(5)
            assert frame is not None
            assert time.monotonic() - frame.seconds < 0.3
            assert len(sent) - capture.captured < 30
        assert capture.skipped > 20


@pytest.mark.parametrize("beginning", [b"", MULTIPART + part(QUADRANTS), OK + TYPE + b"\r\n" + QUADRANTS])
def test_silent_camera_is_closed_at_once(beginning: bytes) -> None:
    def serve(request: Request) -> None:
        if len(server.requests) == 1:
            request.send(beginning or MULTIPART)
        request.wait(None if len(server.requests) > 1 or not beginning.startswith(OK + TYPE) else 0)

    with http_camera(serve) as server:
        capture = Capture(lambda: opened(server.address(), frames_per_second=20))
        while capture.seconds_in_call < 0.5:
            capture.latest(0.05)
        began = time.monotonic()
        capture.close()
        assert time.monotonic() - began < 1
        assert not is_held()


def test_restarted_camera_is_opened_again(logged: list[str]) -> None:
    def serve(request: Request) -> None:
        request.send(MULTIPART + part(grey(10 * len(server.requests))) * 3)

    with http_camera(serve) as server, Capture(lambda: opened(server.address("/x", "u:GeHeim@"))) as capture:
        seen: set[int] = set()
        deadline = time.monotonic() + 20
        while len(seen) < 2 and time.monotonic() < deadline:
            if (frame := capture.latest(0.2)) is not None:
                seen.add(level(frame))
    assert seen == {10, 20}
    assert logged == [f"http://127.0.0.1:{server.port}/x: the stream has ended; trying again"]


def test_pictures_need_no_pyav_and_other_streams_say_so() -> None:
    program = (
        "import sys; sys.modules['av'] = None\n"
        "from edge.capture.open_camera import open_camera\n"
        "print(open_camera(sys.argv[1]).frame().pixels.shape, flush=True)"
    )

    def serve(request: Request) -> None:
        contents = {
            "/mjpeg": MULTIPART + part(QUADRANTS) * 2,
            "/snapshot.jpg": OK + TYPE + b"\r\n" + QUADRANTS,
            "/ts": OK + b"Content-Type: video/mp2t\r\n\r\n" + b"G" + bytes(1000),
        }
        request.send(contents[request.path])

    with http_camera(serve) as server:
        for path, output, error in (
            ("/mjpeg", "(48, 64, 3)\n", ""),
            ("/snapshot.jpg", "(48, 64, 3)\n", ""),
            ("/ts", "", "NotInstalledError"),
        ):
            done = subprocess.run(
                [sys.executable, "-c", program, server.address(path)],
                cwd=CHECKOUT,
                env=environment(),
                capture_output=True,
                text=True,
            )
            assert done.stdout == output
            assert error in done.stderr
            assert bool(done.stderr) == bool(error)


def test_memory_stays_small_while_a_hostile_camera_sends() -> None:
    noise = os.urandom(1 << 16).replace(b"\xff", b"\0")
    beginning = QUADRANTS[: QUADRANTS.index(b"\xff\xda") + 14]

    def serve(request: Request) -> None:
        request.send(MULTIPART + beginning)
        for _ in range(600):
            request.send(noise)
        request.send(part(grey(10)) + part(grey(50)))

    with http_camera(serve) as server:
        camera = opened(server.address())
        assert isinstance(camera, HttpPictures)
        assert level(camera.frame()) in (10, 50)
        assert len(camera._body._scanner._data) < http_pictures.MAX_BYTES
