"""Run until stopped, reloading the settings at SIGHUP."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from edge.cli.commands import read_again
from edge.cli.options import with_router

if TYPE_CHECKING:
    from edge.daemon.signals import Requests
    from edge.daemon.systemd import Notifier
    from edge.stats import Stats

    Work = Callable[[dict[str, Any], Requests, Notifier, Callable[[], None]], Stats]


def run(context: click.Context, options: dict[str, Any], work: "Work") -> tuple["Stats", int | None]:
    """Run `work`, and run it again with new options after each SIGHUP.

    If the work cannot start with new settings, it goes on with the former ones.

    Args:
        context: of a `ReloadableCommand`.
        options: its parameters, with a router.
        work: called with the options, the requests by signal, the systemd notifier, and a function to call once the
            work has begun.

    Returns:
        The stats, and the signal that ended it, if one did.
    """
    from edge.daemon.signals import noted
    from edge.daemon.systemd import Notifier
    from edge.errors import EdgeDetectError

    notifier = Notifier()
    former: dict[str, Any] | None = None  # the fallback until the new settings are confirmed

    def begun() -> None:
        nonlocal former
        former = None
        notifier.ready()

    with noted() as requests:
        requests.is_patient = notifier.is_listening
        while True:
            try:
                stats = work(options, requests, notifier, begun)
            except EdgeDetectError as error:
                if former is None:
                    raise
                click.echo(f"edge-detect: the settings stay as they were: {error}", err=True)
                options, former, requests.is_patient = former, None, True
                continue
            if not requests.reload or requests.ended_by is not None:
                break
            notifier.reloading()
            former, options = options, _read_again(context, options) or options
            requests.is_patient = False  # new settings that need something missing are rejected
            requests.reloaded()
        notifier.stopping()
    return stats, requests.ended_by


def _read_again(context: click.Context, before: dict[str, Any]) -> dict[str, Any] | None:
    """The options with the present settings file; prints the reason and returns None if it is invalid."""
    from edge.cli.config_file import read
    from edge.errors import EdgeDetectError

    group = context.find_root()
    former = group.default_map
    try:
        assert isinstance(group.command, click.Group)
        group.default_map = read(group.params["config"], group.command)
        options = with_router(read_again(context))
    except (click.ClickException, EdgeDetectError) as error:
        group.default_map = former
        text = error.format_message() if isinstance(error, click.ClickException) else str(error)
        click.echo(f"edge-detect: the settings stay as they were: {text}", err=True)
        return None
    return {name: value for name, value in options.items() if name in before}
