"""The map of the parts that spoke for a verdict."""

import math

from edge.serve.evidence_map import SIDE, Cell, cells
from edge.verdict import Place, ViewLogit


def view(left: float, top: float, width: float, height: float, logit: float) -> ViewLogit:
    return ViewLogit(Place(left, top, width, height, 0), logit)


def test_one_view_has_no_map() -> None:
    assert cells([view(0, 0, 1, 1, 3.0)]) == []
    assert cells([]) == []


def test_halves_get_their_own_evidence() -> None:
    found = cells([view(0, 0, 0.5, 1, -2.0), view(0.5, 0, 0.5, 1, 2.0)])
    assert [(one.left, one.top, one.width, one.height) for one in found] == [(0, 0, 500, 1000), (500, 0, 500, 1000)]
    assert [one.evidence for one in found] == [round(math.tanh(-1), 3), round(math.tanh(1), 3)]


def test_overlap_gets_the_mean_and_the_rest_no_cell() -> None:
    found = cells([view(0, 0.25, 0.5, 0.5, 4.0), view(0.25, 0.25, 0.5, 0.5, 0.0)])
    assert found == [
        Cell(0, 250, 250, 500, round(math.tanh(2), 3)),
        Cell(250, 250, 250, 500, round(math.tanh(1), 3)),
        Cell(500, 250, 250, 500, 0.0),
    ]


def test_cells_stay_inside_the_picture_and_cover_each_part_once() -> None:
    views = [view(x / 7 - 0.01, y / 5, 0.3, 0.4, x - y) for x in range(7) for y in range(5)]
    found = cells(views)
    assert all(one.left >= 0 and one.left + one.width <= SIDE for one in found)
    assert all(one.top >= 0 and one.top + one.height <= SIDE for one in found)
    for a in found:
        for b in found:
            across = min(a.left + a.width, b.left + b.width) - max(a.left, b.left)
            down = min(a.top + a.height, b.top + b.height) - max(a.top, b.top)
            assert a is b or across <= 0 or down <= 0


def test_too_many_views_have_no_map() -> None:
    assert cells([view(index / 100, index / 100, 0.005, 0.005, 1.0) for index in range(90)]) == []
