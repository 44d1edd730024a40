"""What reading a file's provenance costs, by the kind of file: python -m tests.benchmarks.provenance"""

import json
import statistics
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import click
import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from edge.inference.router import router
from edge.provenance.read import evidence
from tests.benchmarks.tables import markdown, where
from tests.conftest import CHECKOUT

PHOTOS = CHECKOUT / "tests" / "data" / "photos" / "REAL"
ROUNDS, SECONDS = 7, 0.2


def kinds() -> Iterator[tuple[str, bytes]]:
    """The name and content of a file of each kind."""
    thumbnail = next((CHECKOUT / "tests" / "data" / "cifake" / "test" / "REAL").iterdir())
    yield "JPEG thumbnail without metadata", thumbnail.read_bytes()
    yield "JPEG photo with EXIF", (PHOTOS / "bridge-night.jpg").read_bytes()
    yield "PNG photo with XMP", (PHOTOS / "cat.png").read_bytes()
    settings = "a lighthouse\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 4242, Size: 512x512, Model: harbour"
    yield "PNG with a web UI's settings", _png("parameters", settings)
    graph = {str(at): {"class_type": "KSampler", "inputs": {"seed": at, "text": "x" * 200}} for at in range(3000)}
    yield "PNG with a ComfyUI graph of 0.8 MB", _png("prompt", json.dumps(graph))


def _png(keyword: str, text: str) -> bytes:
    texts, file = PngInfo(), BytesIO()
    texts.add_text(keyword, text)
    pixels = np.random.default_rng(0).integers(0, 255, (512, 512, 3), np.uint8)
    Image.fromarray(pixels).save(file, "PNG", pnginfo=texts)
    return file.getvalue()


def seconds(content: bytes) -> float:
    """The processor time of one reading: median of ROUNDS."""
    evidence(content)  # the imports
    found = []
    for _ in range(ROUNDS):
        began, count = time.process_time(), 0
        while time.process_time() - began < SECONDS:
            evidence(content)
            count += 1
        found.append((time.process_time() - began) / count)
    return statistics.median(found)


@click.command()
def main() -> None:
    """Measure the processor time of `evidence`, and its share of a whole answer to the same file."""
    models, rows = router(), []
    for name, content in kinds():
        models.answer(Path(name), content)
        began, count = time.process_time(), 0
        while time.process_time() - began < 1:
            models.answer(Path(name), content)
            count += 1
        whole, part = (time.process_time() - began) / count, seconds(content)
        rows.append([name, f"{len(content) / 1000:.0f}", f"{part * 1000:.3f}", f"{part / whole:.1%}"])
    click.echo(where())
    click.echo()
    click.echo(markdown(("file", "kB", "ms", "share of the answer"), rows))


if __name__ == "__main__":
    main()
