"""`python -m convert MODEL.keras`: convert, verify, and only then hand out."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from edge.commands import Command, output_folder


@click.command(
    cls=Command,
    context_settings={"help_option_names": ["-h", "--help"], "show_default": True},
    epilog="Example: python -m convert runs/compact/model.keras --data CIFAKE --out models",
)
@click.argument("model", type=click.Path(path_type=Path), metavar="MODEL.keras")
@click.option(
    "--data",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder with train/REAL and train/FAKE; the test split is not read.",
)
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder for the files.")
@click.option("--calibration", default=512, type=click.IntRange(2), help="Images to calibrate int8 on.")
@click.option("--seed", default=0, type=click.IntRange(0), help="Of the calibration sample.")
@click.option("--edgetpu", is_flag=True, help="Also compile the int8 file for the Edge TPU.")
@click.option("--allow-cpu", is_flag=True, help="Accept operations that the Edge TPU leaves to the CPU.")
def main(model: Path, data: Path, out: Path, calibration: int, seed: int, edgetpu: bool, allow_cpu: bool) -> None:
    """Write float16 and int8 LiteRT files of a Keras model, each with its JSON.

    Every file is verified against the Keras model before it is handed out; one
    that lost more than half a point of accuracy is an error, and nothing is
    written.
    """
    from convert import edgetpu as compiler
    from convert.errors import CompilerError

    if edgetpu and not compiler.is_available():
        raise CompilerError(compiler.WHERE_TO_GET_IT)  # before the work, not after it

    from convert.formats import convert, table

    output_folder(out)
    with TemporaryDirectory(dir=out, prefix=".partial-") as folder:
        partial = Path(folder)
        rows, origin = convert(model, data, partial, calibration, seed)
        if edgetpu:
            report = compiler.compile_model(partial / f"{rows[-1].name}.tflite", partial, allow_cpu=allow_cpu)
            click.echo(f"Edge TPU: {sum(report.mapped.values())} operations on it, {len(report.unmapped)} kinds not")
        for path in sorted([*partial.glob("*.tflite"), *partial.glob("*.json")]):  # not the compiler's log
            # Between a file and its JSON the two do not fit, for a moment: a runner that starts then says so.
            os.replace(path, out / path.name)
    click.echo(table(rows, origin))
