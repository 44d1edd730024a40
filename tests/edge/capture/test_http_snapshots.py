"""Cameras that send one picture a request: when they are asked, what counts as a new frame, what as a loss."""

import itertools
import time
from collections.abc import Callable

import pytest

from edge.capture import http_pictures
from edge.capture.capture import Capture
from edge.errors import CameraError
from tests.support.http_cameras import (
    LENGTH,
    MULTIPART,
    OK,
    TYPE,
    Request,
    grey,
    http_camera,
    level,
    opened,
    part,
    read_on,
)


def snapshots(*pictures: bytes, media_type: bytes = TYPE) -> Callable[[Request], None]:
    """Answers each request by the next picture, and at last by the last one again and again."""
    remaining = list(pictures)

    def serve(request: Request) -> None:
        picture = remaining.pop(0) if len(remaining) > 1 else remaining[0]
        request.send(OK + media_type + LENGTH % len(picture) + b"\r\n" + picture)

    return serve


def test_address_of_a_single_picture_is_asked_once_a_second() -> None:
    with http_camera(snapshots(grey(10), grey(50), grey(90))) as server:
        camera = opened(server.address("/snapshot.jpg"))
        began = time.monotonic()
        frames = [camera.frame() for _ in range(3)]
        passed = time.monotonic() - began
        camera.close()
    assert [level(frame) for frame in frames if frame] == [10, 50, 90]
    assert 1.9 < passed < 4
    assert len(server.requests) == 3
    assert frames[2].seconds - frames[1].seconds == pytest.approx(1.0, abs=0.3)


@pytest.mark.parametrize(("rate", "least", "most"), [(5.0, 0.55, 1.6), (0.4, 2.4, 4.5)])
def test_single_pictures_are_asked_at_the_rate_of_the_user(rate: float, least: float, most: float) -> None:
    count = 4 if rate > 1 else 2
    with http_camera(snapshots(*(grey(20 * number) for number in range(9)))) as server:
        camera = opened(server.address("/snapshot.jpg"), frames_per_second=rate)
        began, frames = time.monotonic(), [camera.frame()]
        while len(frames) < count:
            if (frame := camera.frame()) is not frames[-1]:
                frames.append(frame)
        assert least < time.monotonic() - began < most
    assert len(server.requests) == count


def test_call_for_a_picture_that_is_not_due_returns_within_a_second_or_so() -> None:
    with http_camera(snapshots(grey(10), grey(50))) as server:
        camera = opened(server.address("/snapshot.jpg"), frames_per_second=0.02)
        first, began = camera.frame(), time.monotonic()
        assert camera.frame() is first
        assert time.monotonic() - began < 2
    assert len(server.requests) == 1


def test_repeated_picture_is_no_new_frame() -> None:
    with http_camera(snapshots(grey(10), grey(10), grey(10), grey(50))) as server:
        camera = opened(server.address("/snapshot.jpg"), frames_per_second=20)
        first = camera.frame()
        assert camera.frame() is first
        assert camera.frame() is first
        assert camera.frame() is not first
    assert len(server.requests) == 4


def test_capture_counts_a_repeated_picture_once() -> None:
    with (
        http_camera(snapshots(grey(10), grey(10), grey(10), grey(50))) as server,
        Capture(lambda: opened(server.address("/snapshot.jpg"), frames_per_second=20)) as capture,
    ):
        seen: list[int] = []
        while len(server.requests) < 8 or 50 not in seen:
            if (frame := capture.latest(0.2)) is not None:
                seen.append(level(frame))
        assert capture.captured == 2
        assert capture.skipped + len(seen) == 2


def test_server_that_knows_of_changes_is_not_asked_for_the_same_picture_again() -> None:
    def serve(request: Request) -> None:
        tag = b'"1"' if len(server.requests) < 3 else b'"2"'
        if request.headers.get("if-none-match", "").encode() == tag:
            request.send(b"HTTP/1.1 304 Not Modified\r\nETag: " + tag + b"\r\n\r\n")
        else:
            picture = grey(10 if tag == b'"1"' else 50)
            request.send(OK + TYPE + b"ETag: " + tag + b"\r\n" + LENGTH % len(picture) + b"\r\n" + picture)

    with http_camera(serve) as server:
        camera = opened(server.address("/snapshot.jpg"), frames_per_second=20)
        first = camera.frame()
        assert camera.frame() is first
        assert level(camera.frame()) == 50


@pytest.mark.parametrize("format_", ["PNG", "WEBP", "BMP"])
def test_single_picture_may_have_another_format(format_: str) -> None:
    type_ = f"Content-Type: image/{format_.lower()}\r\n".encode()
    serve = snapshots(grey(40, format_=format_), grey(80, format_=format_), media_type=type_)
    with http_camera(serve) as server:
        camera = opened(server.address("/picture"), frames_per_second=20)
        assert [level(camera.frame()) for _ in range(2)] == [40, 80]


def test_stream_that_ends_after_each_picture_is_asked_again() -> None:
    numbers = itertools.count(1)
    with http_camera(lambda request: request.send(MULTIPART + part(grey(10 * next(numbers))))) as server:
        camera = opened(server.address(), frames_per_second=20)
        assert [level(camera.frame()) for _ in range(4)] == [10, 20, 30, 40]


def test_single_failed_request_is_no_loss_but_many_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.capture.open_camera.TIMEOUT_SECONDS", 1.0)

    def serve(request: Request) -> None:
        if len(server.requests) in (2, 4) or len(server.requests) > 5:
            request.send(b"HTTP/1.1 503 Service Unavailable\r\n\r\n")
        else:
            snapshots(grey(10 * len(server.requests)))(request)

    with http_camera(serve) as server:
        camera = opened(server.address("/snapshot.jpg"), frames_per_second=20)
        levels = [level(camera.frame()) for _ in range(5)]
        began = time.monotonic()
        with pytest.raises(CameraError, match=r"/snapshot.jpg: server returned 503 service unavailable$"):
            read_on(camera)
    assert levels == [10, 10, 30, 30, 50]
    assert 0.9 < time.monotonic() - began < 3


def test_picture_that_never_changes_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_pictures, "UNCHANGED_SECONDS", 0.5)
    with http_camera(snapshots(grey(10))) as server:
        camera = opened(server.address("/snapshot.jpg"), frames_per_second=20)
        with pytest.raises(CameraError, match=r"/snapshot.jpg: has sent the same picture for 0.6 s$"):
            read_on(camera)
