"""`edge-detect watch`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge.cli.commands import ReloadableCommand
from edge.cli.options import EXIT_STATUS, FAILED, Seconds, lines, model_options, option, state_option
from edge.cli.reload import run

if TYPE_CHECKING:
    from edge.watch.run import WatchSettings

PATTERN = "Such as '*.jpg', or 'drafts/*' below the folder; capitals count for nothing; may be repeated."


@click.command(
    cls=ReloadableCommand,
    epilog="\b\nExamples:\n  edge-detect watch ./inbox\n  edge-detect watch ./inbox --once --json > verdicts.jsonl\n"
    "  edge-detect watch ./inbox --sort-into ./sorted --on-fake 'notify-send Fake'"
    f"\n\n{EXIT_STATUS}",
)
@click.argument("folder", type=click.Path())
@option("--once", is_flag=True, help="Stop when every image in the folder is answered.")
@option("--recursive", "-r", is_flag=True, help="Look into sub-folders too.")
@option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@option("--include", multiple=True, metavar="PATTERN", help=f"Look at these names alone. {PATTERN}")
@option("--exclude", multiple=True, metavar="PATTERN", help=f"Leave these names alone. {PATTERN}")
@option(
    "--poll",
    type=Seconds(),
    metavar="SECONDS",
    help="List the folder so often, instead of waiting for the kernel's word: for NFS and SMB.",
)
@option(
    "--sort-into",
    type=click.Path(),
    metavar="DIR",
    help="Move each file to REAL, FAKE or UNSURE in there, what is no image to UNREADABLE; where its name is taken, a"
    " number is added to it.",
)
@option(
    "--reclassify",
    is_flag=True,
    help="Answer files again that another model has answered: the new answer takes the place of the former one, and"
    " goes to every output. Files that were moved out of the folder, by --sort-into say, are left alone.",
)
@option("--log", type=click.Path(path_type=Path), metavar="FILE", help="Append every answer, as JSON; may be rotated.")
@option("--on-fake", metavar="COMMAND", help="Run it for each FAKE, without a shell, the JSON on its standard input.")
@option("--on-verdict", metavar="COMMAND", help="The same for every answer, errors too.")
@option("--command-seconds", default=60.0, show_default=True, type=Seconds(), help="Time limit of each.")
@option("--decode-seconds", default=30.0, show_default=True, type=Seconds(), help="Processor time for an image.")
@option("--workers", type=click.IntRange(1, 64), help="Processes that decode.  [default: one a core, memory allowing]")
@state_option
@model_options
@click.pass_context
def watch(context: click.Context, /, once: bool, **settings: Any) -> None:
    """Classify what lies in a folder, then every new image in it.

    Each image is answered once, also across restarts: a file that stays the
    same, is touched or renamed gets no second answer; new content does.
    A change of the model brings second answers with --reclassify alone, one of
    --false-alarms or --no-unsure never.
    Without a terminal, SIGHUP reads the settings file anew.
    """
    from edge.watch.run import watch as watch_folder

    stats, ended_by = run(
        context,
        settings,
        lambda options, requests, notifier, begun: watch_folder(
            _settings(options), requests, notifier, begun, once=once
        ),
    )
    if once and ended_by is not None:
        sys.exit(128 + ended_by)  # the folder is not done
    sys.exit(FAILED if once and stats.failures else 0)


def _settings(options: dict[str, Any]) -> "WatchSettings":
    from edge.record.state import default_folder
    from edge.watch.run import WatchSettings

    as_json, state = options["as_json"], options["state"]
    return WatchSettings(**options | {"state": state or default_folder(), "as_json": as_json}, lines=lines(as_json))
