"""`python -m convert MODEL.keras`: convert, verify, and only then hand out; and `python -m convert check`."""

import json
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from edge.cli.commands import Command, output_folder

PROGRAM = "python -m convert"
CHECK = "check"  # as first argument, the other command; a model of that name is ./check
UNQUALIFIED = 1  # exit status


def main() -> None:
    """Run the command that the arguments name; without one, they are those of `convert`."""
    if sys.argv[1:2] == [CHECK]:
        check(sys.argv[2:], prog_name=f"{PROGRAM} {CHECK}")
    convert(prog_name=PROGRAM)


def _sides(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[int, int] | None:
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
    help="Folder with train/REAL and train/FAKE, or with REAL/SOURCE/... for a model of crops; tests are not read.",
)
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder for the files.")
@click.option("--calibration", default=512, type=click.IntRange(2), help="Images to calibrate int8 on.")
@click.option("--seed", default=0, type=click.IntRange(0), help="Of the calibration sample.")
@click.option(
    "--domain",
    callback=_sides,
    metavar="LEAST-MOST",
    help="Pixels a side of images that the model is for.  [default: as in the images measured on]",
)
@click.option("--edgetpu", is_flag=True, help="Also compile the int8 file for the Edge TPU.")
@click.option("--allow-cpu", is_flag=True, help="Accept operations that the Edge TPU leaves to the CPU.")
def convert(
    model: Path,
    data: Path,
    out: Path,
    calibration: int,
    seed: int,
    domain: tuple[int, int] | None,
    edgetpu: bool,
    allow_cpu: bool,
) -> None:
    """Write float16 and int8 LiteRT files of a Keras model, each with its JSON.

    Every file is verified against the Keras model before it is handed out; one
    that lost more than half a point of accuracy is an error, and nothing is
    written.
    """
    from convert import edgetpu as compiler
    from convert.errors import CompilerError

    if edgetpu and not compiler.is_available():
        raise CompilerError(compiler.WHERE_TO_GET_IT)  # before the work, not after it

    from convert import converter
    from edge.inference.model import Domain

    output_folder(out)
    with TemporaryDirectory(dir=out, prefix=".partial-") as folder:
        partial = Path(folder)
        rows, origin = converter.convert(
            model, data, partial, calibration, seed, Domain(domain, domain) if domain else None
        )
        if edgetpu:
            report = compiler.compile_model(partial / f"{rows[-1].name}.tflite", partial, allow_cpu=allow_cpu)
            click.echo(f"Edge TPU: {sum(report.mapped.values())} operations on it, {len(report.unmapped)} kinds not")
        for path in sorted([*partial.glob("*.tflite"), *partial.glob("*.json")]):  # not the compiler's log
            # Between a file and its JSON the two do not fit, for a moment: a runner that starts then says so.
            os.replace(path, out / path.name)
    click.echo(converter.table(rows, origin))


@click.command(
    cls=Command,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=f"Example: {PROGRAM} {CHECK} models/compact_int8.tflite --edgetpu\n\n"
    "Exit status: 0 it qualifies, 1 it does not, 2 it cannot be read.",
)
@click.argument("model", type=click.Path(path_type=Path), metavar="FILE.tflite")
@click.option("--edgetpu", is_flag=True, required=True, help="Whether every operation of it can run on an Edge TPU.")
@click.option("--json", "as_json", is_flag=True, help="For a program.")
def check(model: Path, edgetpu: bool, as_json: bool) -> None:
    """Look whether a LiteRT file qualifies for something, without Google's compiler."""
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
