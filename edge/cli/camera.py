"""`edge-detect camera`."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge.cli.commands import ReloadableCommand
from edge.cli.options import Number, Seconds, lines, model_options, option, state_option
from edge.cli.reload import run

if TYPE_CHECKING:
    from edge.camera.run import CameraSettings

SHARE = Number(0, 1)


class Size(click.ParamType):  # type: ignore[type-arg]  # which click 8.1 has not
    """Parses WIDTHxHEIGHT, both in pixels."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> tuple[int, int]:
        width, by, height = str(value).lower().partition("x")
        if not (by and width.isdecimal() and height.isdecimal() and 0 < int(width) < 1e5 and 0 < int(height) < 1e5):
            self.fail(f"{value!r} is not a valid size; write it as 1280x720.", param, context)
        return int(width), int(height)


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
@option("--name", "called", metavar="NAME", help="Name the camera in every report.  [default: made of the source]")
@option("--interval", type=Seconds(), metavar="N", help="Classify one frame every N seconds.")
@option("--fps", type=Number(0.001, 1000), metavar="N", help="Classify N frames a second.")
@option("--max-frames", type=click.IntRange(1), metavar="N", help="Stop after N frames.")
@option("--size", type=Size(), metavar="WIDTHxHEIGHT", help="Resolution to request from the camera.")
@option(
    "--rotate",
    type=click.Choice(["0", "90", "180", "270"]),
    default="0",
    help="Rotate the frame clockwise, in degrees.",
)
@option("--flip", type=click.Choice(["horizontal", "vertical"]), help="Mirror the frame after rotation.")
@option(
    "--region", metavar="X,Y,W,H", help="Classify only this part of the frame, in pixels or per cent: 25%,0%,50%,100%."
)
@option(
    "--schedule", multiple=True, metavar="HH:MM-HH:MM", help="Classify only at these times of day; may be repeated."
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

    _settings(options)  # a mistake of the user's should show before anything is begun
    _, ended_by = run(context, options, lambda options, life: observe(_settings(options), life))
    is_unfinished = ended_by is not None and (options["max_frames"] or _settings(options).is_recording)
    sys.exit(128 + ended_by if ended_by is not None and is_unfinished else 0)


def _settings(options: dict[str, Any]) -> "CameraSettings":
    from edge.camera.event_detector import Rules
    from edge.camera.loop import Pace
    from edge.camera.run import CameraSettings
    from edge.camera.schedule import span
    from edge.camera.snapshots import SnapshotLimits
    from edge.capture import roi
    from edge.store.state import default_folder

    given = dict(options)
    source, called = given["source"], given["called"]
    if source is not None and not os.path.lexists(source):
        given["source"] = source.strip()  # it is no file's name
    if called is not None and (not called.isprintable() or not called.strip() or called.startswith("/")):
        raise click.UsageError("--name is printable text, which does not begin with a / as a folder does.")
    interval, fps = given.pop("interval"), given.pop("fps")
    if interval and fps:
        raise click.UsageError("--interval and --fps exclude each other.")
    enter, leave = given.pop("enter"), given.pop("leave")
    if leave > enter:
        raise click.UsageError("--leave must not be above --enter.")
    region, rotate, flip = given.pop("region"), int(given.pop("rotate")), given.pop("flip")
    as_json, state = given["as_json"], given["state"]
    return CameraSettings(
        view=roi.Roi(roi.region(region) if region else None, rotate, flip),  # type: ignore[arg-type]  # by Choice
        pace=Pace(interval or (1 / fps if fps else 0.0), given.pop("max_frames"), given.pop("record")),
        rules=Rules(enter, leave, given.pop("smooth"), given.pop("least"), given.pop("cool_down")),
        schedule=tuple(span(text) for text in given.pop("schedule")),
        limits=SnapshotLimits(
            given.pop("keep_mb") * 1_000_000, given.pop("keep_days") * 86_400, given.pop("free_mb") * 1_000_000
        ),
        lines=lines(as_json),
        **given | {"state": state or default_folder()},
    )
