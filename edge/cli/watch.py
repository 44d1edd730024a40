"""`edge-detect watch`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge.cli.commands import ReloadableCommand
from edge.cli.options import (
    EXIT_STATUS,
    FAILED,
    Seconds,
    lines,
    model_options,
    option,
    provenance_options,
    state_option,
)
from edge.cli.reload import run

if TYPE_CHECKING:
    from edge.daemon.lifecycle import Lifecycle
    from edge.stats import Stats
    from edge.watch.run import WatchSettings

PATTERN = "Examples: '*.jpg', 'drafts/*'. Case is ignored; may be repeated."


@click.command(
    cls=ReloadableCommand,
    epilog="\b\nExamples:\n  edge-detect watch ./inbox\n  edge-detect watch ./inbox --once --json > verdicts.jsonl\n"
    "  edge-detect watch ./inbox --sort-into ./sorted --on-fake 'notify-send Fake'"
    f"\n\n{EXIT_STATUS}",
)
@click.argument("folder", type=click.Path())
@option("--once", is_flag=True, help="Exit once every image in the folder is answered.")
@option("--recursive", "-r", is_flag=True, help="Include sub-folders.")
@option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
@option("--include", multiple=True, metavar="PATTERN", help=f"Classify only matching names. {PATTERN}")
@option("--exclude", multiple=True, metavar="PATTERN", help=f"Skip matching names. {PATTERN}")
@option(
    "--poll",
    type=Seconds(),
    metavar="N",
    help="List the folder every N seconds instead of using inotify; needed on NFS and SMB.",
)
@option(
    "--sort-into",
    type=click.Path(),
    metavar="DIR",
    help="Move each answered file to REAL, FAKE, UNSURE or UNREADABLE in DIR; a taken name gets a number.",
)
@option(
    "--reclassify",
    is_flag=True,
    help="Classify files again that another model answered, and replace their answers. Files that left the folder"
    " are not classified again.",
)
@option(
    "--log",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Append every answer to this file as JSON; it may be rotated.",
)
@option("--on-fake", metavar="COMMAND", help="Run this command for each FAKE: no shell, JSON on its standard input.")
@option(
    "--on-verdict",
    metavar="COMMAND",
    help="Run this command for every answer and error: no shell, JSON on its standard input.",
)
@option(
    "--command-seconds", default=60.0, show_default=True, type=Seconds(), help="Kill a command after this many seconds."
)
@option(
    "--decode-seconds",
    default=30.0,
    show_default=True,
    type=Seconds(),
    help="Limit of processor time to decode one image, in seconds.",
)
@option(
    "--workers",
    type=click.IntRange(1, 64),
    help="Number of processes that decode and classify.  [default: one for each core]",
)
@state_option
@provenance_options
@model_options
@click.pass_context
def watch(context: click.Context, /, once: bool, **settings: Any) -> None:
    """Classify what lies in a folder, then every new image in it.

    Each image is answered once, also across restarts: a file that stays the
    same, is touched or renamed gets no second answer; new content does.
    A change of the model brings second answers with --reclassify alone, one of
    --false-alarms or --no-unsure never.
    Without a terminal, SIGHUP reloads the settings file.
    """
    from edge.watch.run import watch as watch_folder

    def work(options: dict[str, Any], life: "Lifecycle") -> "Stats":
        life.once = once
        return watch_folder(_settings(options), life)

    stats, ended_by = run(context, settings, work)
    if once and ended_by is not None:
        sys.exit(128 + ended_by)  # the folder is not done
    sys.exit(FAILED if once and stats.failures else 0)


def _settings(options: dict[str, Any]) -> "WatchSettings":
    from edge.store.state import default_folder
    from edge.watch.run import WatchSettings

    as_json, state = options["as_json"], options["state"]
    return WatchSettings(**options | {"state": state or default_folder(), "as_json": as_json}, lines=lines(as_json))
