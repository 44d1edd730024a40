"""What a figure of a photo shows."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge.imaging import annotate
from edge.verdict import Place, Verdict, ViewLogit

VERMILION, BLUE = (213, 94, 0), (0, 114, 178)


def verdict(path: Path, label: str, *views: tuple[float, float, float, float, float]) -> Verdict:
    explain = tuple(ViewLogit(Place(*place, 0), logit) for *place, logit in views)
    return Verdict(str(path), label, label == "REAL", 0.4, 0.6, None, 0.1, "photo", explain)


def drawn(path: Path, label: str, *views: tuple[float, float, float, float, float]) -> Image.Image:
    with Image.open(annotate.write(verdict(path, label, *views), None)) as image:
        return image.convert("RGB")


def grey(path: Path, size: tuple[int, int]) -> Path:
    Image.new("RGB", size, (128, 128, 128)).save(path)
    return path


def nearer(colour: tuple[int, ...], one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    return bool(np.abs(np.subtract(colour, one)).sum() < np.abs(np.subtract(colour, other)).sum())


def test_the_map_shows_mean_logits_of_views(tmp_path: Path) -> None:
    path = grey(tmp_path / "x.png", (800, 600))
    sheet = drawn(path, "FAKE", (0, 0, 0.5, 0.5, -4), (0.5, 0.5, 0.5, 0.5, 4), (0.25, 0.25, 0.5, 0.5, 1))

    def at(across: float, down: float) -> tuple[int, ...]:
        pixel = sheet.getpixel((annotate.MARGIN + round(across * 800), annotate.HEADER + round(down * 600)))
        assert isinstance(pixel, tuple)
        return pixel

    assert nearer(at(0.1, 0.1), VERMILION, BLUE)
    assert nearer(at(0.9, 0.9), BLUE, VERMILION)
    assert nearer(at(0.6, 0.4), BLUE, VERMILION)
    assert at(0.9, 0.1) == (128, 128, 128)  # outside of all views
    only, both = np.subtract(at(0.1, 0.1), 128), np.subtract(at(0.4, 0.4), 128)
    assert nearer(at(0.4, 0.4), VERMILION, BLUE)  # (-4 + 1) / 2
    assert np.abs(both).sum() < np.abs(only).sum()
    weak = np.subtract(at(0.6, 0.4), 128)
    assert np.abs(weak).sum() < np.abs(np.subtract(at(0.9, 0.9), 128)).sum()


@pytest.mark.parametrize("label", ["REAL", "FAKE", "UNSURE"])
def test_each_label_has_its_own_colour(tmp_path: Path, label: str) -> None:
    path = grey(tmp_path / "x.png", (500, 400))
    colours = {"REAL": BLUE, "FAKE": VERMILION, "UNSURE": (0x7B, 0x3F, 0x8C)}
    foot = drawn(path, label, (0, 0, 0.1, 0.1, 0.0)).crop((0, annotate.HEADER + 400 + annotate.LEGEND, 548, 1000))
    found = {colour for _, colour in foot.getcolors(1 << 20) or ()}
    assert colours[label] in found
    assert not found & {colour for other, colour in colours.items() if other != label}


@pytest.mark.parametrize("size", [(20_000, 300), (201, 5000), (1, 1), (3000, 1)])
def test_figure_of_extreme_shape_has_bounded_size(tmp_path: Path, size: tuple[int, int]) -> None:
    path = grey(tmp_path / "x.png", size)
    sheet = drawn(path, "UNSURE", (0.1, 0.1, 0.001, 0.1, 2.0), (0.999, 0.999, 0.001, 0.001, -2.0))
    assert sheet.width <= 900 + 2 * annotate.MARGIN
    assert sheet.height <= 900 + annotate.HEADER + annotate.LEGEND + annotate.FOOTER


def test_a_thumbnail_s_figure_keeps_its_colours(tmp_path: Path) -> None:
    path = grey(tmp_path / "x.png", (32, 32))
    seen = np.full((32, 32, 3), 128, np.uint8)
    for label, colour in (("REAL", (0x1B, 0x7F, 0x4D)), ("FAKE", (0xC2, 0x41, 0x0C)), ("UNSURE", (0x7B, 0x3F, 0x8C))):
        with Image.open(annotate.write(verdict(path, label), seen)) as sheet:
            assert sheet.size == (792, 502)
            assert colour in {found for _, found in sheet.convert("RGB").getcolors(1 << 20) or ()}
