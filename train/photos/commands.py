"""The commands `pack` and `unpack`, which carry a collection's pieces to a machine with a GPU."""

import time
from pathlib import Path
from typing import Any

import click

from edge.cli.commands import output_folder

FOLDER = click.Path(file_okay=False, path_type=Path)
FILE = click.Path(dir_okay=False, path_type=Path)


@click.command(epilog="Example: python -m train pack --data PHOTOS --split train/recipes/photo_split.json --out shards")
@click.option("--data", required=True, type=FOLDER, help="Folder with REAL/SOURCE/... and FAKE/SOURCE/...")
@click.option(
    "--split", type=FILE, help="JSON file that names the groups to hold out.  [default: a tenth of them, by --seed]"
)
@click.option("--out", required=True, type=FOLDER, help="Folder for the shards; complete ones are not written again.")
@click.option(
    "--shard-mb", default=48.0, type=click.FloatRange(1, 2000), help="Largest size of a shard, in 10^6 bytes."
)
@click.option("--shards", default=10, type=click.IntRange(1), help="Largest number of training shards.")
@click.option("--cache", type=FOLDER, help="Folder that keeps decoded pieces between calls.  [default: in --out]")
@click.option(
    "--seed",
    default=0,
    type=click.IntRange(0),
    help="Seed of the pieces' order, and of the split if there is no --split.",
)
@click.option("--processes", type=click.IntRange(1), help="Number of processes that cut pieces.  [default: all cores]")
def pack(data: Path, split: Path | None, out: Path, cache: Path | None, **options: Any) -> None:
    """Pack pieces of photos into files to copy one by one.

    train-000.tar has pieces of every source, and each further file adds more.
    validation-000.tar has the pieces that choose the best epoch of a run.
    """
    from train.photos.collection import Split
    from train.photos.material import TRAIN, VALIDATION, of_collection
    from train.photos.pieces import CHECKED
    from train.photos.shards import Packing
    from train.photos.shards import pack as pack_side

    out = output_folder(out)
    chosen, seed = Split.from_file(split) if split else None, options["seed"]
    material = of_collection(data, chosen, cache or out / "cache", seed, options["processes"])
    shard_bytes = round(options["shard_mb"] * 1e6)
    for name, side, packing in (
        (VALIDATION, material.validation, Packing(data, shard_bytes, 1, seed, CHECKED, material.held_out)),
        (TRAIN, material.training, Packing(data, shard_bytes, options["shards"], seed)),
    ):
        for path, pieces, left_out in pack_side(name, side, out, packing):
            megabytes = path.stat().st_size / 1e6
            click.echo(f"{path}: {pieces} pieces, {megabytes:.1f} MB; {left_out} pieces are not packed yet")


@click.command(epilog="Example: python -m train unpack shards/train-000.tar shards/validation-000.tar --out pieces")
@click.argument("shards", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="SHARD...")
@click.option(
    "--out", required=True, type=FOLDER, help="Folder for the pieces, to train on; it may hold pieces already."
)
@click.option("--processes", type=click.IntRange(1), help="Number of processes that decode.  [default: all cores]")
def unpack(shards: tuple[Path, ...], out: Path, processes: int | None) -> None:
    """Decode shards into a folder to train on.

    SHARD is a file, or a folder: all shards in it.
    """
    from train.photos.shards import unpack as unpack_shards

    paths = [path for shard in shards for path in (sorted(shard.glob("*.tar")) if shard.is_dir() else [shard])]
    began = time.monotonic()
    for path, pieces in unpack_shards(paths, output_folder(out), processes):
        added = f"{pieces} pieces, {time.monotonic() - began:.1f} s" if pieces else "unpacked already"
        click.echo(f"{path}: {added}")
