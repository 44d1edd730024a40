"""`edge-detect service`."""

import os
import subprocess
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from edge.cli.commands import OptionalValuesCommand
from edge.cli.options import TPU, Seconds

if TYPE_CHECKING:
    from edge.service.units import Service

DRY_RUN = click.option("--dry-run", is_flag=True, help="Print the steps without doing them.")


def shared_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options of both services, named as those of the commands that they run."""
    for option in (
        DRY_RUN,
        click.option("--model", type=click.Path(), metavar="FILE", help="Use this .tflite file for every image."),
        click.option("--tpu", help="Run the model on a Coral Edge TPU.", **TPU),
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


def _variables(options: dict[str, Any], *writable: str) -> tuple[dict[str, str], tuple[str, ...]]:
    """The options as environment variables with absolute paths, and the folders of the options named in `writable`."""
    absolute = dict(options)
    for name in ("model", *writable):
        absolute[name] = os.path.abspath(options[name]) if options[name] else None
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
        click.echo(f"{what.unit} is running; see its answers by: journalctl -u '{what.unit}' -f")


@service.command(epilog="Example: sudo edge-detect service uninstall watch /srv/inbox")
@click.argument("kind", required=False, type=click.Choice(["watch", "camera"]))
@click.argument("folder", required=False, type=click.Path())
@DRY_RUN
def uninstall(kind: str | None, folder: str | None, dry_run: bool) -> None:
    """Remove the service of one folder or of the camera; without arguments, all.

    The ledger stays in /var/lib/edge-detect, and no image is touched.
    """
    from edge.service.install import Installer, Places
    from edge.service.units import CAMERA_UNIT, Watch

    if (kind == "watch") != (folder is not None):
        raise click.UsageError("Name the folder: service uninstall watch FOLDER")
    unit = CAMERA_UNIT if kind == "camera" else Watch(os.path.abspath(folder)).unit if folder else None
    Installer(Places(), click.echo, dry_run=dry_run).uninstall(unit)


@service.command("status", epilog="Exit status: that of systemctl.")
def status_of_units() -> None:
    """Show systemd's status of the services."""
    from edge.errors import ServiceError

    try:
        done = subprocess.run(["systemctl", "--no-pager", "--full", "status", "edge-detect-*"], check=False)
    except OSError as error:
        raise ServiceError("systemctl: systemd is not installed here") from error
    sys.exit(done.returncode)


@service.command(epilog="Example: edge-detect service show | sudo tee /etc/systemd/system/edge-detect-watch@.service")
def show() -> None:
    """Print the unit file for a watched folder, with the path of this installation."""
    from edge.service.units import WATCH_UNIT, unit_text

    click.echo(unit_text(WATCH_UNIT), nl=False)
