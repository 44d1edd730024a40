"""`edge-detect watch` with models of one's own choice: python -m tests.watch_models FOLDER STATE MODEL... [options]

It prints JSON lines as the command does. Several models can be chosen that way, which the command itself takes from the
package alone.
"""

import sys
from pathlib import Path

import click

from edge.errors import EdgeDetectError
from edge.service.notify import Notifier
from edge.signals import noted
from edge.sinks.lines import JsonLines
from edge.watch.watching import Settings, watch
from tests.photos import two_models


@click.command()
@click.argument("folder")
@click.argument("state", type=click.Path(path_type=Path))
@click.argument("models", nargs=-1, type=click.Path(path_type=Path))
@click.option("--once", is_flag=True)
@click.option("--reclassify", is_flag=True)
@click.option("--sort-into")
@click.option("--log", type=click.Path(path_type=Path))
@click.option("--poll", type=float)
def main(
    folder: str,
    state: Path,
    models: tuple[Path, ...],
    once: bool,
    reclassify: bool,
    sort_into: str | None,
    log: Path | None,
    poll: float | None,
) -> None:
    """Watch a folder."""
    settings = Settings(
        router=lambda _: two_models(*models),
        folder=folder,
        state=state,
        lines=JsonLines(sys.stdout),
        as_json=True,
        log=log,
        poll=poll,
        sort_into=sort_into,
        workers=2,
        reclassify=reclassify,
    )
    try:
        with noted() as requests:
            watch(settings, requests, Notifier(), lambda: None, once=once)
    except EdgeDetectError as error:
        sys.exit(f"edge-detect: {error}")


if __name__ == "__main__":
    main()
