"""Photos: our way, its limit, and the plain way: python -m tests.benchmarks.photos

Part `model`: photos of each kind with the photo model, in one process.

- Ours begins with a file and ends with a verdict: read, decode, cut the first views, run the network, and only if it is
  not sure cut the further views and run it on those.
- The limit of a kind is 1 / (the least decoding that the judged views need + the bare invocations). The least decoding
  goes from the file's content in memory to the pixels of the judged views, by Pillow's own calls and nothing else:
  decode at the scale that the views need (a JPEG's DCT scale; other formats have none, so the squares of pixels below
  the views are averaged), then one `resize` a view. Of a HEIC with tiles, those below the judged views are decoded. Of
  other formats all rows are: no library that runs here decodes a part of a JPEG, and a decoder of JPEG or PNG that
  stops early does not find the damage behind, which is refused today. A bare invocation is `interpreter.invoke()`.
- The plain way decodes all of the file, takes the same views of `convert("RGB")`, and runs the same network, in a loop.
- `watch` is `edge-detect watch --once` on all cores, without its start, beside the plain loop.

Part `views`: the pixels of all views of JPEGs alone (`tests.benchmarks.views` says how). Part `whole`: the whole
picture, as a model for thumbnails takes it; there the plain way is
Image.open(file).convert("RGB").resize(size, BICUBIC). Both begin with the file and end with the pixels that the network
takes. HEIC is in the tables where pillow-heif is installed, in tiles as iPhones write it; the plain way then has as
many threads as pillow-heif takes by itself, and ours has none.
"""

import statistics
import tempfile
from pathlib import Path

import click
import matplotlib
import numpy as np
from PIL import Image

from edge.benchmark.rounds import measure, steps
from edge.errors import UndecodableImageError
from edge.imaging import preprocess
from edge.imaging.preprocess import Pixels
from edge.inference.classifier import Classifier
from edge.inference.model import load
from tests.benchmarks import photo_model, views
from tests.benchmarks.tables import markdown, rounded, tell

try:
    import pillow_heif
except ModuleNotFoundError:
    pillow_heif = None

MEGAPIXELS = {2: (1632, 1224), 12: (4000, 3000), 48: (8000, 6000)}
FORMATS = {
    "JPEG": (".jpg", {"quality": 90}),
    "PNG": (".png", {"compress_level": 3}),
    "WebP": (".webp", {"quality": 85}),
    "HEIC": (".heic", {"quality": 60, "tile_size": 512, "enc_params": {"preset": "fast"}}),
}
HEIC_THREADS = pillow_heif.options.DECODE_THREADS if pillow_heif else 0  # before we change it
PHOTO = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
GENERATED = "Generated: noise of several scales and grain, a decoder's work and no photos."
PARTS = "model", "views", "whole"
GRAIN = 3  # standard deviation, of 255: what a sensor adds and an enlargement lacks


def plain(path: Path, size: tuple[int, int]) -> Pixels:
    """As anyone would write it."""
    if path.suffix == ".heic":
        pillow_heif.register_heif_opener(decode_threads=HEIC_THREADS)
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB").resize(size, Image.Resampling.BICUBIC))


