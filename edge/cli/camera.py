"""`edge-detect camera`."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge.cli.commands import Choice, ParamType, ReloadableCommand
from edge.cli.options import Number, Seconds, lines, model_options, option, state_option
from edge.cli.reload import run
from edge.errors import RoiError, SettingsError

if TYPE_CHECKING:
    from edge.camera.run import CameraSettings
    from edge.camera.schedule import Span
    from edge.capture.roi import Region

SHARE = Number(0, 1)


class CameraName(ParamType):
    """Parses the name of a camera. One that begins with a slash could be that of a watched folder."""

    name = "name"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> str:
        text = str(value)
        if not text.isprintable() or not text.strip() or text.startswith("/"):
            self.fail(
                f"{value!r} is not a valid name; use printable text that does not begin with a /.", param, context
            )
        return text


class Size(ParamType):
    """Parses WIDTHxHEIGHT, both in pixels."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> tuple[int, int]:
        width, by, height = str(value).lower().partition("x")
        if not (by and width.isdecimal() and height.isdecimal() and 0 < int(width) < 1e5 and 0 < int(height) < 1e5):
            self.fail(f"{value!r} is not a valid size; write it as 1280x720.", param, context)
        return int(width), int(height)


class RegionOfFrame(ParamType):
    """Parses X,Y,WIDTH,HEIGHT, each in pixels or per cent. An empty text is the whole frame, None."""

    name = "region"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> "Region | None":
        from edge.capture.roi import region

        try:
            return region(str(value)) if value else None
        except RoiError as error:
            self.fail(f"{error}.", param, context)


class Rotation(Choice):
    """Parses 0, 90, 180 or 270 degrees."""

    def __init__(self) -> None:
        super().__init__(["0", "90", "180", "270"])

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> int:
        return int(super().convert(str(value), param, context))


class SpanOfDay(ParamType):
    """Parses HH:MM-HH:MM."""

    name = "span"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> "Span":
        from edge.camera.schedule import span

        try:
            return span(str(value))
        except SettingsError as error:
            self.fail(f"{error}.", param, context)


@click.command(
    cls=ReloadableCommand,
    epilog="\b\nExamples:\n  edge-detect camera\n  edge-detect camera --source rtsp://camera.local/stream --fps 2"
    " --snapshots ./seen\n  edge-detect camera --source clip.mp4 --json"
    "\n\nExit status: 0 stopped, or at the end of a recording; 2 the work could not be done; 129, 130 or 143 a signal"
    " ended a recording early.",
)
@option(
    "--source",
    metavar="SOURCE",
    help="Read frames from: picamera2, picamera2:1, /dev/video0, rtsp://..., a video file, an image or a folder."
    "  [default: the Pi's camera, else the first webcam]",
)
@option(
    "--name",
    "called",
    type=CameraName(),
    metavar="NAME",
    help="Name the camera in every report.  [default: made of the source]",
)
@option(
    "--transport",
    type=click.Choice(["auto", "tcp", "udp"]),
    default="auto",
    show_default=True,
    help="Transport of an RTSP stream; auto takes UDP if the camera refuses TCP.",
)
@option(
    "--connect-seconds",
    default=20.0,
    show_default=True,
    type=Number(1, 40),
    help="Time limit for the first answer of a network camera, in seconds.",
)
@option("--interval", type=Seconds(), metavar="N", help="Classify one frame every N seconds.")
@option("--fps", type=Number(0.001, 1000), metavar="N", help="Classify N frames a second.")
@option("--max-frames", type=click.IntRange(1), metavar="N", help="Stop after N frames.")
@option("--size", type=Size(), metavar="WIDTHxHEIGHT", help="Resolution to request from the camera.")
@option("--rotate", type=Rotation(), default="0", help="Rotate the frame clockwise, in degrees.")
@option("--flip", type=click.Choice(["horizontal", "vertical"]), help="Mirror the frame after rotation.")
@option(
    "--region",
    type=RegionOfFrame(),
    metavar="X,Y,W,H",
    help="Classify only this part of the frame, in pixels or per cent: 25%,0%,50%,100%.",
)
@option(
    "--schedule",
    type=SpanOfDay(),
    multiple=True,
    metavar="HH:MM-HH:MM",
    help="Classify only at these times of day; may be repeated.",
)
@option("--event", metavar="LABEL", help="Report events of this label: FAKE or REAL.  [default: FAKE]")
@option("--enter", default=0.8, show_default=True, type=SHARE, help="Smoothed probability at which an event begins.")
@option("--leave", default=0.5, show_default=True, type=SHARE, help="Smoothed probability at which an event ends.")
@option(
    "--smooth", default=1.0, show_default=True, type=Number(0, 3600), help="Time constant of the smoothing, in seconds."
)
@option(
    "--least",
    default=1.0,
    show_default=True,
    type=Number(0, 3600),
    help="Seconds that an event must last to be reported.",
)
@option(
    "--cool-down",
    default=10.0,
    show_default=True,
    type=Number(0, 86_400),
    help="Seconds after an event in which none begins.",
)
@option(
    "--snapshots",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Save a picture of each event's beginning and peak.",
)
@option("--plain", is_flag=True, help="Save snapshots without the verdict drawn below them.")
@option(
    "--keep-mb",
    default=1000,
    show_default=True,
    type=click.IntRange(1),
    help="Delete the oldest snapshots above this total size, in MB.",
)
@option(
    "--keep-days",
    default=30.0,
    show_default=True,
    type=Number(0.001, 36_500),
    help="Delete snapshots and recorded frames older than this many days.",
)
@option(
    "--free-mb",
    default=500,
    show_default=True,
    type=click.IntRange(0),
    help="Delete the oldest snapshots while the disk has less than this many MB free.",
)
@option(
    "--record",
    type=Number(0, 86_400),
    metavar="N",
    help="Report the verdict of one frame every N seconds, beside the events.",
)
@option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
@option(
    "--log",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Append every report to this file as JSON; it may be rotated.",
)
@option(
    "--on-fake",
    metavar="COMMAND",
    help="Run this command when a FAKE event begins: no shell, JSON on its standard input.",
)
@option(
    "--on-verdict", metavar="COMMAND", help="Run this command for every report: no shell, JSON on its standard input."
)
@option(
    "--command-seconds", default=60.0, show_default=True, type=Seconds(), help="Kill a command after this many seconds."
)
@state_option
@model_options
@click.pass_context
def camera(context: click.Context, /, **options: Any) -> None:
    """Classify the newest frames of a camera, and report events.

    An event begins when the smoothed probability of FAKE has been high for a
    while, and ends when it has fallen. It is recorded like the answers of
    `watch`, with its peak and a snapshot. A frame goes to the model that was
    measured on pictures of its size; one that is UNSURE begins no event.
    """
    from edge.camera.run import observe

    settings = _settings(options)
    _, ended_by = run(context, options, lambda options, life: observe(_settings(options), life))
    has_end = settings.is_recording or settings.pace.max_frames is not None
    sys.exit(128 + ended_by if ended_by is not None and has_end else 0)


