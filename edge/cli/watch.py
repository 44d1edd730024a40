"""`edge-detect watch`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge.cli.options import EXIT_STATUS, FAILED, Seconds, lines, model_options, option, state_option, with_classifier
from edge.commands import ReloadableCommand, read_again

if TYPE_CHECKING:
    from edge.watching import Settings

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
    help="Move each file to REAL or FAKE in there, what is no image to UNREADABLE.",
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
    Without a terminal, SIGHUP reads the settings file anew.
    """
    from edge.errors import EdgeDetectError
    from edge.service.notify import Notifier
    from edge.signals import noted
    from edge.watching import watch as watch_folder

    notifier = Notifier()
    former: dict[str, Any] | None = None  # to fall back on, until the new settings have proved to be good

    def begun() -> None:
        nonlocal former
        former = None
        notifier.ready()

    with noted() as requests:
        while True:
            try:
                tally = watch_folder(_settings(settings), requests, notifier, begun, once=once)
            except EdgeDetectError as error:
                if former is None:
                    raise
                click.echo(f"edge-detect: the settings stay as they were: {error}", err=True)
                settings, former = former, None
                continue
            if not requests.reload or requests.ended_by is not None:
                break
            notifier.reloading()
            former, settings = settings, _read_again(context) or settings
            requests.reloaded()
        notifier.stopping()
    if once and requests.ended_by is not None:
        sys.exit(128 + requests.ended_by)  # the folder is not done
    sys.exit(FAILED if once and tally.failures else 0)


def _settings(options: dict[str, Any]) -> "Settings":
    from edge.state import default_folder
    from edge.watching import Settings

    as_json, state = options["as_json"], options["state"]
    return Settings(**options | {"state": state or default_folder(), "as_json": as_json}, lines=lines(as_json))


def _read_again(context: click.Context) -> dict[str, Any] | None:
    """The options with what the settings file says now; None, and a line that says why, if that is no good."""
    from edge.errors import EdgeDetectError
    from edge.settings import read

    group = context.find_root()
    former = group.default_map
    try:
        assert isinstance(group.command, click.Group)
        group.default_map = read(group.params["config"], group.command)
        options = read_again(context)
    except (click.ClickException, EdgeDetectError) as error:
        group.default_map = former
        text = error.format_message() if isinstance(error, click.ClickException) else str(error)
        click.echo(f"edge-detect: the settings stay as they were: {text}", err=True)
        return None
    return with_classifier({name: value for name, value in options.items() if name != "once"})
