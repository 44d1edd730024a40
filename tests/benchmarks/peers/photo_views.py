"""The views of a photo and their judgement, as a plain program takes them: everything is decoded, then scaled and cut.

The rules are those of `edge.imaging.views`, which a peer's environment does not have.
"""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

Network = Callable[[Any], float]  # RGB of one view, uint8, shape (height, width, 3), to the network's output


def judged(description: Path, network: Network) -> Callable[[str], float]:
    """A function from a photo's path to P(REAL).

    Args:
        description: JSON beside a model for views, whose output is a logit.
    """
    import numpy as np
    from PIL import Image

    fields = json.loads(description.read_text())
    crop, views, fusion = (fields["width"], fields["height"]), fields["views"], fields["fusion"]

    def judge(path: str) -> float:
        picture = Image.open(path).convert("RGB")
        halvings = 0
        while halvings < 3 and min(picture.size) >= views["reduce_above"] << (halvings + 1):
            halvings += 1
        picture = picture.reduce(1 << halvings)
        total = weights = 0.0
        for part in ("first", "further"):
            for one in views[part]:
                scale = min(1.0, (one["short_side"] or math.inf) / min(picture.size))
                size = tuple(max(least, round(side * scale)) for least, side in zip(crop, picture.size, strict=True))
                scaled = picture if size == picture.size else picture.resize(size, Image.Resampling.BICUBIC)
                for left, top in _positions(size, crop, one["crops"]):
                    view = np.asarray(scaled.crop((left, top, left + crop[0], top + crop[1])))
                    total += one["weight"] * network(view)
                    weights += one["weight"]
            score = 1 / (1 + math.exp(-(fusion["scale"] * total / weights + fusion["offset"])))
            low, high = views["further_between"]
            if not low <= score <= high:
                break
        return min(max(score, fields["score_limit"]), 1 - fields["score_limit"])

    return judge


def _positions(size: tuple[int, ...], crop: tuple[int, int], count: int) -> list[tuple[int, int]]:
    columns = min(max(round(math.sqrt(count * size[0] / size[1])), 1), count)
    rows = math.ceil(count / columns)
    found = []
    for row in range(rows):
        in_row = count // rows + (row < count % rows)
        top = _start(row, rows, size[1], crop[1])
        found += [(_start(column, in_row, size[0], crop[0]), top) for column in range(in_row)]
    return found


def _start(index: int, count: int, length: int, crop: int) -> int:
    return min(max(((2 * index + 1) * length - count * crop) // (2 * count), 0), length - crop)
