"""`edge-detect model`."""

import json
import os

import click

from edge.cli.options import option


@click.group(
    epilog="\b\nExamples:\n  edge-detect model list\n  edge-detect model pull user/name --revision COMMIT\n"
    "  edge-detect model use user/name/photo_int8\n  edge-detect model use photo_int8",
)
def model() -> None:
    """Download, choose and remove models.

    A model is data: nothing that is downloaded is executed. Installed models
    lie in edge-detect/models in $XDG_DATA_HOME or ~/.local/share.
    """


@model.command(
    epilog="Example: edge-detect model pull user/name --revision 0123456789abcdef0123456789abcdef01234567",
)
@click.argument("repository")
@click.option(
    "--revision",
    required=True,
    metavar="COMMIT",
    help="Commit to install from. A branch or tag also works: its present commit is shown and installed.",
)
@click.option(
    "--sha256",
    multiple=True,
    metavar="HEX",
    help="Install only the model file with this SHA-256, or fail; may be repeated. From a source other than the hub, it"
    " protects also against the hub.",
)
@click.option(
    "--endpoint",
    metavar="URL",
    envvar="HF_ENDPOINT",
    show_envvar=True,
    help="Address of the hub or of a mirror of it.  [default: https://huggingface.co]",
)
def pull(repository: str, revision: str, sha256: tuple[str, ...], endpoint: str | None) -> None:
    """Install the models of REPOSITORY, user/name on the Hugging Face hub.

    Every file is compared with the checksums in the repository, and every model
    is run once in a process of its own before it is installed.
    """
    from edge.hub import client
    from edge.hub.pull import commit_of, require_repository, require_sha256
    from edge.hub.pull import pull as pull_models

    require_repository(repository)
    wanted = {require_sha256(one) for one in sha256}
    hub = client.Hub(endpoint or client.ENDPOINT, client.token())
    commit = commit_of(hub, repository, revision)
    if commit != revision:
        click.echo(f"{revision} is now {commit}; with --revision {commit} you get the same files again", err=True)
    for one in pull_models(hub, repository, commit, revision, wanted, lambda line: click.echo(line, err=True)):
        verb = "installed" if one.is_new else "already installed:"
        click.echo(f"{verb} {one.name}  {_kilobytes(one.size)}  SHA-256 {one.sha256}")
    click.echo("edge-detect model use NAME makes one the default", err=True)


@model.command(name="list")
@option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
def list_models(as_json: bool) -> None:
    """List the bundled and the installed models, and what each is used for."""
    from edge.errors import printable
    from edge.inference.installed import known

    for one in known():
        if as_json:
            click.echo(json.dumps(one.as_json()))
            continue
        use = ", ".join(one.used_for) or "-"
        ranges = (one.domain.width, one.domain.height) if one.domain else ()
        domain = " x ".join(str(low) if low == high else f"{low}-{high}" for low, high in ranges) or "unknown"
        click.echo(
            f"{printable(one.name):44} {use:11} {_kilobytes(one.size):>9}  {domain:23} {printable(one.sha256[:12])}"
        )
        if one.problem:
            click.echo(f"  problem: {printable(one.problem)}")


@model.command(epilog="Example: edge-detect model use user/name/photo_int8")
@click.argument("name")
@click.option(
    "--for",
    "slot",
    type=click.Choice(["thumbnails", "photos"]),
    help="Images to use it for.  [default: by the sizes that it was measured on]",
)
def use(name: str, slot: str | None) -> None:
    """Use a model by default, from the next start on.

    NAME is a name of the list, its last part, or the first digits of its
    SHA-256. The name of a bundled model returns to that one. A running watcher
    or camera takes the change at a restart. --model has precedence.
    """
    from edge.inference.installed import find
    from edge.inference.installed import use as use_model

    found = find(name)
    click.echo(f"{found.name} is now used for {use_model(found, slot)}")


@model.command(epilog="Example: edge-detect model remove user/name/photo_int8")
@click.argument("name")
@click.option("--force", is_flag=True, help="Remove it also while it is in use; the bundled model is used again.")
def remove(name: str, force: bool) -> None:
    """Remove an installed model."""
    from edge.inference.installed import find
    from edge.inference.installed import remove as remove_model

    found = find(name)
    remove_model(found, force=force)
    click.echo(f"removed {found.name} ({os.fspath(found.path.parent)})")


def _kilobytes(size: int) -> str:
    return f"{size / 1000:,.0f} kB"
