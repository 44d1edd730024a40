"""`edge-detect status`."""

import json
import sys
import time
from typing import Any

import click

from edge.cli.options import option


@click.command(epilog="Exit status: 0 all work, 1 one reports a problem or does not answer, 3 none is running.")
@option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
def status(as_json: bool) -> None:
    """Show what your running watchers and cameras are doing; with sudo, the services too."""
    from edge.daemon.status import ask

    statuses = list(ask())
    for one in statuses:
        if isinstance(one, str):
            click.echo(f"edge-detect: {one}", err=True)
        else:
            click.echo(json.dumps(one) if as_json else _text(one))
    if not statuses:
        click.echo("edge-detect: no watcher or camera of this account is running; services need sudo", err=True)
        sys.exit(3)
    sys.exit(1 if any(isinstance(one, str) or one["trouble"] for one in statuses) else 0)


def _text(one: dict[str, Any]) -> str:
    from edge.errors import printable
    from edge.stats import in_words

    labels = in_words(one["labels"]) or "nothing"
    hours, rest = divmod(int(time.time() - one["since"]), 3600)
    lines = [
        f"{printable(one['folder'])}  (process {one['pid']}, edge-detect {one['version']})",
        f"  for {hours}:{rest // 60:02} hours: {labels} answered, {one['failed']} failed,"
        f" {one['answered_before']} answered before",
        f"  {one['waiting']} waiting, {one['per_second']:.1f} a second in the last minute",
    ]
    if "events" in one:  # a camera
        age = "" if one["age_ms"] is None else f", {one['age_ms']:.0f} ms from a frame to its verdict"
        lines.append(f"  {one['events']} events, {one['skipped']} frames skipped{age}")
    if last := one["last"]:
        lines.append(f"  last: {last['label']} {printable(last['path'])}")
    if error := one["last_error"]:
        lines.append(f"  last error: {printable(error['path'])}: {printable(error['error'])}")
    if one["trouble"]:
        lines.append(f"  problem: {printable(one['trouble'])}")
    return "\n".join(lines)