def _settings(options: dict[str, Any]) -> "CameraSettings":
    """The settings of a camera.

    Args:
        options: the command's options, already parsed.

    Raises:
        SettingsError: two options contradict each other.
    """
    from edge.camera.event_detector import Rules
    from edge.camera.loop import Pace
    from edge.camera.run import CameraSettings
    from edge.camera.snapshots import SnapshotLimits
    from edge.capture.libav import StreamSettings
    from edge.capture.roi import Roi
    from edge.store.state import default_folder

    # A SettingsError, not a click.UsageError: after a reload it must leave the camera running with its old settings.
    if options["interval"] and options["fps"]:
        raise SettingsError("--interval and --fps exclude each other")
    if options["leave"] > options["enter"]:
        raise SettingsError("--leave must not be above --enter")
    return CameraSettings(
        router=options["router"],
        source=_source(options["source"]),
        called=options["called"],
        size=options["size"],
        stream=StreamSettings(transport=options["transport"], connect_seconds=options["connect_seconds"]),
        view=Roi(region=options["region"], rotate=options["rotate"], flip=options["flip"]),
        pace=Pace(
            interval_seconds=options["interval"] or (1 / options["fps"] if options["fps"] else 0.0),
            max_frames=options["max_frames"],
            record_seconds=options["record"],
        ),
        schedule=options["schedule"],
        event=options["event"],
        rules=Rules(
            enter=options["enter"],
            leave=options["leave"],
            smooth_seconds=options["smooth"],
            least_seconds=options["least"],
            cool_down_seconds=options["cool_down"],
        ),
        snapshots=options["snapshots"],
        plain=options["plain"],
        limits=SnapshotLimits(
            bytes=options["keep_mb"] * 1_000_000,
            seconds=options["keep_days"] * 86_400,
            free_bytes=options["free_mb"] * 1_000_000,
        ),
        state=options["state"] or default_folder(),
        lines=lines(options["as_json"]),
        as_json=options["as_json"],
        log=options["log"],
        on_fake=options["on_fake"],
        on_verdict=options["on_verdict"],
        command_seconds=options["command_seconds"],
    )


def _source(source: str | None) -> str | None:
    """An address or a device without the spaces around it; a file's name may have such spaces and keeps them."""
    return source if source is None or os.path.lexists(source) else source.strip()
