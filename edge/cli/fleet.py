"""`edge-detect fleet`."""

import json
import signal
import sys
from collections.abc import Callable, Coroutine, Mapping
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from edge.cli.commands import OptionalValuesCommand
from edge.cli.options import (
    EXIT_STATUS,
    FAILED,
    Decorator,
    Seconds,
    lines,
    model_options,
    option,
    provenance_options,
    state_option,
)

if TYPE_CHECKING:
    from edge.fleet.overview import DeadImage
    from edge.fleet.server import Server, ServerSettings
    from edge.inference.router import Router
    from edge.verdict import Failure

T = TypeVar("T")
SERVER = "nats://localhost:4222"
MEGABYTE = 1_000_000
FILE = click.Path(dir_okay=False, path_type=Path)

SERVER_OPTIONS: tuple[tuple[str, dict[str, Any]], ...] = (
    (
        "--server",
        {
            "multiple": True,
            "metavar": "URL",
            "help": f"Connect to this NATS server; repeat it for the servers of a cluster.  [default: {SERVER}]",
        },
    ),
    ("--user", {"metavar": "NAME", "help": "Log in to the server as this user."}),
    (
        "--password",
        {"metavar": "TEXT", "help": "Log in with this password; others on this computer can read a command line."},
    ),
    ("--token", {"metavar": "TEXT", "help": "Log in with this token instead of a user."}),
    ("--creds", {"type": FILE, "metavar": "FILE", "help": "Log in with this credentials file (JWT and key)."}),
    ("--nkey", {"type": FILE, "metavar": "FILE", "help": "Log in with the key whose seed this file holds."}),
    ("--tls-ca", {"type": FILE, "metavar": "FILE", "help": "Trust the authority in this PEM file; switches TLS on."}),
    ("--tls-cert", {"type": FILE, "metavar": "FILE", "help": "Show the server this certificate (PEM)."}),
    ("--tls-key", {"type": FILE, "metavar": "FILE", "help": "Private key of --tls-cert (PEM)."}),
)


def server_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: the options of the connection. The command gets `server`, a `ServerSettings`."""

    @wraps(command)
    def with_server(**options: Any) -> Any:
        return command(**_with_server(options))

    return _server_options(with_server)


def _server_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for name, settings in reversed(SERVER_OPTIONS):
        command = option(name, **settings)(command)
    return command


def stream_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: the options of streams that are created."""
    for decorator in (
        option("--ack-seconds", default=60.0, type=Seconds(), hidden=True),  # of new consumers, for tests
        option(
            "--replicas",
            type=click.IntRange(1, 5),
            metavar="N",
            help="Copies of a new queue in a cluster.  [default: 3 in a cluster, else 1]",
        ),
        option(
            "--queue-mb",
            default=1000,
            show_default=True,
            type=click.IntRange(1, 10_000_000),
            metavar="N",
            help="Size of a new queue; when it is full, submission waits.",
        ),
    ):
        command = decorator(command)
    return command


def json_option() -> Decorator:
    """The option --json."""
    return option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")


@click.group(
    epilog="\b\nExamples:\n  edge-detect fleet work --server nats://queue.local:4222\n"
    "  edge-detect fleet submit ./archive --recursive --server nats://queue.local:4222\n"
    "  edge-detect fleet results --json --server nats://queue.local:4222 > verdicts.jsonl"
)
@_server_options
@click.pass_context
def fleet(context: click.Context, /, **options: Any) -> None:
    """Share one queue of images among many boards (NATS JetStream).

    Needs a nats-server 2.10 or later, and the extra [fleet]. The options of the
    connection may stand before or after the name of the sub-command.
    """
    given = {name: value for name, value in options.items() if value not in (None, ())}
    assert isinstance(context.command, click.Group)
    context.default_map = dict.fromkeys(context.command.commands, given)


