"""Base classes of the commands of `edge-detect`, `python -m train` and `python -m convert`, and of option types."""

import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge.errors import EdgeDetectError, NotInstalledError, RuntimeMissingError, SinkError, printable, reason_of

if TYPE_CHECKING:
    ParamType = click.ParamType[Any]
    Choice = click.Choice[Any]
else:  # the classes of click 8.1 take no type argument
    ParamType, Choice = click.ParamType, click.Choice

_ARGUMENTS = f"{__name__}.arguments"
PREFIX = "EDGE_DETECT_"  # of environment variables that set options
RESERVE_BYTES = 4_000_000  # of the address space, to report that there is no more memory
UNUSABLE = 2  # exit status: the work could not be done; also click's status for invalid options


class Finished(SystemExit):
    """The end of a command that has nothing to release: no device, no other process, no file that is being written.

    Attributes:
        status: exit status.
    """

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class _ErrorsInOneLine(click.Command):
    """Prints an `EdgeDetectError` as one line on stderr, without a traceback, and exits with UNUSABLE."""

    def main(self, *arguments: Any, **options: Any) -> Any:
        # If the caller closed a standard stream, it is None here, and the next file opened gets its descriptor. What a
        # library prints to stderr could then end up in the ledger.
        for name in ("stdin", "stdout", "stderr"):
            if getattr(sys, name) is None:
                setattr(sys, name, open(os.devnull, "r+"))  # noqa: SIM115  # open as long as the process lives
        return super().main(*arguments, **options)

    def invoke(self, ctx: click.Context) -> Any:
        reserve = bytes(RESERVE_BYTES)  # given back before an error is looked at; untouched, it takes no memory
        try:
            return super().invoke(ctx)
        except EdgeDetectError as error:
            del reserve
            click.echo(f"{ctx.command_path}: {_reason(error)}", err=True)
            ctx.exit(UNUSABLE)
        except click.exceptions.Exit:  # a RuntimeError
            raise
        except (OSError, MemoryError, ImportError, RuntimeError, SystemError) as error:
            del reserve
            from edge.process import limits  # here: `--help` and `classify` start faster without

            reason = limits.reached(error)
            if not reason:
                raise
            click.echo(f"{ctx.command_path}: {reason}", err=True)
            if isinstance(error, MemoryError | ImportError):  # numpy's library may hang at exit then
                _exit_now()
            ctx.exit(UNUSABLE)


def _reason(error: EdgeDetectError) -> str:
    """An error in one line; if a library does not load because a limit is reached, that limit."""
    if isinstance(error, NotInstalledError | RuntimeMissingError) and error.__cause__ is not None:
        from edge.process import limits

        return limits.reached(error) or str(error)
    return str(error)


def _exit_now() -> None:
    """End the process without the usual clean-up."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(UNUSABLE)


class Command(_ErrorsInOneLine):
    """A command that prints an `EdgeDetectError` as one line."""


class OptionalValue(click.Option):
    """An option whose value may be omitted: with the `flag_value` any, `--tpu` means `--tpu=any`.

    It works only in an `OptionalValuesCommand`. click's own optional values (`is_flag=False, flag_value=...`) consume
    the next word: `classify --tpu photo.jpg` would look for a Coral named photo.jpg.
    """

    def __init__(self, *names: Any, flag_value: str, **settings: Any) -> None:
        super().__init__(*names, **settings)
        self.default_value = flag_value

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        record = super().get_help_record(ctx)
        return record and (record[0].replace(" [=", "[="), record[1])


class OptionalValuesCommand(click.Command):
    """A command that may have options of the class `OptionalValue`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        with_value = {
            name: f"{name}={option.default_value}"
            for option in self.params
            if isinstance(option, OptionalValue)
            for name in option.opts
        }
        options = args.index("--") if "--" in args else len(args)
        args[:options] = [with_value.get(word, word) for word in args[:options]]
        return super().parse_args(ctx, args)


class ReloadableCommand(OptionalValuesCommand):
    """A command whose options can be read again while it runs, by `read_again`."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        given = tuple(args)  # a copy, because click removes the arguments from the list
        context = super().make_context(info_name, args, parent, **extra)
        context.meta[_ARGUMENTS] = given
        return context


def read_again(context: click.Context) -> dict[str, Any]:
    """Parse the parameters of a `ReloadableCommand` again: from its arguments and its group's current `default_map`.

    Raises:
        click.ClickException: a parameter is invalid.
    """
    command = context.command.make_context(context.info_name, list(context.meta[_ARGUMENTS]), context.parent)
    return command.params


class Group(_ErrorsInOneLine, click.Group):
    """A group of commands that prints an `EdgeDetectError` as one line."""


def output_folder(path: Path) -> Path:
    """Create the folder of an output if it is missing, and return it.

    Raises:
        SinkError: the folder cannot be created or written to.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SinkError(f"{printable(path)}: cannot create the folder: {reason_of(error)}") from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise SinkError(f"{printable(path)}: cannot write to the folder: permission denied")
    return path
