"""The command lines `python -m convert MODEL.keras` and `python -m convert check FILE.tflite`."""

import json
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from edge.cli.commands import Command, output_folder

PROGRAM = "python -m convert"
CHECK = "check"  # first argument of the second command; to convert a file of that name, write ./check
UNQUALIFIED = 1  # exit status


def main() -> None:
    """Run `check` if it is the first argument, else `convert`."""
    if sys.argv[1:2] == [CHECK]:
        check(sys.argv[2:], prog_name=f"{PROGRAM} {CHECK}")
    convert(prog_name=PROGRAM)


def _pixel_range(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[int, int] | None:
    """Parse a range of pixels, LEAST-MOST."""
    if value is None:
        return None
    least, _, most = value.partition("-")
    if not (least.isdecimal() and most.isdecimal() and 1 <= int(least) <= int(most)):
        raise click.BadParameter(f"{value!r} is not a range of pixels such as 200-12000.")
    return int(least), int(most)


@click.command(
    cls=Command,
    context_settings={"help_option_names": ["-h", "--help"], "show_default": True},
    epilog=f"\b\nExamples:\n  {PROGRAM} runs/compact/model.keras --data CIFAKE --out models\n"
    f"  {PROGRAM} {CHECK} models/compact_int8.tflite --edgetpu",
)
@click.argument("model", type=click.Path(path_type=Path), metavar="MODEL.keras")
@click.option(
    "--data",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder that the model was trained on: with train/REAL and train/FAKE, or with REAL/SOURCE/... and "
    "FAKE/SOURCE/... for a model of crops. Test images are not read.",
)
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder for the files.")
@click.option(
    "--calibration", default=512, type=click.IntRange(2), help="Number of images that calibrate the int8 file."
)
@click.option("--seed", default=0, type=click.IntRange(0), help="Seed of the choice of these images.")
@click.option(
    "--domain",
    callback=_pixel_range,
    metavar="LEAST-MOST",
    help="Range of the sides, in pixels, of the images that the model is for, such as 200-12000.  [default: the range "
    "of the images that verify the files]",
)
@click.option(
    "--edgetpu", is_flag=True, help="Also compile the int8 file for the Edge TPU; needs Google's edgetpu_compiler."
)
@click.option("--allow-cpu", is_flag=True, help="With --edgetpu: accept operations that are left to the CPU.")
def convert(
    model: Path, data: Path, out: Path, domain: tuple[int, int] | None, edgetpu: bool, allow_cpu: bool, **options: Any
) -> None:
    """Convert a Keras model to float16 and int8 LiteRT files, each with a JSON.

    Every file is compared with the Keras model. If one has lost more than half
    a percentage point of accuracy, nothing is written, and the exit status is
    2.
    """
    from convert import edgetpu as compiler
    from convert.errors import CompilerError

    if edgetpu and not compiler.is_available():
        raise CompilerError(compiler.NOT_INSTALLED)  # now, not after the conversion

    from convert import converter
    from edge.inference.model import Domain

    output_folder(out)
    with TemporaryDirectory(dir=out, prefix=".partial-") as folder:
        partial = Path(folder)
        rows, origin = converter.convert(
            model, data, partial, options["calibration"], options["seed"], Domain(domain, domain) if domain else None
        )
        if edgetpu:
            report = compiler.compile_model(partial / f"{rows[-1].name}.tflite", partial, allow_cpu=allow_cpu)
            mapped = sum(report.mapped.values())
            click.echo(f"Edge TPU: {mapped} operations run on it; {len(report.unmapped)} kinds of operations do not")
        for path in sorted([*partial.glob("*.tflite"), *partial.glob("*.json")]):  # leaves out the compiler's log
            # Between the two moves a file and its JSON do not match: a runner that starts then reports that.
            os.replace(path, out / path.name)
    click.echo(converter.table(rows, origin))


@click.command(
    cls=Command,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=f"Example: {PROGRAM} {CHECK} models/compact_int8.tflite --edgetpu\n\n"
    "Exit status: 0 the file qualifies, 1 it does not, 2 it cannot be read.",
)
@click.argument("model", type=click.Path(path_type=Path), metavar="FILE.tflite")
@click.option("--edgetpu", is_flag=True, required=True, help="Check whether every operation can run on an Edge TPU.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
def check(model: Path, edgetpu: bool, as_json: bool) -> None:
    """Check whether a LiteRT file qualifies for the Edge TPU, without its compiler."""
    from convert.edgetpu_check import qualification
    from edge.errors import printable
    from edge.inference.model import load

    found = qualification(load(model))
    if as_json:
        click.echo(json.dumps({"file": str(model), **found.as_json()}))
    else:
        click.echo(found.table())
        click.echo(f"{printable(model.name)}: {found}")
    sys.exit(UNQUALIFIED if found.reasons else 0)
