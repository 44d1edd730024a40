"""The command `edge-detect`; each sub-command has a module here.

Nothing heavy is imported at the top, so that `--help` and completion are fast.
"""

import gc
from collections.abc import Iterator, MutableMapping
from importlib import import_module
from pathlib import Path

import click

from edge import __version__
from edge.cli.commands import Group

# Each is a function in a module of its name.
COMMANDS = (
    "classify",
    "watch",
    "camera",
    "serve",
    "results",
    "provenance",
    "model",
    "status",
    "fleet",
    "service",
    "doctor",
    "benchmark",
    "completion",
)


class _OnDemand(MutableMapping[str, click.Command]):
    """The commands by name, each imported at its first use."""

    def __init__(self) -> None:
        self._loaded: dict[str, click.Command | None] = dict.fromkeys(COMMANDS)

    def __getitem__(self, name: str) -> click.Command:
        if (command := self._loaded[name]) is None:
            command = self._loaded[name] = getattr(import_module(f"{__name__}.{name}"), name)
        return command

    def __setitem__(self, name: str, command: click.Command) -> None:
        self._loaded[name] = command

    def __delitem__(self, name: str) -> None:
        del self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._loaded)

    def __len__(self) -> int:
        return len(self._loaded)


@click.group(cls=Group, commands=_OnDemand(), context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-V", "--version", prog_name="edge-detect")
@click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    envvar="EDGE_DETECT_CONFIG",
    help="Read settings from this TOML file, one table for each command.  [default: ~/.config/edge-detect.toml,"
    " else /etc/edge-detect.toml]",
)
@click.pass_context
def main(context: click.Context, config: Path | None) -> None:
    """Tell photographs (REAL) from AI-generated images (FAKE), offline, on this device.

    Each option can also be set in the settings file, or in the environment: --poll by EDGE_DETECT_POLL.

    \b
    Examples:
      edge-detect classify photo.jpg
      edge-detect watch ./inbox
      edge-detect camera --tpu
      edge-detect doctor
    """
    from edge.cli.config_file import read, require_known_variables
    from edge.errors import SettingsError

    if context.invoked_subcommand != "classify":  # which begins without garbage collection
        gc.enable()

    try:
        require_known_variables(main)
        context.default_map = read(config, main)
    except SettingsError:
        if context.invoked_subcommand != "doctor":  # which reports them
            raise
