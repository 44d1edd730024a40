"""Hostile images: thousands of mutations of every format, each answered with pixels or a reason."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge.errors import UndecodableImageError
from edge.files import FileId
from edge.imaging import preprocess
from edge.imaging.inputs import Input
from edge.watch.decode import Outcome, Prepared, Task
from edge.watch.decode_pool import DecodePool

MUTATIONS = 400  # of each format
SIZE = (16, 12)
KINDS = {
    "JPEG": ("RGB", {"quality": 80}),
    "JPEG progressive": ("RGB", {"progressive": True}),
    "JPEG CMYK": ("CMYK", {}),
    "MPO": ("RGB", {"save_all": True, "append_images": [Image.new("RGB", (32, 24), "red")]}),
    "PNG": ("RGBA", {}),
    "PNG palette": ("P", {}),
    "PNG 16 bit": ("I;16", {}),
    "GIF": ("P", {}),
    "BMP": ("RGB", {}),
    "WEBP": ("RGB", {"quality": 60}),
    "WEBP lossless": ("RGBA", {"lossless": True}),
    "TIFF": ("RGB", {}),
    "TIFF deflate": ("RGB", {"compression": "tiff_deflate"}),
    "TIFF LZW": ("L", {"compression": "tiff_lzw"}),
}


def encoded(kind: str) -> bytes:
    mode, options = KINDS[kind]
    noise = np.random.default_rng(0).integers(0, 256, (24, 32, 4), np.uint8)
    original = Image.fromarray(noise, "RGBA") if mode == "RGBA" else Image.fromarray(noise[..., :3])
    if mode == "I;16":
        original = Image.fromarray(noise[..., 0].astype(np.uint16) * 257)
    elif mode not in ("RGB", "RGBA"):
        original = original.convert(mode)
    buffer = BytesIO()
    original.save(buffer, kind.split()[0], **options)
    return buffer.getvalue()


def mutated(content: bytes, random: np.random.Generator) -> bytes:
    """A few bytes changed, cut, doubled or exchanged: where the header is, or anywhere."""
    data = bytearray(content)
    reach = min(len(data), 64) if random.random() < 0.5 else len(data)
    for _ in range(random.integers(1, 6)):
        at = int(random.integers(reach))
        match random.integers(5):
            case 0:
                data[at] = random.integers(256)
            case 1:
                data[at] ^= 1 << random.integers(8)
            case 2:
                data[at : at + 4] = bytes(random.choice([0, 255, 127, 128], 4).astype(np.uint8))
            case 3:
                length = int(random.integers(1, 40))
                data[at:at] = data[at : at + length]
            case _:
                del data[at : at + int(random.integers(1, 40))]
        reach = min(reach, len(data)) or 1
        if not data:
            break
    return bytes(data[: int(random.integers(1, len(data) + 1))]) if data and random.random() < 0.2 else bytes(data)


@pytest.mark.parametrize("kind", KINDS)
def test_a_mutated_image_gives_pixels_or_a_one_line_reason(kind: str) -> None:
    content = encoded(kind)
    assert preprocess.pixels("whole", SIZE, content).shape == (12, 16, 3)
    random = np.random.default_rng(sum(map(ord, kind)))
    refused = 0
    for _ in range(MUTATIONS):
        reason = None
        try:
            pixels, size = preprocess.pixels_and_size("x", SIZE, mutated(content, random))
        except UndecodableImageError as error:
            reason = error.reason
        if reason is None:
            assert (pixels.shape, pixels.dtype) == ((12, 16, 3), np.uint8)
            assert min(size) > 0
        else:
            refused += 1
            assert reason
            assert "\n" not in reason
    assert refused > MUTATIONS / 20, "the mutations were too mild to show anything"


def test_mutated_images_do_not_end_decoding_processes(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    tasks = []
    for kind in KINDS:
        for number in range(20):
            path = tmp_path / f"{kind}-{number}"
            path.write_bytes(mutated(encoded(kind), random) or b" ")
            tasks.append(Task(str(path), FileId.of(path.stat()), 0))
    found: dict[Task, Outcome] = {}
    with DecodePool(2, str(tmp_path), [Input(0, SIZE)]) as workers:
        processes = {worker.process.pid for worker in workers._workers}
        for task in tasks:
            while not workers.has_room:
                found.update(workers.outcomes(10))
            workers.submit(task)
        while workers.in_flight:
            found.update(workers.outcomes(10))
        assert {worker.process.pid for worker in workers._workers} == processes, "a decoder has crashed"
    assert set(found) == set(tasks)
    assert all(isinstance(outcome, Prepared) for outcome in found.values())
    assert {outcome.pixels is None for outcome in found.values()} == {True, False}


@pytest.mark.parametrize("content", [b"", b"\0", b"\xff" * 1000, b"GIF89a", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBP"])
def test_a_file_that_only_begins_like_an_image_is_refused(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(UndecodableImageError):
        preprocess.pixels(tmp_path / "x", SIZE, content)
