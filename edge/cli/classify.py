"""`edge-detect classify`."""

import gc
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from edge.cli.commands import Finished, OptionalValuesCommand
from edge.cli.options import EXIT_STATUS, FAILED, lines, model_options, option, provenance_options
from edge.errors import SinkError, reason_of

if TYPE_CHECKING:
    from edge.inference.router import Router
    from edge.serve.remote import RemoteClassifier
    from edge.verdict import Verdict

# Options that decide here, without --server, what decides there with it.
LOCAL = frozenset(("figure", "model", "false_alarms", "no_unsure", "threads", "runtime", "tpu", "tpu_library"))
LOCAL |= {"trust_provenance", "trust_list"}


@click.command(
    cls=OptionalValuesCommand,
    epilog="\b\nExamples:\n  edge-detect classify photo.jpg\n  edge-detect classify --json ./pictures > verdicts.jsonl"
    "\n  edge-detect classify --server http://pi4.local:8642 --token-file token photo.jpg"
    f"\n\n{EXIT_STATUS}",
)
@click.argument("paths", nargs=-1, required=True, type=click.Path(), metavar="PATH...")
@option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
@option("--explain", is_flag=True, help="Add the position and logit of each crop that the model judged.")
@option(
    "--figure", is_flag=True, help="Draw <name>_results.png beside each image, with the evidence for FAKE and REAL."
)
@option("--recursive", "-r", is_flag=True, help="Include sub-folders.")
@option(
    "--server",
    metavar="URL",
    help="Let the `edge-detect serve` at this address classify, with its model; images are sent there.",
)
@option(
    "--token-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Read the server's token from this file.",
)
@provenance_options
@model_options
def classify(
    paths: tuple[str, ...],
    as_json: bool,
    explain: bool,
    figure: bool,
    recursive: bool,
    server: str | None,
    token_file: Path | None,
    router: Callable[[], "Router"],
) -> None:
    """Classify image files, and the images in folders.

    A file that cannot be classified gets a line with the reason.
    """
    gc.disable()  # until the first verdict, as while modules are imported: nothing that is allocated is garbage
    from edge import requirements
    from edge.sources.files import images
    from edge.verdict import Failure, Verdict

    if server is None:
        os.environ["OPENBLAS_NUM_THREADS"] = "1"  # nothing here multiplies matrices; to start threads takes time
        requirements.load("numpy")  # here its error is one line
    models = router() if server is None else None
    answer_of = models.answer if models else _remote(server or "", token_file).answer
    output, failed = lines(as_json), False
    for path in images(paths, recursive, lambda line: click.echo(f"edge-detect: {line}", err=True)):
        if isinstance(path, OSError):
            output.write(Failure(str(path.filename), reason_of(path)))
            failed = True
            continue
        answer = answer_of(path, explain=explain or figure)
        gc.enable()
        output.write(_without_explanation(answer) if isinstance(answer, Verdict) and not explain else answer)
        failed = failed or isinstance(answer, Failure)
        if figure and models and isinstance(answer, Verdict):
            failed = not _drawn(answer, models) or failed
    status = FAILED if failed else 0
    if click.get_current_context().params["tpu"] is not None:
        sys.exit(status)  # the usual end releases the Coral
    raise Finished(status)


def _remote(server: str, token_file: Path | None) -> "RemoteClassifier":
    """
    Raises:
        click.UsageError: an option is given that has no effect there.
    """
    from edge.serve.remote import RemoteClassifier, read_token

    context = click.get_current_context()
    for name in sorted(LOCAL):
        if context.get_parameter_source(name) in (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT):
            spelling = name.replace("_", "-")
            raise click.UsageError(f"--{spelling} and --server exclude each other: the server decides that.")
    return RemoteClassifier(server, None if token_file is None else read_token(token_file))


def _without_explanation(verdict: "Verdict") -> "Verdict":
    from edge.records import replace

    return verdict._replace(explain=None, provenance=tuple(replace(one, prompt=None) for one in verdict.provenance))


def _drawn(verdict: "Verdict", models: "Router") -> bool:
    """Draw the figure of a verdict; returns False, after an error message, if that failed."""
    from edge.errors import ImageError
    from edge.imaging import annotate
    from edge.imaging.inputs import take

    try:
        chosen, taken = take(verdict.path, None, models.choose)
        annotate.write(verdict, taken.pixels[0] if chosen.views is None else None)
    except (ImageError, SinkError) as error:
        click.echo(f"edge-detect: {error}", err=True)
        return False
    return True
