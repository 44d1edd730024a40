"""The command `edge-detect`: parse, call, print, exit; a file for each command.

Nothing heavy is imported at the top: `--help` and completion need none of it.
"""

from pathlib import Path

import click

from edge import __version__
from edge.cli.benchmark import benchmark
from edge.cli.classify import classify
from edge.cli.completion import completion
from edge.cli.results import results
from edge.cli.service import service
from edge.cli.status import status
from edge.cli.watch import watch
from edge.commands import Group


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-V", "--version", prog_name="edge-detect")
@click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    envvar="EDGE_DETECT_CONFIG",
    help="Settings, a table for each command.  [default: ~/.config/edge-detect.toml, else /etc/edge-detect.toml]",
)
@click.pass_context
def main(context: click.Context, config: Path | None) -> None:
    """Tell photographs (REAL) from AI-generated images (FAKE), offline, on this device.

    Each option can also be set in the settings file, or in the environment: --poll by EDGE_DETECT_POLL.

    \b
    Examples:
      edge-detect classify photo.jpg
      edge-detect watch ./inbox
    """
    from edge.settings import read, require_known_variables

    require_known_variables(main)
    context.default_map = read(config, main)


for _command in (classify, watch, results, status, service, benchmark, completion):
    main.add_command(_command)
