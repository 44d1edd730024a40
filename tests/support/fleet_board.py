"""A board of the fleet whose network takes as long as a slow board's: python -m tests.support.fleet_board --sleep 0.1

It does what `edge-detect fleet work` does, and sleeps beside each verdict, so that the queue and not this computer's
processor sets the pace.
"""

import asyncio
import sys
import time
from pathlib import Path
from typing import Any

import click


@click.command()
@click.option("--server", multiple=True, required=True)
@click.option("--model", type=click.Path(path_type=Path), required=True)
@click.option("--board", required=True)
@click.option("--sleep", default=0.05)
@click.option("--hands", default=4)
@click.option("--ack-seconds", default=60.0)
@click.option("--retry-seconds", default=1.0)
@click.option("--once", is_flag=True)
def main(
    server: tuple[str, ...],
    model: Path,
    board: str,
    sleep: float,
    hands: int,
    ack_seconds: float,
    retry_seconds: float,
    once: bool,
) -> None:
    """Work on the queue with one decoding process."""
    # Not at the top: each process that decodes loads this module, and needs none of it.
    from edge.cli.log import log_to_stderr
    from edge.errors import EdgeDetectError
    from edge.fleet.classification import Classification, private_folder
    from edge.fleet.protocol import models_id
    from edge.fleet.server import ServerSettings
    from edge.fleet.worker import Worker, WorkSettings
    from edge.inference.classifier import Classifier
    from edge.inference.model import load
    from edge.inference.router import Router

    class Sleeping(Router):
        def verdict(self, *arguments: Any, **options: Any) -> Any:
            time.sleep(sleep)
            return super().verdict(*arguments, **options)

    log_to_stderr()
    router = Sleeping([model], lambda path, description: Classifier(load(path, description)))
    settings = WorkSettings(
        board,
        models_id(router.digests),
        hands,
        ack_seconds=ack_seconds,
        once=once,
        retry_seconds=(retry_seconds,),
    )

    async def run(classification: Classification) -> None:
        await Worker(ServerSettings(server), settings, classification).run()

    try:
        with private_folder() as folder, Classification(router, folder, 1) as classification:
            asyncio.run(run(classification))
    except EdgeDetectError as error:
        sys.exit(f"edge-detect: {error}")


if __name__ == "__main__":
    main()
