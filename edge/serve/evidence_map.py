"""Which parts of a picture spoke for a verdict, as rectangles of equal evidence to be laid over it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from edge.verdict import ViewLogit

SIDE = 1000  # of the coordinates; the picture has this width and height, whatever its shape
STRONGEST = 0.6  # greatest opacity, as in the figure of `edge.imaging.annotate`
MOST_CELLS = 2000


@dataclass(frozen=True)
class Cell:
    """A rectangle in which the same views lie.

    Attributes:
        left, top, width, height: in units of which the picture has SIDE in each direction.
        evidence: P(REAL) - P(FAKE) by the mean logit of these views, from -1 to 1.
    """

    left: int
    top: int
    width: int
    height: int
    evidence: float

    @property
    def opacity(self) -> float:
        """Of its colour over the picture."""
        return round(STRONGEST * abs(self.evidence), 3)


def cells(views: Sequence[ViewLogit]) -> list[Cell]:
    """The map of a verdict's views; empty if there is one view alone, which says nothing of parts.

    Pixels that several views show get the mean of their logits; those that no view shows get no cell.
    """
    if len(views) < 2:
        return []
    boxes = [(*_span(one.place.left, one.place.width), *_span(one.place.top, one.place.height)) for one in views]
    columns = sorted({edge for left, right, _, _ in boxes for edge in (left, right)})
    rows = sorted({edge for _, _, top, bottom in boxes for edge in (top, bottom)})
    if len(columns) * len(rows) > MOST_CELLS:
        return []
    found: list[Cell] = []
    for top, bottom in pairwise(rows):
        row: list[Cell] = []
        for left, right in pairwise(columns):
            logits = [
                one.logit
                for one, box in zip(views, boxes, strict=True)
                if box[0] <= left and right <= box[1] and box[2] <= top and bottom <= box[3]
            ]
            if not logits:
                continue
            evidence = round(math.tanh(sum(logits) / len(logits) / 2), 3)
            if row and row[-1].evidence == evidence and row[-1].left + row[-1].width == left:
                row[-1] = replace(row[-1], width=right - row[-1].left)
            else:
                row.append(Cell(left, top, right - left, bottom - top, evidence))
        found += row
    return found


def _span(start: float, length: float) -> tuple[int, int]:
    """The first and last coordinate of a side, within the picture."""
    first, last = round(start * SIDE), round((start + length) * SIDE)
    return max(0, min(first, SIDE - 1)), max(1, min(max(last, first + 1), SIDE))
