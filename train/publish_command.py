"""The command `publish`, which uploads a trained model to the Hugging Face hub."""

from pathlib import Path

import click

FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command(
    epilog="\b\nExamples:\n  python -m train publish runs/photo --repo user/name --dry-run\n"
    "  python -m train publish models --repo user/name --private"
)
@click.argument("folder", type=FOLDER)
@click.option("--repo", required=True, metavar="USER/NAME", help="Repository; it is created if it does not exist.")
@click.option("--private", is_flag=True, help="Create a private repository, and refuse one that is public.")
@click.option("--revision", default="main", metavar="BRANCH", help="Existing branch to commit to.")
@click.option("--license", "terms", metavar="ID", help="License for the card.  [default: that of README.md, else mit]")
@click.option("--exclude", multiple=True, metavar="PATTERN", help="Leave out matching files; may be repeated.")
@click.option("--dry-run", is_flag=True, help="List the files and show the card's head; nothing is sent.")
def publish(
    folder: Path,
    repo: str,
    private: bool,
    revision: str,
    terms: str | None,
    exclude: tuple[str, ...],
    dry_run: bool,
) -> None:
    """Upload the models in FOLDER to the Hugging Face hub, in one commit.

    FOLDER is that of a run with its converted models, or models. Uploaded are
    .tflite files with their JSON, .keras files, evaluations (*evaluation*.json),
    figures, other Markdown files, a card and SHA256SUMS. The card is README.md
    if there is one, with metadata added. Nothing is written into FOLDER.

    The token is that of `hf auth login`, or HF_TOKEN.
    """
    from edge.errors import printable
    from edge.hub.pull import require_repository
    from train.publish import collect, push
    from train.publish_card import head

    require_repository(repo)
    files, left_out = collect(folder, repo, terms, exclude)
    total = sum(len(one.content) for one in files) / 1e6
    if dry_run:
        kind = "private" if private else "public"
        click.echo(f"{repo} ({kind}), branch {printable(revision)}: {len(files)} files, {total:.2f} MB")
        for one in files:
            click.echo(f"{len(one.content):>12,} bytes  {one.name}")
        if left_out:
            click.echo(f"left out: {printable(', '.join(left_out))}")
        click.echo("README.md begins:")
        click.echo(head(next(one.content for one in files if one.name == "README.md").decode()))
        return
    commit, warnings = push(repo, files, private=private, revision=revision)
    for line in warnings:
        click.echo(f"warning: {line}", err=True)
    click.echo(f"published {len(files)} files, {total:.2f} MB, in commit {commit}")
    click.echo(f"edge-detect model pull {repo} --revision {commit}")
