"""Base classes of the commands of `edge-detect`, `python -m train` and `python -m convert`."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge.errors import EdgeDetectError, SinkError, printable, reason_of

if TYPE_CHECKING:
    ParamType = click.ParamType[Any]
    Choice = click.Choice[Any]
else:  # the classes of click 8.1 take no type argument
    ParamType, Choice = click.ParamType, click.Choice

_ARGUMENTS = f"{__name__}.arguments"
PREFIX = "EDGE_DETECT_"  # of environment variables that set options
UNUSABLE = 2  # exit status: the work could not be done; also click's status for invalid options


class _ErrorsInOneLine(click.Command):
    """Reports our own errors in one line on stderr, without a traceback."""

    def main(self, *arguments: Any, **options: Any) -> Any:
        # A stream that the caller closed is None, and the next opened file would get its descriptor: what a library
        # prints to stderr would then be written to the ledger, for example.
        for name in ("stdin", "stdout", "stderr"):
            if getattr(sys, name) is None:
                setattr(sys, name, open(os.devnull, "r+"))  # noqa: SIM115  # open as long as the process lives
        return super().main(*arguments, **options)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except EdgeDetectError as error:
            click.echo(f"{ctx.command_path}: {error}", err=True)
            ctx.exit(UNUSABLE)


class Command(_ErrorsInOneLine):
    """A command that reports our own errors in one line."""


class OptionalValue(click.Option):
    """An option with an optional value after `=`: `--tpu` means `--tpu=any`, if that is the `flag_value`.

    click's own optional values (`is_flag=False, flag_value=...`) do not serve here: they take the next word for the
    value, so that `classify --tpu photo.jpg` would look for a Coral named photo.jpg. Only for the options of an
    `OptionalValuesCommand`.
    """

    def __init__(self, *names: Any, flag_value: str, **settings: Any) -> None:
        super().__init__(*names, **settings)
        self.default_value = flag_value

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        record = super().get_help_record(ctx)
        return record and (record[0].replace(" [=", "[="), record[1])


class OptionalValuesCommand(click.Command):
    """A command whose options may be an `OptionalValue`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        alone = {
            name: f"{name}={option.default_value}"
            for option in self.params
            if isinstance(option, OptionalValue)
            for name in option.opts
        }
        options = args.index("--") if "--" in args else len(args)
        args[:options] = [alone.get(word, word) for word in args[:options]]
        return super().parse_args(ctx, args)


class ReloadableCommand(OptionalValuesCommand):
    """A command whose options can be read again while it runs."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        given = tuple(args)  # click consumes the list
        context = super().make_context(info_name, args, parent, **extra)
        context.meta[_ARGUMENTS] = given
        return context


def read_again(context: click.Context) -> dict[str, Any]:
    """The parameters of a `ReloadableCommand`, from its arguments and the present `default_map` of its group.

    Raises:
        click.ClickException: they are invalid.
    """
    command = context.command.make_context(context.info_name, list(context.meta[_ARGUMENTS]), context.parent)
    return command.params


class Group(_ErrorsInOneLine, click.Group):
    """A group of commands that reports our own errors in one line."""


def output_folder(path: Path) -> Path:
    """The folder, made if it is missing.

    Raises:
        SinkError: it cannot be made or written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SinkError(f"{printable(path)}: cannot make the folder: {reason_of(error)}") from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise SinkError(f"{printable(path)}: cannot write to the folder: permission denied")
    return path