def enlarged(photo: Path, size: tuple[int, int]) -> Image.Image:
    """A photo enlarged, with grain: no more real than that, but as much work for a decoder."""
    with Image.open(photo) as opened:
        large = np.asarray(opened.convert("RGB").resize(size, Image.Resampling.LANCZOS), np.int16)
    grain = np.random.default_rng(0).normal(0, GRAIN, (1000, 1000, 1)).astype(np.int16)
    tiled = np.tile(grain, (-(-size[1] // 1000), -(-size[0] // 1000), 1))[: size[1], : size[0]]
    return Image.fromarray((large + tiled).clip(0, 255).astype(np.uint8))


@click.command()
@click.option("--part", "parts", type=click.Choice(PARTS), multiple=True, default=PARTS)
@click.option(
    "--photos",
    type=click.Path(exists=True, path_type=Path),
    help="A folder of your own, to measure instead of generated ones, and to compare scores on.",
)
@click.option("--rounds", default=3, show_default=True)
@click.option("--seconds", default=3.0, show_default=True, help="For each way, over all rounds.")
@click.option("--megapixels", default="2,12,48", show_default=True, help="Of generated photos: 2, 12 or 48.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the table to a file.")
def main(
    parts: tuple[str, ...], photos: Path | None, rounds: int, seconds: float, megapixels: str, out: Path | None
) -> None:
    """Photos a second, and what the other way of decoding does to the score."""
    told = []
    if "model" in parts:
        told.append(f"## With the photo model\n\n{_with_model(photos, rounds, seconds, megapixels)}")
    if "views" in parts:
        told.append(f"## In views\n\n{_in_views(photos, rounds, seconds)}")
    if "whole" in parts:
        told += ["## As a whole", *_as_a_whole(photos, rounds, seconds, megapixels)]
    tell("tests.benchmarks.photos", told, out)


def _with_model(photos: Path | None, rounds: int, seconds: float, megapixels: str) -> str:
    if photos:
        return photo_model.report(photo_model.given(photos), rounds, seconds)
    with tempfile.TemporaryDirectory() as name:
        kinds = photo_model.generated(Path(name), list(map(int, megapixels.split(","))))
        return f"{GENERATED}\n\n{photo_model.report(kinds, rounds, seconds)}"


def _in_views(photos: Path | None, rounds: int, seconds: float) -> str:
    about = "Real photos." if photos else GENERATED
    with tempfile.TemporaryDirectory() as name:
        if photos is None:
            for seed in range(views.COUNT):
                views.detailed(Path(name) / f"{seed}.jpg", views.MEGAPIXELS_12, seed)
        folder = photos or Path(name)
        paths = sorted(str(path) for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
        if not paths:
            return "No JPEG among the photos."
        return f"{about} {views.compared(paths[: views.COUNT], rounds, seconds)}"


def _as_a_whole(photos: Path | None, rounds: int, seconds: float, megapixels: str) -> list[str]:
    network = Classifier(load())
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for millions in map(int, megapixels.split(",")):
            picture = enlarged(PHOTO, MEGAPIXELS[millions])
            for format_, (suffix, options) in FORMATS.items():
                path = Path(name) / f"{millions}{suffix}"
                if format_ == "HEIC" and not _has_heic_encoder():
                    rows.append([format_, f"{millions}", "", "left out: needs pillow-heif with an encoder", "", "", ""])
                    continue
                picture.save(path, **options)
                rows.append([format_, f"{millions}", *_compared(path, network, rounds, seconds)])
                path.unlink()
        heading = (
            "format",
            "megapixels",
            "MB",
            "ours, photos/s",
            "plain, photos/s",
            "ours : plain",
            "score differs by",
        )
        parts = [
            f"{PHOTO.name}, the photo that comes with matplotlib, enlarged, with grain of {GRAIN}: no real large photo,"
            " but the work of one for a decoder.",
            markdown(heading, rows),
        ]
        real = [
            path
            for path in ([PHOTO] if photos is None else sorted(photos.rglob("*")))
            if path.suffix.lower() in preprocess.SUFFIXES
        ]
        parts.append(_scores(real, network))
    return parts


def _has_heic_encoder() -> bool:
    if pillow_heif is None or not pillow_heif.libheif_info()["HEIF"]:
        return False
    pillow_heif.register_heif_opener()
    return True


def _compared(path: Path, network: Classifier, rounds: int, seconds: float) -> list[str]:
    try:
        preprocess.pixels(path, network.size)
    except UndecodableImageError:
        return [f"{path.stat().st_size / 1e6:.1f}", "refused: more memory than a small board has", "", "", ""]

    def ours() -> int:
        preprocess.pixels(path, network.size)
        return 1

    def theirs() -> int:
        plain(path, network.size)
        return 1

    taken = measure({"ours": steps(ours), "plain": steps(theirs)}, seconds, rounds)
    turns = zip(taken["ours"].rounds, taken["plain"].rounds, strict=True)
    ratio = statistics.median((a.images / a.seconds) / (b.images / b.seconds) for a, b in turns)
    rates = [taken[name].per_second for name in ("ours", "plain")]
    difference = abs(network.score(preprocess.pixels(path, network.size)) - network.score(plain(path, network.size)))
    return [f"{path.stat().st_size / 1e6:.1f}", *map(rounded, (*rates, ratio)), f"{difference:.4f}"]


def _scores(paths: list[Path], network: Classifier) -> str:
    pairs = [
        (network.score(preprocess.pixels(path, network.size)), network.score(plain(path, network.size)))
        for path in paths
    ]
    differ = [abs(one - other) for one, other in pairs]
    labels = sum((one > network.model.threshold) != (other > network.model.threshold) for one, other in pairs)
    return (
        f"Real photos as they are, {len(paths)} of them: the score differs by {statistics.mean(differ):.4f} on average,"
        f" {max(differ):.4f} at most; {labels} labels differ."
    )


if __name__ == "__main__":
    main()
