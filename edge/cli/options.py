"""Options that several commands share, and how an option is made: with its variable of the environment."""

import functools
import io
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge.commands import PREFIX, OptionalValue

if TYPE_CHECKING:
    from edge.classifier import Classifier
    from edge.sinks.lines import Lines
    from edge.trouble import Say

FAILED = 1  # exit status: some image has no verdict, the others have (edge.commands has the other one)

EXIT_STATUS = "Exit status: 0 all well, 1 some image failed, 2 the work could not be done."


class Number(click.FloatRange):
    """A number within a range; click's own takes `nan` for one in any range."""

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> float:
        number = float(super().convert(value, param, context))
        if math.isnan(number):
            self.fail(f"{value} is not a number.", param, context)
        return number


class Seconds(Number):
    """A time that is neither endless nor no number."""

    def __init__(self) -> None:
        super().__init__(0.1, 86_400)


class Tpu(click.ParamType):  # type: ignore[type-arg]  # which click 8.1 has not
    """Which Coral: any, auto, or what libedgetpu calls a device; None for none. Also true and false, of settings."""

    name = "tpu"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> Any:
        from edge.coral import device_option

        text = str(value).lower()
        if text in ("false", "no", "off", ""):
            return None
        if text in ("any", "true", "yes", "on"):
            return "any"
        device = text if text == "auto" else device_option(text)
        if device is None:
            self.fail(f"{value!r} is none of usb, pci, auto, a number from 0 on, usb:1 and the like.", param, context)
        return device


Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


# For a command that is an `OptionalValuesCommand`.
TPU: dict[str, Any] = {"cls": OptionalValue, "type": Tpu(), "flag_value": "any", "metavar": "[=usb|pci|N|auto]"}


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
    @option("--tpu", help="Let a Coral do the work; auto: the processor, if there is none.", **TPU)
    @option("--tpu-library", metavar="FILE", hidden=True)  # another build of libedgetpu, or another delegate
    @functools.wraps(command)
    def with_model(**options: Any) -> Any:
        return command(**with_classifier(options))

    return with_model


def with_classifier(options: dict[str, Any]) -> dict[str, Any]:
    """The options of `model_options` replaced by one, `classifier`, which makes one when it is called.

    It takes a function that says what happens to a Coral; without, that goes to standard error.
    """
    others = dict(options)
    model, threads, runtime, tpu, library = (
        others.pop(name) for name in ("model", "threads", "runtime", "tpu", "tpu_library")
    )

    def classifier(say: "Say" = _say) -> "Classifier":
        if tpu is not None:
            from edge import accelerated

            return accelerated.classifier(model, threads, runtime, tpu, library, say)
        from edge.classifier import Classifier
        from edge.model import load

        return Classifier(load(model), threads, runtime)

    return others | {"classifier": classifier}


def _say(line: str) -> None:
    click.echo(f"edge-detect: {line}", err=True)


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
