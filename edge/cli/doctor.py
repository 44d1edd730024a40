"""`edge-detect doctor`."""

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge.cli.options import option, runtime_option

if TYPE_CHECKING:
    from edge.doctor.finding import Finding
    from edge.fleet.server import ServerSettings
    from edge.serve.mqtt.settings import MqttSettings

COLOURS = {"ok": "green", "absent": None, "warning": "yellow", "problem": "red"}
STATE_WIDTH, NAME_WIDTH = 9, 16


@click.command(
    epilog="\b\nExamples:\n  edge-detect doctor\n  sudo edge-detect doctor --json > report.json\n\n"
    "Exit status: 0 no problem, 1 a problem was found, 2 the check itself failed."
)
@option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@option(
    "--model",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Check this .tflite file too, and run it instead of the bundled models.",
)
@runtime_option
@option(
    "--state",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Check this state folder and its ledger.  [default: the folder of `watch`]",
)
@click.pass_context
def doctor(context: click.Context, as_json: bool, model: Path | None, runtime: str | None, state: Path | None) -> None:
    """Check this board and installation, and print a fix for each problem.

    Nothing is changed, and nothing is sent, but that it logs in to the MQTT broker
    of `serve` and to the server of `fleet`, if one is set. A line is ok, absent
    (optional and not there), a warning or a problem.
    """
    from edge import __version__
    from edge.cli.options import lines
    from edge.doctor.checks import findings
    from edge.doctor.choices import Choices
    from edge.doctor.finding import PROBLEM, WARNING, worst
    from edge.doctor.host import Host

    lines(as_json)  # sets up the streams for names that the terminal's encoding lacks
    choices = Choices(
        model, runtime, state, lambda: _settings(context), fleet=lambda: _fleet(context), mqtt=lambda: _mqtt(context)
    )
    found = []
    for finding in findings(Host(), choices):
        found.append(finding)
        if not as_json:
            _show(finding)
    if as_json:
        report = {"version": __version__, "state": worst(found), "checks": [finding.as_json() for finding in found]}
        click.echo(json.dumps(report, indent=1))
    else:
        problems, warnings = (sum(finding.state == state for finding in found) for state in (PROBLEM, WARNING))
        click.echo(f"\nedge-detect {__version__}: {_number(problems, 'problem')}, {_number(warnings, 'warning')}")
    sys.exit(1 if worst(found) == PROBLEM else 0)


def _show(finding: "Finding") -> None:
    state, colour = finding.state.ljust(STATE_WIDTH), COLOURS[finding.state]
    if colour and sys.stdout.isatty() and not os.environ.get("NO_COLOR"):
        state = click.style(state, colour, bold=colour == "red")
    # Not click.echo, which writes UTF-8 even to a terminal whose encoding is ASCII.
    print(f"{state}{finding.name.ljust(NAME_WIDTH)}{finding.found}")
    if finding.fix:
        print(f"{'':{STATE_WIDTH + NAME_WIDTH}}-> {finding.fix}")
    sys.stdout.flush()  # the next check may take long


def _number(count: int, what: str) -> str:
    return f"{count or 'no'} {what}{'' if count == 1 else 's'}"


def _settings(context: click.Context) -> str:
    """The settings file in words. It is read again here: a mistake in it did not stop this command."""
    from edge.cli.config_file import default_file, read, require_known_variables

    root = context.find_root()
    assert isinstance(root.command, click.Group)
    require_known_variables(root.command)
    named: Path | None = root.params["config"]
    read(named, root.command)
    path = named or default_file()
    return f"{path}, valid" if path else "no file; none is needed"


def _fleet(context: click.Context) -> "ServerSettings | None":
    """How to reach the fleet's server; None if neither the settings file nor the environment names one."""
    from edge.cli.fleet import configured

    return configured((context.find_root().default_map or {}).get("fleet") or {})


def _mqtt(context: click.Context) -> "MqttSettings | None":
    """The MQTT broker that `serve` would use with this settings file and environment."""
    from edge.cli.commands import PREFIX
    from edge.cli.config_file import read
    from edge.cli.serve import MQTT_OPTIONS
    from edge.serve.mqtt.settings import of_options

    root = context.find_root()
    assert isinstance(root.command, click.Group)
    values = dict(read(root.params["config"], root.command).get("serve", {}))
    values |= {name: text for name in MQTT_OPTIONS if (text := os.environ.get(f"{PREFIX}{name.upper()}"))}
    return of_options(values)
