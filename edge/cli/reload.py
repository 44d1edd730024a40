"""Run until stopped, reloading the settings at SIGHUP."""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from edge.cli.commands import read_again
from edge.cli.options import with_router

_log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from edge.daemon.lifecycle import Lifecycle
    from edge.stats import Stats

    Work = Callable[[dict[str, Any], Lifecycle], Stats]


def run(context: click.Context, options: dict[str, Any], work: "Work") -> tuple["Stats", int | None]:
    """Run `work`, and run it again with new options after each SIGHUP.

    If the work cannot start with new settings, it goes on with the former ones.

    Args:
        context: of a `ReloadableCommand`.
        options: its parameters, with a router.

    Returns:
        The stats, and the signal that ended it, if one did.
    """
    from edge.cli.log import log_to_stderr
    from edge.daemon.lifecycle import Lifecycle
    from edge.daemon.signals import handled
    from edge.daemon.systemd import Notifier
    from edge.errors import EdgeDetectError

    log_to_stderr()
    life = Lifecycle(Notifier())
    former: dict[str, Any] | None = None  # the fallback until the new settings have proved to work
    with handled(life):
        while True:
            try:
                stats = work(options, life)
            except EdgeDetectError as error:
                if former is None or life.is_ready:
                    raise
                _log.warning("the settings stay as they were: %s", error)
                options, former = former, None
                life.begin(waits_at_start=True)
                continue
            if not life.reload or life.ended_by is not None:
                break
            life.reloading()
            former, options = options, _read_again(context, options) or options
            life.begin(waits_at_start=False)  # new settings that need something missing are rejected
        life.notifier.stopping()
    return stats, life.ended_by


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
        _log.warning("the settings stay as they were: %s", text)
        return None
    return {name: value for name, value in options.items() if name in before}
