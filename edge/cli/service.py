"""`edge-detect service`."""

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from edge.cli.commands import OptionalValuesCommand
from edge.cli.options import TPU, Seconds

if TYPE_CHECKING:
    from edge.service.units import Service

MODEL = click.option("--model", type=click.Path(), metavar="FILE", help="Use this .tflite file for every image.")
CORAL = click.option("--tpu", help="Run the model on a Coral Edge TPU.", **TPU)
DRY_RUN = click.option("--dry-run", is_flag=True, help="Print the steps without doing them.")


def shared_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options of the services for folders and cameras, named as those of the commands that they run."""
    for option in (
        DRY_RUN,
        MODEL,
        CORAL,
        click.option("--on-verdict", metavar="COMMAND", help="Run this command for every answer."),
        click.option("--on-fake", metavar="COMMAND", help="Run this command for each FAKE."),
        click.option("--log", type=click.Path(), metavar="FILE", help="Append every answer to this file as JSON."),
    ):
        command = option(command)
    return command


@click.group(
    epilog="\b\nExamples:\n  sudo edge-detect service install watch /srv/inbox --sort-into /srv/sorted\n"
    "  edge-detect service status\n  sudo edge-detect service uninstall",
)
def service() -> None:
    """Install, inspect or remove the systemd services."""


@service.group()
def install() -> None:
    """Install and start a service: account, unit, settings, folders.

    To change an installed service, run it again with all options.
    """


@install.command(
    "watch", cls=OptionalValuesCommand, epilog="Example: sudo edge-detect service install watch /srv/inbox"
)
@click.argument("folder", type=click.Path())
@click.option("--include", multiple=True, metavar="PATTERN", help="Classify only matching names; may be repeated.")
@click.option("--exclude", multiple=True, metavar="PATTERN", help="Skip matching names; may be repeated.")
@click.option("--poll", type=Seconds(), metavar="N", help="List the folder every N seconds; needed on NFS and SMB.")
@click.option(
    "--sort-into", type=click.Path(), metavar="DIR", help="Move each answered file to its label's folder in DIR."
)
@shared_options
def install_watch(folder: str, dry_run: bool, **options: Any) -> None:
    """Install a service that watches FOLDER, also after a reboot."""
    from edge.service.units import Watch

    for pattern in (*options["include"], *options["exclude"]):
        if len(pattern.split()) != 1:  # an environment variable separates patterns by spaces
            raise click.UsageError(f"{pattern!r} is empty or has a space: set it in /etc/edge-detect.toml instead.")
    variables, elsewhere = _variables(options, "sort_into", "log")
    _install(Watch(os.path.abspath(folder), elsewhere, variables), dry_run=dry_run)


@install.command("camera", cls=OptionalValuesCommand, epilog="Example: sudo edge-detect service install camera --tpu")
@click.option("--source", metavar="SOURCE", help="Read frames from this camera, address or file.")
@click.option(
    "--snapshots", type=click.Path(), metavar="DIR", help="Save a picture of each event's beginning and peak."
)
@shared_options
def install_camera(dry_run: bool, **options: Any) -> None:
    """Install a service that classifies camera frames, also after a reboot."""
    from edge.service.units import Camera

    variables, folders = _variables(options, "snapshots", "log")
    _install(Camera(folders, variables), dry_run=dry_run)


@install.command(
    "serve", cls=OptionalValuesCommand, epilog="Example: sudo edge-detect service install serve --host 0.0.0.0"
)
@click.option(
    "--host", metavar="ADDRESS", help="Listen at this address: 0.0.0.0 or :: for all.  [default: 127.0.0.1, no token]"
)
@click.option("--port", type=click.IntRange(1, 65535), help="Listen at this TCP port.  [default: 8642]")
@click.option("--base-path", metavar="PATH", help="Serve everything below this path, behind a reverse proxy.")
@click.option("--allow-host", multiple=True, metavar="NAME", help="Answer to this host name too; may be repeated.")
@click.option("--mqtt", metavar="URL", help="Publish answers to this MQTT broker: mqtts://user:password@host.")
@click.option("--mqtt-prefix", metavar="TOPIC", help="Begin every topic with this text.  [default: edge-detect]")
@click.option("--mqtt-ca", type=click.Path(), metavar="FILE", help="Check the broker by the certificates of this file.")
@click.option("--mqtt-node", metavar="NAME", help="Name this board at the broker.  [default: the host name]")
@CORAL
@MODEL
@DRY_RUN
def install_serve(dry_run: bool, **options: Any) -> None:
    """Install a service with the pages and the API, also after a reboot.

    For any address but 127.0.0.1, and with --allow-host, it makes a token, and prints it once.
    """
    from edge.requirements import SERVE, load
    from edge.serve.mqtt.settings import of_options
    from edge.serve.settings import base_path
    from edge.service.units import Serve

    for module in SERVE:
        load(module)
    options["base_path"] = base_path(options["base_path"] or "")
    for name in options["allow_host"]:
        if len(name.split()) != 1:  # an environment variable separates names by spaces
            raise click.UsageError(f"--allow-host {name!r}: not a host name")
    if of_options(options) is not None:
        load("paho.mqtt")
    variables, _ = _variables(options | {"mqtt_ca": options["mqtt_ca"] and os.path.abspath(options["mqtt_ca"])})
    what = Serve(variables)
    _install(what, dry_run=dry_run)


def _variables(options: dict[str, Any], *writable: str) -> tuple[dict[str, str], tuple[str, ...]]:
    """The options as environment variables with absolute paths, and the folders of the options named in `writable`."""
    absolute = dict(options)
    for name in ("model", *writable):
        absolute[name] = os.path.abspath(options[name]) if options.get(name) else None
    paths = {name: absolute[name] for name in writable if absolute[name]}
    folders = [os.path.dirname(path) if name == "log" else path for name, path in paths.items()]
    variables = {
        f"EDGE_DETECT_{name.upper()}": " ".join(value) if isinstance(value, tuple) else str(value)
        for name, value in absolute.items()
        if value
    }
    return variables, tuple(dict.fromkeys(folders))


def _install(what: "Service", *, dry_run: bool) -> None:
    from edge.service.install import Installer, Places

    Installer(Places(), click.echo, dry_run=dry_run).install(what)
    if not dry_run:
        click.echo(f"{what.unit} is running; see what it does by: journalctl -u '{what.unit}' -f")


@service.command(epilog="Example: sudo edge-detect service uninstall watch /srv/inbox")
@click.argument("kind", required=False, type=click.Choice(["watch", "camera", "serve"]))
@click.argument("folder", required=False, type=click.Path())
@DRY_RUN
def uninstall(kind: str | None, folder: str | None, dry_run: bool) -> None:
    """Remove the service of one folder, of the camera or of the pages; without arguments, all.

    The ledger stays in /var/lib/edge-detect, and no image is touched.
    """
    from edge.service.install import Installer, Places
    from edge.service.units import CAMERA_UNIT, SERVE_UNIT, Watch

    if (kind == "watch") != (folder is not None):
        raise click.UsageError("Name the folder: service uninstall watch FOLDER")
    units = {"camera": CAMERA_UNIT, "serve": SERVE_UNIT}
    unit = Watch(os.path.abspath(folder)).unit if folder else units.get(kind or "")
    Installer(Places(), click.echo, dry_run=dry_run).uninstall(unit)


@service.command("status", epilog="Exit status: that of systemctl.")
def status_of_units() -> None:
    """Show systemd's status of the services."""
    from edge.errors import ServiceError

    try:
        import subprocess  # here: `--help` starts faster without

        done = subprocess.run(["systemctl", "--no-pager", "--full", "status", "edge-detect-*"], check=False)
    except OSError as error:
        raise ServiceError("systemctl: systemd is not installed here") from error
    sys.exit(done.returncode)


@service.command(epilog="Example: edge-detect service show | sudo tee /etc/systemd/system/edge-detect-watch@.service")
def show() -> None:
    """Print the unit file for a watched folder, with the path of this installation."""
    from edge.service.units import WATCH_UNIT, unit_text

    click.echo(unit_text(WATCH_UNIT), nl=False)
