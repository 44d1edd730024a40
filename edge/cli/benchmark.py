"""`edge-detect benchmark`."""

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from edge.cli.commands import OptionalValuesCommand
from edge.cli.options import Seconds, model_options, option, with_router

if TYPE_CHECKING:
    from edge.inference.router import Router


@click.command(
    cls=OptionalValuesCommand,
    epilog="\b\nExamples:\n  edge-detect benchmark\n  edge-detect benchmark --images ./pictures --json",
)
@option(
    "--images",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Measure with the images in this folder; they are not changed.  [default: generated pictures]",
)
@option(
    "--seconds", default=0.5, show_default=True, type=Seconds(), help="Duration of each of about twenty measurements."
)
@option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@option(
    "--state",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Measure ledger writes on the disk of this folder; nothing is left there.  [default: the folder of `watch`]",
)
@model_options
@click.pass_context
def benchmark(
    context: click.Context,
    /,
    images: Path | None,
    seconds: float,
    as_json: bool,
    state: Path | None,
    router: Callable[[], "Router"],  # unused: it has one number of threads, and several are measured
) -> None:
    """Measure how fast this board is, step by step and as a whole.

    It takes about half a minute for each model that the images go to. Without
    --threads it tries 1, 2, 4 and so on, up to the number of cores, and
    reports the best.
    """
    import json

    from edge.benchmark import report, run
    from edge.benchmark.machine import machine, thread_counts
    from edge.store.state import default_folder

    _end_by_signals()
    # A Coral does the work of all threads, and has one user at a time.
    is_given = (
        context.params["tpu"] is not None or context.get_parameter_source("threads") is not ParameterSource.DEFAULT
    )
    setup = run.Setup(
        threads=[context.params["threads"]] if is_given else thread_counts(machine().cores),
        router=lambda threads: with_router(context.params | {"threads": threads})["router"](),
        options=lambda threads: _words(context, threads),
        runtime=context.params["runtime"],
        folder=images,
        state=state or default_folder(),
        seconds=seconds,
    )
    try:
        measured = run.benchmark(setup)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    if as_json:
        click.echo(json.dumps(measured.as_json(), indent=1))
    else:
        for line in report.text(measured):
            click.echo(line)


def _words(context: click.Context, threads: int) -> list[str]:
    """The options of `model_options` as this command got them, as words for another command."""
    own = {"images", "seconds", "as_json", "state"}
    words: list[str] = []
    for parameter in context.command.params:
        name = str(parameter.name)
        value: Any = threads if name == "threads" else context.params.get(name)
        if name in own or value is None or value is False or not isinstance(parameter, click.Option):
            continue
        words.append(parameter.opts[0] if parameter.is_flag else f"{parameter.opts[0]}={value}")
    return words


def _end_by_signals() -> None:
    """Exit by an exception at SIGTERM and SIGHUP, so that temporary folders and child processes are removed."""

    def end(number: int, _: FrameType | None) -> None:
        sys.exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, end)
