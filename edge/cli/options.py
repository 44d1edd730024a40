"""Options of several commands, their types, and `option`, which gives each an environment variable."""

import functools
import io
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge.cli.commands import PREFIX, OptionalValue, ParamType

if TYPE_CHECKING:
    from edge.delivery.stdout import Lines
    from edge.inference.classifier import Classifier
    from edge.inference.router import Router

FAILED = 1  # exit status: an image could not be classified (UNUSABLE is in edge.cli.commands)

_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}

EXIT_STATUS = "Exit status: 0 success, 1 an image could not be classified, 2 the work could not be done."


class Number(click.FloatRange):
    """Parses a number within a range. Unlike click.FloatRange it refuses nan."""

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> float:
        number = float(super().convert(value, param, context))
        if math.isnan(number):
            self.fail(f"{value} is not a number.", param, context)
        return number


class Seconds(Number):
    """Parses a number of seconds from 0.1 to one day."""

    def __init__(self) -> None:
        super().__init__(0.1, 86_400)


class Age(ParamType):
    """Parses a length of time such as 90s, 30m, 2h, 7d or 1w, to seconds."""

    name = "age"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> float:
        text = str(value)
        number, unit = text[:-1], text[-1:]
        if unit not in _UNIT_SECONDS or not number.replace(".", "", 1).isdecimal():
            self.fail(f"{value!r} is not a valid age; write it as 90s, 30m, 2h, 7d or 1w.", param, context)
        return float(number) * _UNIT_SECONDS[unit]


class Tpu(ParamType):
    """Parses the value of --tpu, also true and false from the settings, see `edge.inference.edgetpu.tpu_choice`."""

    name = "tpu"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> Any:
        from edge.inference.edgetpu import tpu_choice

        try:
            return tpu_choice(value)
        except ValueError as error:
            self.fail(f"{error}.", param, context)


class OperatingPointName(ParamType):
    """Parses the name of an operating point: usually a percentage, whose % may be omitted."""

    name = "operating point"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> str:
        text = str(value).strip()
        if not text:
            self.fail("an operating point needs a name, such as 3%.", param, context)
        try:
            share = float(text.removesuffix("%"))
        except ValueError:
            return text
        return f"{share:g}%"


Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


# Settings of the option --tpu, for an `OptionalValuesCommand`.
TPU: dict[str, Any] = {"cls": OptionalValue, "type": Tpu(), "flag_value": "any", "metavar": "[=usb|pci|N|auto]"}


def option(*names: str, **settings: Any) -> Decorator:
    """A click option that can also be set by an environment variable, PREFIX and its name in capitals."""
    long = next(name for name in names if name.startswith("--")).split("/")[0]
    variable = PREFIX + long.removeprefix("--").replace("-", "_").upper()
    return click.option(*names, envvar=variable, show_envvar=True, **settings)


