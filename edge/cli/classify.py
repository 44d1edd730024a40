"""`edge-detect classify`."""

import gc
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from edge.cli.commands import OptionalValuesCommand
from edge.cli.options import EXIT_STATUS, FAILED, lines, model_options, option
from edge.errors import SinkError, reason_of

if TYPE_CHECKING:
    from edge.inference.router import Router
    from edge.verdict import Verdict


@click.command(
    cls=OptionalValuesCommand,
    epilog="\b\nExamples:\n  edge-detect classify photo.jpg\n  edge-detect classify --json ./pictures > verdicts.jsonl"
    f"\n\n{EXIT_STATUS}",
)
@click.argument("paths", nargs=-1, required=True, type=click.Path(), metavar="PATH...")
@option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
@option("--explain", is_flag=True, help="Add the position and logit of each crop that the model judged.")
@option(
    "--figure", is_flag=True, help="Draw <name>_results.png beside each image, with the evidence for FAKE and REAL."
)
@option("--recursive", "-r", is_flag=True, help="Include sub-folders.")
@model_options
def classify(
    paths: tuple[str, ...],
    as_json: bool,
    explain: bool,
    figure: bool,
    recursive: bool,
    router: Callable[[], "Router"],
) -> None:
    """Classify image files, and the images in folders.

    A file that cannot be classified gets a line with the reason.
    """
    gc.disable()  # until the first verdict: nothing that is allocated before is garbage
    from edge.sources.files import images
    from edge.verdict import Failure, Verdict

    models, output, failed = router(), lines(as_json), False
    for path in images(paths, recursive, lambda line: click.echo(f"edge-detect: {line}", err=True)):
        if isinstance(path, OSError):
            output.write(Failure(str(path.filename), reason_of(path)))
            failed = True
            continue
        answer = models.answer(path, explain=explain or figure)
        gc.enable()
        output.write(replace(answer, explain=None) if isinstance(answer, Verdict) and not explain else answer)
        failed = failed or isinstance(answer, Failure)
        if figure and isinstance(answer, Verdict):
            failed = not _drawn(answer, models) or failed
    sys.exit(FAILED if failed else 0)


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
