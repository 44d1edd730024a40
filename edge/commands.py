"""What the command lines of the runner, of training and of conversion share."""

from typing import Any

import click

from edge.errors import EdgeDetectError

UNUSABLE = 2  # exit status: nothing could be done; click's own for wrong options


class _ErrorsInOneLine(click.Command):
    """Our own errors end in one line on stderr, without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except EdgeDetectError as error:
            click.echo(f"{ctx.command_path}: {error}", err=True)
            ctx.exit(UNUSABLE)


class Command(_ErrorsInOneLine):
    """A command that reports errors so."""


class Group(_ErrorsInOneLine, click.Group):
    """A group of commands that reports errors so."""
