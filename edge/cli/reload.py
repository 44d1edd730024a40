"""Work that goes on until it is stopped, and whose settings can be read anew meanwhile."""

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
    """Do some work, and again with other options whenever SIGHUP has brought new settings.

    New settings that turn out to be of no use are dropped for those before.

    Args:
        context: of a `ReloadableCommand`.
        options: its parameters, with a router.
        work: is given the options, what we are asked for, who is to be told that we live, and what to call when the
            work has begun.

    Returns:
        The stats, and the signal that ended it, if one did.
    """
    from edge.daemon.signals import noted
    from edge.daemon.systemd import Notifier
    from edge.errors import EdgeDetectError

    notifier = Notifier()
    former: dict[str, Any] | None = None  # to fall back on, until the new settings have proved to be good

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
            requests.is_patient = False  # new settings that ask for what is not there are no good
            requests.reloaded()
        notifier.stopping()
    return stats, requests.ended_by


def _read_again(context: click.Context, before: dict[str, Any]) -> dict[str, Any] | None:
    """The options with what the settings file says now; None, and a line that says why, if that is no good."""
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
