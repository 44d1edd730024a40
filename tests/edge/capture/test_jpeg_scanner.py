"""Pictures in a stream of bytes: what is around them, thumbnails, damage, hostile content."""

import io
import random
import time

import pytest
from PIL import Image

from edge.capture.jpeg_scanner import JpegScanner
from tests.support.videos import jpeg, quadrants

PICTURE, OTHER = jpeg(64, 48), jpeg(32, 32)


def variant(**options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(quadrants(160, 120)).save(file, "JPEG", **options)  # type: ignore[arg-type]
    return file.getvalue()


def scanned(stream: bytes, step: int = 1 << 16, **options: int) -> list[bytes]:
    scanner = JpegScanner(**options)
    return [picture for at in range(0, len(stream), step) for picture in scanner.feed(stream[at : at + step])]


def segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(content) + 2).to_bytes(2, "big") + content


@pytest.mark.parametrize("step", [1, 7, 1000, 1 << 16])
def test_pictures_are_found_whatever_is_between_them(step: int) -> None:
    between = b"\r\n--x\r\nContent-Type: image/jpg\r\nContent-Length: 3\r\n\r\n"
    stream = PICTURE + between + OTHER + b"\xff\xd8\x00\xff" + PICTURE + PICTURE + b"--x--"
    assert scanned(stream, step) == [PICTURE, OTHER, PICTURE, PICTURE]


@pytest.mark.parametrize("options", [{"progressive": True}, {"optimize": True}, {"subsampling": 2}, {"comment": b"x"}])
def test_kinds_of_jpeg_are_found_whole(options: dict[str, object]) -> None:
    picture = variant(**options)
    assert scanned(picture + OTHER) == [picture, OTHER]


def test_restart_markers_and_fill_bytes_belong_to_the_picture() -> None:
    restarts = variant(restart_marker_rows=1)
    filled = PICTURE[:2] + b"\xff\xff\xff" + PICTURE[2:-2] + b"\xff\xff" + PICTURE[-2:]
    assert scanned(restarts + filled, 5) == [restarts, filled]


def test_thumbnail_in_a_segment_is_not_a_picture() -> None:
    with_thumbnail = PICTURE[:2] + segment(0xE1, b"Exif\0\0" + OTHER) + PICTURE[2:]
    assert scanned(with_thumbnail + OTHER, 11) == [with_thumbnail, OTHER]


def test_cut_off_picture_is_dropped_and_the_next_one_found() -> None:
    for at in (3, len(PICTURE) // 2, len(PICTURE) - 1):
        assert scanned(OTHER + PICTURE[:at] + b"\r\n--x\r\n\r\n" + OTHER + OTHER) == [OTHER] * 3
    in_a_segment = PICTURE[:100]  # whose length covers the beginning of the next picture
    assert scanned(OTHER + in_a_segment + b"\r\n--x\r\n\r\n" + OTHER + OTHER) == [OTHER] * 2


def test_picture_without_pixels_is_dropped() -> None:
    assert scanned(b"\xff\xd8\xff\xd9" * 1000 + OTHER) == [OTHER]


def test_too_long_picture_is_dropped_and_memory_is_limited() -> None:
    scanner = JpegScanner(max_bytes=10_000)
    scanner.feed(PICTURE[:-2])
    for _ in range(100):
        assert scanner.feed(bytes(1000)) == []
        assert len(scanner._data) <= 10_000
    assert scanner.feed(b"\xff\xd9" + OTHER) == [OTHER]
    for _ in range(100):
        scanner.feed(b"no picture at all" * 100)
    assert len(scanner._data) <= 3


@pytest.mark.parametrize(
    "hostile",
    [
        b"\xff",
        b"\xff\xd8",
        b"\xff\xd8\xff",
        b"\xff\xd8\xff\xd9",
        b"\xff\xd8\xff\xda\0\2",
        b"\xff\xd8\xff\xe0\0\0",
        b"\0",
    ],
    ids=bytes.hex,
)
def test_hostile_bytes_take_linear_time(hostile: bytes) -> None:
    began = time.process_time()
    scanned(b"\xff\xd8\xff\xda\0\2" + hostile * (2_000_000 // len(hostile)), max_bytes=500_000)
    assert time.process_time() - began < 10


def test_random_bytes_never_raise() -> None:
    chance = random.Random(3)
    stream = bytes(chance.choice(b"\xff\xff\xff\xd8\xd9\xda\xe0\0\2\5") for _ in range(200_000))
    whole = scanned(stream)
    assert whole == scanned(stream, 13)
    assert all(one[:3] == b"\xff\xd8\xff" and one[-2:] == b"\xff\xd9" for one in whole)