@fleet.command(
    cls=OptionalValuesCommand,
    epilog="\b\nExamples:\n  edge-detect fleet work --server nats://queue.local:4222\n"
    "  edge-detect fleet work --allow-url https://store.local/images/",
)
@server_options
@option("--board", metavar="NAME", help="Name of this board in its answers.  [default: the host name]")
@option(
    "--allow-url",
    multiple=True,
    metavar="PREFIX",
    help="Fetch large images from URLs that begin so, such as https://store/images/; may be repeated.",
)
@option("--workers", type=click.IntRange(1, 64), help="Number of decoding processes.  [default: one for each core]")
@option(
    "--hands",
    type=click.IntRange(1, 256),
    metavar="N",
    help="Images to hold at once.  [default: two more than twice the decoding processes]",
)
@option("--once", is_flag=True, help="Exit when the queue is empty.")
@option("--retry-seconds", default=None, type=Seconds(), hidden=True)  # the same before each further try, for tests
@stream_options
@provenance_options
@model_options
def work(server: "ServerSettings", router: Callable[[], "Router"], **options: Any) -> None:
    """Classify images of the queue, until Ctrl-C or SIGTERM.

    An image leaves the queue only after its answer is stored. When stopped, the
    board finishes what it holds. A board also takes images for its own models
    alone; the log shows the identity of its models.
    """
    import asyncio

    from edge.cli.log import log_to_stderr
    from edge.fleet.classification import Classification, private_folder
    from edge.fleet.protocol import models_id
    from edge.fleet.worker import RETRY_SECONDS, Worker, WorkSettings
    from edge.watch.decode_pool import usual_count

    log_to_stderr()
    count, models = options["workers"] or usual_count(), router()
    retry_seconds = options["retry_seconds"]
    settings = WorkSettings(
        options["board"] or _host(),
        models_id(models.digests),
        options["hands"] or 2 * count + 2,
        tuple(_prefix(text) for text in options["allow_url"]),
        options["queue_mb"] * MEGABYTE,
        options["replicas"],
        options["ack_seconds"],
        options["once"],
        RETRY_SECONDS if retry_seconds is None else (retry_seconds,),
    )
    with private_folder() as folder, Classification(models, folder, count) as classification:

        async def run() -> Worker:
            worker = Worker(server, settings, classification)
            await worker.run()
            return worker

        worker = asyncio.run(run())
    click.echo(f"edge-detect: {worker.stats}", err=True)
    if settings.once and worker.ended_by is not None:
        sys.exit(128 + worker.ended_by)


@fleet.command(
    epilog="\b\nExamples:\n  edge-detect fleet submit ./archive --recursive\n"
    f"  edge-detect fleet submit ./archive --url https://store.local/archive/\n\n{EXIT_STATUS}"
)
@click.argument("paths", nargs=-1, required=True, type=click.Path(), metavar="FOLDER|FILE...")
@server_options
@option("--recursive", "-r", is_flag=True, help="Include sub-folders.")
@option(
    "--url",
    metavar="PREFIX",
    help="Let boards fetch images above 1 MB from this URL, followed by the path below FOLDER.",
)
@option("--for-models", metavar="ID", help="Let only boards with these models answer; their log shows the identity.")
@option("--again", is_flag=True, help="Also read the files that an earlier run has submitted.")
@stream_options
@state_option
def submit(paths: tuple[str, ...], server: "ServerSettings", **options: Any) -> None:
    """Put images into the queue, and wait while it is full.

    An interrupted run goes on where it stopped when it is started again. An
    image that is in the queue, or was answered, is not queued a second time.
    """
    from edge.cli.log import log_to_stderr
    from edge.fleet.protocol import ANY, is_models_id
    from edge.fleet.submission import SubmitSettings, sources
    from edge.fleet.submission import submit as submitted
    from edge.store.state import default_folder

    log_to_stderr()
    models, url = options["for_models"] or ANY, options["url"]
    if models != ANY and not is_models_id(models):
        raise click.UsageError("--for-models needs the 16 digits that `fleet work` and `fleet status` show.")
    settings = SubmitSettings(
        options["state"] or default_folder(),
        models,
        url and _prefix(url),
        options["again"],
        options["queue_mb"] * MEGABYTE,
        options["replicas"],
        options["ack_seconds"],
    )
    output = lines(as_json=False)
    failures = 0

    def failed(failure: "Failure") -> None:
        nonlocal failures
        failures += 1
        output.write(failure)

    import asyncio

    async def run(connection: "Server") -> tuple[Any, int | None]:
        stop, ended_by = asyncio.Event(), None

        def end(number: int) -> None:
            nonlocal ended_by
            ended_by = number
            stop.set()

        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, end, number)
        return await submitted(
            connection, settings, sources(paths, options["recursive"], failed), failed, stop
        ), ended_by

    counts, ended_by = _connected(server, run)
    click.echo(f"edge-detect: {counts}", err=True)
    if ended_by is not None:
        sys.exit(128 + ended_by)
    sys.exit(FAILED if failures else 0)


