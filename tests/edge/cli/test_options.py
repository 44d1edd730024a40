"""Types of options: values that are accepted, and one-line errors for the others."""

import click
import pytest

from edge.cli.options import Age, Number, OperatingPointName, Seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90.0), ("30m", 1800.0), ("2h", 7200.0), ("7d", 604_800.0), ("1w", 604_800.0), ("0.5h", 1800.0)],
)
def test_ages_are_converted_to_seconds(text: str, seconds: float) -> None:
    assert Age()(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "7", "soon", "-1h", "1.2.3s", "1 h", "1H", "."])
def test_invalid_ages_are_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is not a valid age; write it as 90s, 30m, 2h, 7d or 1w"):
        Age()(text)


@pytest.mark.parametrize("text", ["nan", "-1", "1e9", "many"])
def test_numbers_outside_of_their_range_are_refused(text: str) -> None:
    with pytest.raises(click.BadParameter):
        Number(0, 1)(text)
    with pytest.raises(click.BadParameter):
        Seconds()(text)


@pytest.mark.parametrize(("text", "name"), [("3", "3%"), ("3%", "3%"), (" 10 ", "10%"), ("best", "best")])
def test_percent_signs_of_operating_points_may_be_omitted(text: str, name: str) -> None:
    assert OperatingPointName()(text) == name
