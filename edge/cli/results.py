"""`edge-detect results`."""

import contextlib
import csv
import select
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge.cli.options import Age, option

if TYPE_CHECKING:
    from edge.store.queries import Query
    from edge.verdict import Recorded

WATCH_SECONDS = 1.0  # interval of --watch


@click.group(
    invoke_without_command=True,
    epilog="\b\nExamples:\n  edge-detect results --label FAKE --since 2h\n  edge-detect results --watch\n"
    "  edge-detect results prune --older-than 90d",
)
@option("--label", metavar="LABEL", help="Show only FAKE, REAL, UNSURE, or ERROR (images without a verdict).")
@option("--since", type=Age(), metavar="AGE", help="Show only answers younger than this: 90s, 30m, 2h, 7d, 1w.")
@option(
    "--folder",
    type=click.Path(),
    metavar="DIR",
    help="Show only answers for files below this folder, or for the camera of this name.",
)
@option(
    "--provenance",
    type=click.Choice(["generated", "edited", "captured"]),
    help="Show only answers to files that say this of themselves, whether that was verified or not.",
)
@option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
@option("--csv", "as_csv", is_flag=True, help="Print comma-separated values with a header row.")
@option("--watch", is_flag=True, help="Keep printing new answers until Ctrl-C.")
@option(
    "--state",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Read the ledger in this folder.  [default: your account's, and those of services that you may read]",
)
@click.pass_context
def results(
    context: click.Context,
    /,
    as_json: bool,
    as_csv: bool,
    watch: bool,
    state: Path | None,
    since: float | None,
    **selection: str | None,
) -> None:
    """Show recorded answers; a watcher or camera may be running."""
    from edge.store import queries

    if context.invoked_subcommand is not None:
        context.obj = state
        return
    if as_json and as_csv:
        raise click.UsageError("--json and --csv exclude each other.")
    query = queries.Query(since=0.0 if since is None else time.time() - since, **selection)
    found = _answers(queries.ledgers(state), query, watch=watch)
    try:
        _print(found, as_json=as_json, as_csv=as_csv)
    except KeyboardInterrupt:
        sys.exit(130)


@results.command(epilog="Example: edge-detect results prune --older-than 90d")
@option(
    "--older-than",
    required=True,
    type=Age(),
    metavar="AGE",
    help="Delete answers older than this: 90s, 30m, 2h, 7d, 1w.",
)
@click.pass_obj
def prune(state: Path | None, older_than: float) -> None:
    """Delete old answers for files that are gone or were sorted, and old camera events.

    Answers for files that still exist are kept, because without them the files
    would be classified again. Snapshots of events are kept too.
    """
    from edge.store import queries

    for ledger in queries.ledgers(state):
        click.echo(f"{ledger}: {queries.prune(ledger, older_than)} deleted")


def _answers(ledgers: list[Path], query: "Query", *, watch: bool) -> Iterator["Recorded"]:
    """Read the answers of several ledgers; with `watch`, keep waiting for new ones.

    An unreadable ledger among several is reported once on stderr.

    Raises:
        LedgerError: the only ledger cannot be read.
    """
    from edge.errors import LedgerError
    from edge.store import queries

    last, unreadable = dict.fromkeys(ledgers, 0), set[Path]()
    while True:
        for ledger in ledgers:
            try:
                for answer in queries.answers(ledger, query, after=last[ledger]):
                    last[ledger] = answer.id
                    yield answer
            except LedgerError as error:
                if len(ledgers) == 1:
                    raise
                if ledger not in unreadable:
                    click.echo(f"edge-detect: {error}", err=True)
                unreadable.add(ledger)
        if not watch:
            return
        sys.stdout.flush()
        if _reader_is_gone(WATCH_SECONDS):
            return


def _reader_is_gone(seconds: float) -> bool:
    """Wait so long, or until the reader of standard output has closed its end, such as `head` after its last line."""
    poll = select.poll()
    with contextlib.suppress(OSError, ValueError):  # no descriptor, in a test for example
        poll.register(sys.stdout.fileno(), 0)  # POLLERR is always reported
    return bool(poll.poll(seconds * 1000))


def _print(found: Iterable["Recorded"], *, as_json: bool, as_csv: bool) -> None:
    from edge.cli.options import lines
    from edge.delivery.stdout import line_of
    from edge.delivery.table import COLUMNS, cells
    from edge.stats import Stats
    from edge.verdict import ENDED, INTERRUPTED

    output = lines(as_json)
    if not as_csv:
        stats = Stats()
        for recorded in found:
            if as_json:
                output.write(recorded)
            else:
                click.echo(f"{recorded.time}  {line_of(recorded)}")
            event = recorded.event
            if event is None or event.state not in (ENDED, INTERRUPTED):  # count an event once, at its beginning
                stats.count(recorded.answer)
        if not as_json:
            click.echo(", ".join(stats.parts) or "no answers", err=True)
        return
    table = csv.writer(sys.stdout)
    table.writerow(COLUMNS)
    for recorded in found:
        table.writerow(cells(recorded))
        sys.stdout.flush()
