"""Types of options: values that are accepted, and one-line errors for the others."""

from typing import Any

import click
import pytest

from edge.camera.schedule import span
from edge.capture.roi import Length, Region
from edge.cli.camera import CameraName, RegionOfFrame, Rotation, Size, SpanOfDay
from edge.cli.camera import camera as camera_command
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


@pytest.mark.parametrize(
    ("type_", "text", "value"),
    [
        (RegionOfFrame(), "25%,0,50%,80", Region(Length(25, True), Length(0), Length(50, True), Length(80))),
        (RegionOfFrame(), "", None),
        (Rotation(), "270", 270),
        (SpanOfDay(), "22:30-6:00", span("22:30-06:00")),
        (Size(), "1280X720", (1280, 720)),
        (CameraName(), "front door", "front door"),
    ],
)
def test_camera_options_are_parsed_to_values(type_: Any, text: str, value: object) -> None:
    assert type_(text) == value


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("region", "0,0,9", "0,0,9: invalid region; write X,Y,WIDTH,HEIGHT in pixels, or in per cent as"),
        ("region", "0,0,5,\n", "0,0,5,\\n: invalid region; write X,Y,WIDTH,HEIGHT"),
        ("region", "0,0,0,9", "0,0,0,9: invalid region; width and height must be above 0."),
        ("schedule", "8-9", "8-9: invalid time span; write it as 08:00-20:00."),
        ("schedule", "08:00-8:00", "08:00-8:00: invalid time span; its beginning and its end are the same."),
        ("rotate", "45", "'45' is not one of '0', '90', '180', '270'."),
        ("size", "0x5", "'0x5' is not a valid size; write it as 1280x720."),
        ("name", "/srv/in", "'/srv/in' is not a valid name; use printable text that does not begin with a /."),
        ("name", " ", "' ' is not a valid name"),
        ("name", "a\nb", "'a\\nb' is not a valid name"),
    ],
)
@pytest.mark.parametrize("place", ["option", "settings file"])
def test_invalid_camera_option_is_a_one_line_error_that_names_the_option(
    name: str, value: str, reason: str, place: str
) -> None:
    arguments = [f"--{name}={value}"] if place == "option" else []
    parameters = {str(option.opts[0]): str(option.name) for option in camera_command.params}
    settings = {} if place == "option" else {parameters[f"--{name}"]: [value] if name == "schedule" else value}
    with pytest.raises(click.BadParameter) as caught:
        camera_command.make_context("camera", arguments, default_map=settings)
    (line,) = caught.value.format_message().splitlines()
    assert line.startswith(f"Invalid value for '--{name}'")
    assert reason in line
