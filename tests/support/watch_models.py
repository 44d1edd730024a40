"""`edge-detect watch` with any models: python -m tests.support.watch_models FOLDER STATE MODEL... [options]

It prints JSON lines as the command does. Several models can be chosen that way, which the command itself takes from the
package alone.
"""

import sys
from pathlib import Path
from typing import Any

import click


@click.command()
@click.argument("folder")
@click.argument("state", type=click.Path(path_type=Path))
@click.argument("models", nargs=-1, type=click.Path(path_type=Path))
@click.option("--once", is_flag=True)
@click.option("--reclassify", is_flag=True)
@click.option("--sort-into")
@click.option("--log", type=click.Path(path_type=Path))
@click.option("--poll", type=float)
@click.option("--workers", default=2)
def main(models: tuple[Path, ...], once: bool, **settings: Any) -> None:
    """Watch a folder."""
    # Not at the top: each process that decodes loads this module, and needs none of it.
    from edge.cli.log import log_to_stderr
    from edge.daemon.lifecycle import Lifecycle
    from edge.daemon.signals import handled
    from edge.daemon.systemd import Notifier
    from edge.delivery.stdout import JsonLines
    from edge.errors import EdgeDetectError
    from edge.watch.run import WatchSettings, watch
    from tests.support.photos import two_models

    lines = JsonLines(sys.stdout)
    chosen = WatchSettings(router=lambda: two_models(*models), lines=lines, as_json=True, **settings)
    life = Lifecycle(Notifier(), once=once)
    log_to_stderr()
    try:
        with handled(life):
            watch(chosen, life)
    except EdgeDetectError as error:
        sys.exit(f"edge-detect: {error}")


if __name__ == "__main__":
    main()
