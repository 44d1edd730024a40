"""The commands `pack` and `unpack`: a collection on its way to a machine with a GPU."""

import time
from pathlib import Path

import click

from edge.cli.commands import output_folder

FOLDER = click.Path(file_okay=False, path_type=Path)
FILE = click.Path(dir_okay=False, path_type=Path)


@click.command(epilog="Example: python -m train pack --data PHOTOS --split train/recipes/photo_split.json --out shards")
@click.option("--data", required=True, type=FOLDER, help="Folder with REAL/SOURCE/... and FAKE/SOURCE/...")
@click.option("--split", type=FILE, help="JSON that names the groups to hold out.  [default: a tenth, by --seed]")
@click.option("--out", required=True, type=FOLDER, help="Folder for the shards; whole ones are not written again.")
@click.option(
    "--shard-mb", default=48.0, type=click.FloatRange(1, 2000), help="Size of a shard at most, in 10^6 bytes."
)
@click.option("--shards", default=10, type=click.IntRange(1), help="Shards to train on, at most.")
@click.option("--cache", type=FOLDER, help="Where decoded pieces are kept between calls.  [default: in --out]")
@click.option(
    "--seed",
    default=0,
    type=click.IntRange(0),
    help="Seed of the pieces' order, and of the split without --split.",
)
@click.option("--processes", type=click.IntRange(1), help="Processes that cut pieces.  [default: one a core]")
def pack(
    data: Path,
    split: Path | None,
    out: Path,
    shard_mb: float,
    shards: int,
    cache: Path | None,
    seed: int,
    processes: int | None,
) -> None:
    """Write the pieces of a collection of photos as files to be copied one by one.

    train-000.tar has something of every source, and each further one
    has more; validation-000.tar is what a run is chosen by.
    """
    from train.photos.collection import Split
    from train.photos.material import TRAIN, VALIDATION, of_collection
    from train.photos.pieces import CHECKED
    from train.photos.shards import pack as pack_side

    out = output_folder(out)
    material = of_collection(data, Split.from_file(split) if split else None, cache or out / "cache", seed, processes)
    for name, side, most, together in (
        (VALIDATION, material.validation, 1, CHECKED),
        (TRAIN, material.training, shards, 0),
    ):
        packed = pack_side(
            name,
            side.pictures,
            side.shares,
            side.pieces,
            out,
            root=data,
            shard_bytes=round(shard_mb * 1e6),
            most=most,
            seed=seed,
            together=together,
            held_out=material.held_out if name == VALIDATION else None,
        )
        for path, pieces, left_out in packed:
            click.echo(f"{path}: {pieces} pieces, {path.stat().st_size / 1e6:.1f} MB; {left_out} pieces are left")


@click.command(epilog="Example: python -m train unpack shards/train-000.tar shards/validation-000.tar --out pieces")
@click.argument("shards", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="SHARD...")
@click.option("--out", required=True, type=FOLDER, help="Folder for the pieces, for fit --data; it may hold some.")
@click.option("--processes", type=click.IntRange(1), help="Processes that decode.  [default: one a core]")
def unpack(shards: tuple[Path, ...], out: Path, processes: int | None) -> None:
    """Decode shards, or all shards of a folder, adding them to those in --out."""
    from train.photos.shards import unpack as unpack_shards

    paths = [path for shard in shards for path in (sorted(shard.glob("*.tar")) if shard.is_dir() else [shard])]
    began = time.monotonic()
    for path, pieces in unpack_shards(paths, output_folder(out), processes):
        click.echo(f"{path}: " + (f"{pieces} pieces, {time.monotonic() - began:.1f} s" if pieces else "there already"))