@fleet.command(epilog=f"{EXIT_STATUS}")
@server_options
@json_option()
@option("--after", default=0, type=click.IntRange(0), metavar="ID", help="Show only answers with a greater id.")
@option("--watch", is_flag=True, help="Keep printing new answers until Ctrl-C.")
def results(server: "ServerSettings", as_json: bool, after: int, watch: bool) -> None:
    """Print the answers of all boards; the server keeps them for 30 days."""
    from edge.cli.log import log_to_stderr
    from edge.fleet.overview import answers
    from edge.verdict import Failure

    log_to_stderr()
    output = lines(as_json)

    async def run(connection: "Server") -> bool:
        has_failure = False
        async for answer in answers(connection, after, follow=watch):
            output.write(answer)
            has_failure = has_failure or isinstance(answer.answer, Failure)
        return has_failure

    sys.exit(FAILED if _connected(server, run) else 0)


@fleet.command()
@server_options
@json_option()
def status(server: "ServerSettings", as_json: bool) -> None:
    """Show how many images wait, are in hand, are dead and were answered."""
    from edge.fleet.overview import status as found

    report = _connected(server, found)
    if as_json:
        click.echo(json.dumps(report))
        return
    cluster = f" of the cluster {report['cluster']}" if report["cluster"] else ""
    click.echo(f"server    {report['server']}{cluster}, nats-server {report['version']}")
    most = report["most_bytes"]
    share = f" of {most / MEGABYTE:.0f}" if most > 0 else ""
    click.echo(f"queue     {report['images']} images, {report['bytes'] / MEGABYTE:.1f}{share} MB")
    for name, queue in report["queues"].items():
        what = "any model" if name == "any" else f"models {name}"
        click.echo(f"  {what}: {queue['waiting']} waiting, {queue['in_hand']} in hand")
    click.echo(f"dead      {report['dead']}{'; see `edge-detect fleet dead`' if report['dead'] else ''}")
    click.echo(f"answers   {report['answers']}")


@fleet.command(epilog="Exit status: 0 no image is dead, 1 there are dead images, 2 the work could not be done.")
@server_options
@json_option()
@option("--retry", is_flag=True, help="Put the images back into the queue.")
@option("--give-up", is_flag=True, help="Answer the images with an error, and remove them from the queue.")
def dead(server: "ServerSettings", as_json: bool, retry: bool, give_up: bool) -> None:
    """List the images that were tried three times without an answer."""
    from edge.cli.log import log_to_stderr
    from edge.errors import printable
    from edge.fleet import overview

    log_to_stderr()
    if retry and give_up:
        raise click.UsageError("--retry and --give-up exclude each other.")

    async def run(connection: "Server") -> int:
        left = 0
        images = [image async for image in overview.dead(connection)]
        for image in images:
            done = ""
            if retry:
                done = ": queued again" if await overview.retry(connection, image) else ": is gone"
            elif give_up:
                done = ": answered" if await overview.give_up(connection, image, _host()) else ": was answered"
            left += not done
            click.echo(json.dumps(image.as_json()) if as_json else f"{printable(image.name)}: {_why(image)}{done}")
        return left

    sys.exit(FAILED if _connected(server, run) else 0)


def configured(settings: Mapping[str, Any]) -> "ServerSettings | None":
    """How to reach the server, by the table [fleet] of the settings file and the environment.

    Returns:
        None if neither names a server.
    """
    context = status.make_context(
        "status",
        [],
        default_map=dict(settings),
        help_option_names=["-h", "--help"],  # click remembers those of the first context
    )
    if not context.params["server"]:
        return None
    params = {name: value for name, value in context.params.items() if name != "as_json"}
    made: ServerSettings = _with_server(params)["server"]
    return made


def _why(image: "DeadImage") -> str:
    if not image.reason:
        return "each board that took it ended without a report"
    return f"{image.reason}{f' ({image.board})' if image.board else ''}"


def _connected(settings: "ServerSettings", use: "Callable[[Server], Coroutine[Any, Any, T]]") -> T:
    import asyncio

    from edge.fleet.server import connected

    async def run() -> T:
        async with connected(settings, "edge-detect fleet") as server:
            return await use(server)

    try:
        return asyncio.run(run())
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)


def _with_server(options: dict[str, Any]) -> dict[str, Any]:
    from edge.fleet.server import ServerSettings

    others = dict(options)
    names = [name.removeprefix("--").replace("-", "_") for name, _ in SERVER_OPTIONS]
    chosen = {name: others.pop(name) for name in names}
    addresses = [one for text in chosen.pop("server") for one in text.split(",") if one] or [SERVER]
    return others | {"server": ServerSettings(tuple(addresses), **chosen)}


def _prefix(text: str) -> str:
    from edge.fleet.download import prefix

    try:
        return prefix(text)
    except ValueError as error:
        raise click.UsageError(f"{text!r} is no prefix of URLs: {error}.") from error


def _host() -> str:
    import socket

    return socket.gethostname()