def runtime_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: the option --runtime."""
    return option(
        "--runtime",
        type=click.Choice(["ai-edge-litert", "tflite-runtime"]),
        help="Run the model with this LiteRT runtime.  [default: the installed one]",
    )(command)


def model_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: the options of the models. The command gets a `router` made of them, see `with_router`."""

    @option(
        "--model",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Use this .tflite file for every image; its .json must lie beside it.  [default: the bundled model for"
        " the image's size]",
    )
    @option(
        "--false-alarms",
        type=OperatingPointName(),
        metavar="1%|3%|10%",
        help="Set the thresholds at which about this share of photographs is called FAKE; a lower share answers UNSURE"
        " more often.  [default: the model's own, 3%]",
    )
    @option(
        "--no-unsure",
        is_flag=True,
        help="Always answer REAL or FAKE, even where that is hardly better than a guess.",
    )
    @option("--threads", default=1, show_default=True, type=click.IntRange(1, 64), help="Threads that run the model.")
    @runtime_option
    @option("--tpu", help="Run the model on a Coral Edge TPU; auto falls back to the processor.", **TPU)
    @option("--tpu-library", metavar="FILE", hidden=True)  # another build of libedgetpu, or another delegate
    @functools.wraps(command)
    def with_model(**options: Any) -> Any:
        return command(**with_router(options))

    return with_model


def provenance_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator, outside of `model_options`: the options --trust-provenance and --trust-list."""
    return option(
        "--trust-provenance",
        is_flag=True,
        help="Answer FAKE, whatever the score, where a verified signature in the file says that the image was"
        " generated. Needs the extra [provenance].",
    )(trust_list_option(command))


def trust_list_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: the option --trust-list, for `use_trust_list`."""
    return option(
        "--trust-list",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Accept signatures of the authorities in this PEM file too, beside those of the C2PA trust list.",
    )(command)


def use_trust_list(path: Path | None, *, is_required: bool = False) -> None:
    """Accept signatures of further authorities.

    Args:
        path: their certificates, PEM; None: those of the bundled lists alone.
        is_required: check also without `path` that signatures can be checked.

    Raises:
        TrustListError: the file cannot be read, or holds no certificate.
        NotInstalledError: the extra [provenance] is not installed.
    """
    from edge.provenance import trust_list

    trust_list.use(path)
    if path is not None or is_required:
        from edge.provenance import verify

        verify.require()


def with_router(options: dict[str, Any]) -> dict[str, Any]:
    """Replace the options of `model_options` by `router`, a function that makes a router.

    Raises:
        click.UsageError: the options contradict each other.
    """
    others, chosen = _split(options)
    trust_list = others.pop("trust_list", None)
    trusts_provenance = others.pop("trust_provenance", False)

    def router() -> "Router":
        from edge.cli.log import log_to_stderr
        from edge.inference.router import router as routed

        log_to_stderr()
        use_trust_list(trust_list, is_required=trusts_provenance)
        made = routed(**chosen)
        made.trusts_provenance = trusts_provenance
        if chosen["model"] is not None:
            made.classifier()  # loaded at once, so that an error does not wait for the first image
        return made

    return others | {"router": router}


def with_classifier(options: dict[str, Any]) -> dict[str, Any]:
    """Like `with_router`, for a command with a single model: `classifier` makes the chosen or the default one."""
    others, chosen = _split(options)

    def classifier() -> "Classifier":
        from edge.cli.log import log_to_stderr
        from edge.inference.model import default_path
        from edge.inference.router import router

        log_to_stderr()
        return router(**chosen | {"model": chosen["model"] or default_path()}).classifier()

    return others | {"classifier": classifier}


def _split(options: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The other options of a command, and the arguments of `edge.inference.router.router`."""
    others = dict(options)
    chosen = {name: others.pop(name) for name in ("model", "threads", "runtime", "tpu")}
    chosen["library"] = others.pop("tpu_library")
    chosen["operating_point"] = others.pop("false_alarms")
    if others.pop("no_unsure"):
        if chosen["operating_point"] is not None:
            raise click.UsageError("--false-alarms and --no-unsure exclude each other.")
        from edge.inference.model import NO_UNSURE

        chosen["operating_point"] = NO_UNSURE
    return others, chosen


def state_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: the option --state."""
    return option(
        "--state",
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="Keep the ledger of answers in this folder.  [default: edge-detect in $XDG_STATE_HOME or ~/.local/state]",
    )(command)


def lines(as_json: bool) -> "Lines":
    """The writer of answers to standard output: as JSON, as text, or to the systemd journal."""
    from edge.delivery.stdout import HumanLines, JsonLines

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # for names that the encoding lacks
    if as_json:
        return JsonLines(sys.stdout)
    if os.environ.get("JOURNAL_STREAM"):  # only under systemd
        from edge.delivery import journal

        if journal.takes(1):
            return journal.JournalLines()
    return HumanLines(sys.stdout, sys.stderr)
