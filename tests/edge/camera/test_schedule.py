"""The times of day at which a camera works."""

from datetime import datetime

import pytest

from edge.camera.schedule import is_open, span
from edge.errors import SettingsError


def at(hour: int, minute: int = 0) -> datetime:
    return datetime(2026, 3, 1, hour, minute)


def test_a_span_includes_its_beginning_and_excludes_its_end() -> None:
    day = span("08:00-20:00")

    assert [is_open([day], at(*when)) for when in ((7, 59), (8, 0), (19, 59), (20, 0))] == [False, True, True, False]


def test_a_span_that_ends_before_it_begins_passes_midnight() -> None:
    night = span("22:30-6:00")

    assert [is_open([night], at(*when)) for when in ((22, 29), (22, 30), (0, 0), (5, 59), (6, 0))] == [
        False,
        True,
        True,
        True,
        False,
    ]


def test_camera_works_within_any_span_and_always_without_spans() -> None:
    both = [span("08:00-09:00"), span("23:00-24:00")]

    assert [is_open(both, at(hour)) for hour in (8, 9, 23)] == [True, False, True]
    assert is_open([], at(3))


@pytest.mark.parametrize("text", ["", "8-20", "08:00", "25:00-26:00", "08:60-09:00", "08:00-08:00", "a:bc-d:ef", "\n"])
def test_invalid_span_is_a_one_line_error(text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        span(text)

    assert len(str(caught.value).splitlines()) == 1
