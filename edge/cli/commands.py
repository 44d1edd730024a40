"""What the command lines of the runner, of training and of conversion share."""

import os
import sys
from pathlib import Path
from typing import Any

import click

from edge.errors import EdgeDetectError, SinkError, printable, reason_of

_ARGUMENTS = f"{__name__}.arguments"
PREFIX = "EDGE_DETECT_"  # of the variables of the environment that set options
UNUSABLE = 2  # exit status: nothing could be done; click's own for wrong options


class _ErrorsInOneLine(click.Command):
    """Our own errors end in one line on stderr, without a traceback."""

    def main(self, *arguments: Any, **options: Any) -> Any:
        # A stream that the caller closed is None here, and the next file to be opened would take its number:
        # a library's remark on stderr would then end in the ledger.
        for name in ("stdin", "stdout", "stderr"):
            if getattr(sys, name) is None:
                setattr(sys, name, open(os.devnull, "r+"))  # noqa: SIM115  # for the life of the process
        return super().main(*arguments, **options)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except EdgeDetectError as error:
            click.echo(f"{ctx.command_path}: {error}", err=True)
            ctx.exit(UNUSABLE)


class Command(_ErrorsInOneLine):
    """A command that reports errors so."""


class OptionalValue(click.Option):
    """An option that may stand alone, and means `flag_value` then; a value is joined to it: --tpu, --tpu=usb.

    Such an option of click's own would take the next word for its value. Only for commands that are an
    `OptionalValuesCommand`.
    """

    def __init__(self, *names: Any, flag_value: str, **settings: Any) -> None:
        super().__init__(*names, **settings)
        self.value_alone = flag_value

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        record = super().get_help_record(ctx)
        return record and (record[0].replace(" [=", "[="), record[1])


class OptionalValuesCommand(click.Command):
    """A command that may have options of that kind."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        alone = {
            name: f"{name}={option.value_alone}"
            for option in self.params
            if isinstance(option, OptionalValue)
            for name in option.opts
        }
        options = args.index("--") if "--" in args else len(args)
        args[:options] = [alone.get(word, word) for word in args[:options]]
        return super().parse_args(ctx, args)


class ReloadableCommand(OptionalValuesCommand):
    """A command whose options can be read anew while it runs."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        given = tuple(args)  # click consumes the list
        context = super().make_context(info_name, args, parent, **extra)
        context.meta[_ARGUMENTS] = given
        return context


def read_again(context: click.Context) -> dict[str, Any]:
    """The parameters of a `ReloadableCommand` as its arguments and the present defaults of its group give them.

    Raises:
        click.ClickException: they make no sense together.
    """
    command = context.command.make_context(context.info_name, list(context.meta[_ARGUMENTS]), context.parent)
    return command.params


class Group(_ErrorsInOneLine, click.Group):
    """A group of commands that reports errors so."""


def output_folder(path: Path) -> Path:
    """The folder, made if it was missing.

    Raises:
        SinkError: it cannot be made, or not be written to.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SinkError(f"{printable(path)}: cannot make the folder: {reason_of(error)}") from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise SinkError(f"{printable(path)}: cannot write to the folder: permission denied")
    return path
