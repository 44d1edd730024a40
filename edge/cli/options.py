"""Options that several commands share, and how an option is made: with its variable of the environment."""

import functools
import io
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge.commands import PREFIX

if TYPE_CHECKING:
    from edge.classifier import Classifier
    from edge.sinks.lines import Lines

FAILED = 1  # exit status: some image has no verdict, the others have (edge.commands has the other one)

EXIT_STATUS = "Exit status: 0 all well, 1 some image failed, 2 the work could not be done."


class Seconds(click.FloatRange):
    """A time that is neither endless nor no number."""

    def __init__(self) -> None:
        super().__init__(0.1, 86_400)

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> float:
        seconds = float(super().convert(value, param, context))
        if math.isnan(seconds):
            self.fail(f"{value} is not a number of seconds.", param, context)
        return seconds


Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def option(*names: str, **settings: Any) -> Decorator:
    """A click option that can also be set by EDGE_DETECT_ and its name in capitals, and in the settings file."""
    long = next(name for name in names if name.startswith("--")).split("/")[0]
    variable = PREFIX + long.removeprefix("--").replace("-", "_").upper()
    return click.option(*names, envvar=variable, **settings)


def model_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that choose and set up the network, and one `classifier` built of them."""

    @option(
        "--model",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="A .tflite file, its .json beside it.  [default: the int8 model that came with edge-detect]",
    )
    @option("--threads", default=1, show_default=True, type=click.IntRange(1, 64), help="For the network.")
    @option(
        "--runtime",
        type=click.Choice(["ai-edge-litert", "tflite-runtime"]),
        help="Which LiteRT runtime.  [default: the one that is installed]",
    )
    @functools.wraps(command)
    def with_model(**options: Any) -> Any:
        return command(**with_classifier(options))

    return with_model


def with_classifier(options: dict[str, Any]) -> dict[str, Any]:
    """The options of `model_options` replaced by one, `classifier`, which makes one when it is called."""
    others = dict(options)
    model, threads, runtime = (others.pop(name) for name in ("model", "threads", "runtime"))

    def classifier() -> "Classifier":
        from edge.classifier import Classifier
        from edge.model import load

        return Classifier(load(model), threads, runtime)

    return others | {"classifier": classifier}


def state_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Where the ledger is."""
    return option(
        "--state",
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="Where to remember what was answered.  [default: edge-detect below $XDG_STATE_HOME or ~/.local/state]",
    )(command)


def lines(as_json: bool) -> "Lines":
    """Standard output, as lines for a person or for a program."""
    from edge.sinks import journal
    from edge.sinks.lines import HumanLines, JsonLines

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name that this terminal's encoding lacks
    if as_json:
        return JsonLines(sys.stdout)
    if journal.takes(1):
        return journal.JournalLines()
    return HumanLines(sys.stdout, sys.stderr)
