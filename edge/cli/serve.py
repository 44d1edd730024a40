"""`edge-detect serve`."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge.cli.commands import ReloadableCommand
from edge.cli.options import model_options, option, provenance_options
from edge.cli.reload import run

if TYPE_CHECKING:
    from edge.daemon.lifecycle import Lifecycle
    from edge.serve.settings import ServeSettings
    from edge.stats import Stats


MQTT_OPTIONS = ("mqtt", "mqtt_prefix", "mqtt_ca", "mqtt_node")


def mqtt_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: the options of the MQTT broker."""
    for decorate in (
        option(
            "--mqtt-node",
            metavar="NAME",
            help="Name this board at the broker: letters, digits and hyphens.  [default: the host name]",
        ),
        option(
            "--mqtt-ca",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="Check the broker's certificate with the certificates (PEM) of this file.  [default: the system's]",
        ),
        option(
            "--mqtt-prefix",
            default="edge-detect",
            show_default=True,
            metavar="TOPIC",
            help="Begin every topic at the broker with this text, but those by which Home Assistant discovers devices.",
        ),
        option(
            "--mqtt",
            metavar="URL",
            help="Publish answers to this MQTT broker, for Home Assistant: mqtt://user:password@host, or mqtts:// for"
            " TLS. Others can read a password on the command line; write the address into the settings file.",
        ),
    ):
        command = decorate(command)
    return command


@click.command(
    cls=ReloadableCommand,
    epilog="\b\nExamples:\n  edge-detect serve\n  edge-detect serve --host 0.0.0.0"
    "\n  edge-detect serve --base-path /edge --allow-host board.example.org --token-file token"
    "\n\nExit status: 0 stopped, 2 the server cannot start.",
)
@option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    metavar="ADDRESS",
    help="Listen at this address: 0.0.0.0 or :: for all. Any address but this machine's own (127.0.0.1) needs a token.",
)
@option("--port", default=8642, show_default=True, type=click.IntRange(0, 65535), help="Listen at this TCP port.")
@option(
    "--base-path",
    default="",
    metavar="PATH",
    help="Serve everything below this path, such as /edge, behind a reverse proxy.",
)
@option(
    "--allow-host",
    multiple=True,
    metavar="NAME",
    help="Answer requests for this host name too, such as that of a reverse proxy; may be repeated. Needs a token.",
)
@option(
    "--token-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Require the token of this file. If the file is missing, a token is generated, printed once, and its digest is"
    " stored there.  [default: `token` in the folder of the server, if one is needed]",
)
@option(
    "--state",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Show the ledger of answers in this folder.  [default: all of this account and of the services]",
)
@mqtt_options
@provenance_options
@model_options
@click.pass_context
def serve(context: click.Context, /, **settings: Any) -> None:
    """Serve pages, an API and metrics over HTTP, and classify uploaded images.

    Without a terminal, SIGHUP reloads the settings file.
    """
    from edge.requirements import SERVE, load

    for module in SERVE:
        load(module)
    from edge.serve.run import run as run_server

    def work(options: dict[str, Any], life: "Lifecycle") -> "Stats":
        return run_server(_settings(options), life)

    run(context, settings, work)


def _settings(options: dict[str, Any]) -> "ServeSettings":
    from edge.requirements import load
    from edge.serve.mqtt.settings import of_options
    from edge.serve.settings import ServeSettings, base_path

    mqtt = of_options(options)
    if mqtt is not None:
        load("paho.mqtt")
    others = {name: value for name, value in options.items() if name not in MQTT_OPTIONS}
    return ServeSettings(**others | {"base_path": base_path(options["base_path"]), "mqtt": mqtt})
