"""`edge-detect classify`."""

import gc
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from edge.cli.options import EXIT_STATUS, FAILED, lines, model_options, option
from edge.commands import OptionalValuesCommand
from edge.errors import SinkError

if TYPE_CHECKING:
    from edge.inference.router import Router


@click.command(
    cls=OptionalValuesCommand,
    epilog="\b\nExamples:\n  edge-detect classify photo.jpg\n  edge-detect classify --json ./pictures > verdicts.jsonl"
    f"\n\n{EXIT_STATUS}",
)
@click.argument("paths", nargs=-1, required=True, type=click.Path(), metavar="PATH...")
@option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@option("--figure", is_flag=True, help="Also draw <name>_results.png beside each image.")
@option("--recursive", "-r", is_flag=True, help="Look into the sub-folders of folders.")
@model_options
def classify(
    paths: tuple[str, ...], as_json: bool, figure: bool, recursive: bool, router: Callable[[], "Router"]
) -> None:
    """Classify image files, and the images in folders.

    A file that fails gets a line that says why, and the rest goes on.
    """
    gc.disable()  # nothing of what is made until the first verdict is garbage
    from edge.errors import ImageError
    from edge.image import pixels
    from edge.sources.files import images
    from edge.verdict import Failure, Verdict

    network, output, failed = router(), lines(as_json), False
    for path in images(paths, recursive):
        if isinstance(path, OSError):
            output.write(Failure(str(path.filename), (path.strerror or str(path)).lower()))
            failed = True
            continue
        answer = network.answer(path)
        gc.enable()
        output.write(answer)
        failed = failed or isinstance(answer, Failure)
        if figure and isinstance(answer, Verdict):
            from edge import figure as figures

            try:
                figures.write(answer, pixels(path, network.size))
            except (ImageError, SinkError) as error:
                click.echo(f"edge-detect: {error}", err=True)
                failed = True
    sys.exit(FAILED if failed else 0)
