"""The command line of training: `python -m train`."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from edge.cli.commands import Group, output_folder
from train.photos.commands import pack, unpack
from train.publish_command import publish

if TYPE_CHECKING:
    from train.evaluate import Evaluation
    from train.photos.collection import Picture, Split

FOLDER = click.Path(file_okay=False, path_type=Path)
ENDLESS = 1_000_000  # epochs of a run that ends by the clock
CHANGED_PICTURES = 150  # pictures of each class that `evaluate --corruptions` measures changes of photos on
FILE = click.Path(dir_okay=False, path_type=Path)


@click.group(
    cls=Group,
    context_settings={"help_option_names": ["-h", "--help"], "show_default": True},
    epilog="Example: python -m train fit --help",
)
def main() -> None:
    """Train models on REAL and FAKE images, and measure them."""


main.add_command(pack)
main.add_command(unpack)
main.add_command(publish)


@main.command(epilog="Example: python -m train fit --data CIFAKE --out runs/compact")
@click.option(
    "--data",
    required=True,
    type=FOLDER,
    help="Folder with train/REAL and train/FAKE. For photo: with REAL/SOURCE/... and FAKE/SOURCE/..., or with "
    "unpacked shards.",
)
@click.option("--out", required=True, type=FOLDER, help="Folder for the model, its history and figures.")
@click.option("--recipe", default="compact", help="Recipe to train: compact, small, resnet50 or photo.")
@click.option(
    "--weights",
    help="Weights to start from, for resnet50 and photo: imagenet (their default), none, or a file. "
    "photo also takes model.keras or a .weights.h5 file of another run.",
)
@click.option("--epochs", type=click.IntRange(1), help="Number of epochs.  [default: the recipe's]")
@click.option("--batch-size", type=click.IntRange(1), help="Images of a batch.  [default: the recipe's]")
@click.option(
    "--learning-rate",
    type=click.FloatRange(0, min_open=True),
    help="Highest learning rate.  [default: the recipe's]",
)
@click.option(
    "--corrupted",
    type=click.FloatRange(0, 1),
    help="Share of training images to re-encode, blur, rescale and the like; not for photo.  [default: the recipe's]",
)
@click.option(
    "--seed", default=0, type=click.IntRange(0), help="Seed of the split, the weights and the order of images."
)
@click.option(
    "--validation",
    default=0.05,
    type=click.FloatRange(0, 0.5, min_open=True),
    help="Share of train/ to hold out, which chooses the best epoch; not for photo.",
)
@click.option(
    "--fraction",
    default=1.0,
    type=click.FloatRange(0, 1, min_open=True),
    help="Share of the remaining images to train on, less than 1 to try an idea; not for photo.",
)
@click.option(
    "--patience",
    default=10,
    type=click.IntRange(1),
    help="Stop after this many epochs without a better validation accuracy; not for photo.",
)
@click.option(
    "--precision",
    default="float32",
    type=click.Choice(["float32", "mixed_bfloat16", "mixed_float16"]),
    help="Precision of the arithmetic; mixed_bfloat16 is faster on processors and GPUs with bfloat16.",
)
@click.option(
    "--set", "changes", multiple=True, metavar="NAME=VALUE", help="Change a setting of the recipe: optimizer=adamw."
)
@click.option(
    "--split",
    type=FILE,
    help="For photo: JSON file that names the groups to hold out.  [default: a tenth of them, by --seed]",
)
@click.option("--draws", type=click.IntRange(1), help="For photo: crops of an epoch.  [default: the recipe's]")
@click.option(
    "--cache", type=FOLDER, help="For photo: folder that keeps decoded pieces between runs.  [default: in --out]"
)
@click.option("--processes", default=2, type=click.IntRange(1), help="For photo: number of processes that make crops.")
@click.option(
    "--minutes",
    default=0.0,
    type=click.FloatRange(0),
    help="For photo: length of the run in minutes, in place of --epochs; 0 counts epochs.",
)
@click.option(
    "--stop-after",
    type=click.FloatRange(0, min_open=True),
    metavar="MINUTES",
    help="For photo: end this call after the last epoch that fits into this time; continue with --resume.",
)
@click.option("--resume", is_flag=True, help="Continue the run in --out after its last finished epoch.")
def fit(
    data: Path,
    out: Path,
    recipe: str,
    split: Path | None,
    cache: Path | None,
    resume: bool,
    stop_after: float | None,
    **options: Any,
) -> None:
    """Train a recipe on the images of a folder.

    Part of the images is held out to choose the best epoch. The test split is
    not read.
    """
    from train.checkpoint import Settings
    from train.fit import fit as fit_recipe
    from train.recipes import RECIPES

    if recipe not in RECIPES:
        raise click.BadParameter(f"{recipe!r} is none of {', '.join(RECIPES)}.", param_hint="--recipe")
    chosen = RECIPES[recipe]
    if chosen.weights == "none" and options["weights"] not in (None, "none"):
        raise click.BadParameter(f"{recipe} has no pretrained weights; omit the option.", param_hint="--weights")
    for change in options["changes"]:
        if "=" not in change:
            raise click.BadParameter(f"{change!r} is not NAME=VALUE.", param_hint="--set")
    settings = Settings(
        recipe=recipe,
        weights=options["weights"] or chosen.weights,
        epochs=options["epochs"] or (ENDLESS if options["minutes"] else chosen.epochs),
        batch_size=options["batch_size"] or chosen.batch_size,
        learning_rate=options["learning_rate"] or chosen.learning_rate,
        corrupted=chosen.corrupted if options["corrupted"] is None else options["corrupted"],
        seed=options["seed"],
        validation_fraction=options["validation"],
        fraction=options["fraction"],
        patience_epochs=options["patience"],
        precision=options["precision"],
        changes=dict(change.split("=", 1) for change in options["changes"]),
        draws=options["draws"] or chosen.draws or 0,
        processes=options["processes"],
        minutes=options["minutes"],
    )
    if chosen.draws is None:
        fit_recipe(data, out, settings, resume=resume)
    else:
        from train.photos.fit import fit as fit_photos

        fit_photos(data, out, settings, split=_split(split), resume=resume, cache=cache, minutes_of_call=stop_after)


def _split(path: Path | None) -> "Split | None":
    from train.photos.collection import Split

    return None if path is None else Split.from_file(path)


@main.command(
    epilog="\b\nExamples:\n  python -m train evaluate models/compact_int8.tflite --data CIFAKE\n"
    "  python -m train evaluate models/photo_int8.tflite --data PHOTOS --split train/recipes/photo_split.json"
)
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--data",
    required=True,
    type=FOLDER,
    help="Folder with test/REAL and test/FAKE; for photos, with REAL/SOURCE/... and FAKE/SOURCE/...",
)
@click.option("--json", "as_json", is_flag=True, help="Print the figures as one JSON object.")
@click.option(
    "--run",
    type=FOLDER,
    help="Measure on the images that this run has held out for validation, in place of the test images. For photos: on "
    "the validation groups of the split.",
)
@click.option("--corruptions", is_flag=True, help="Also measure after re-encoding, blur, noise and rescaling.")
@click.option("--figures", type=FOLDER, help="Folder to draw figures into: ROC curves, mistakes and the like.")
@click.option(
    "--split",
    type=FILE,
    help="For photos: JSON file that names the groups held out.  [default: a tenth of them, by --seed]",
)
@click.option("--seed", default=0, type=click.IntRange(0), help="For photos: seed of the split if there is no --split.")
def evaluate(
    model: Path, data: Path, as_json: bool, run: Path | None, corruptions: bool, figures: Path | None, **options: Any
) -> None:
    """Measure a model on test images.

    MODEL is a .keras or a .tflite file.

    Every figure is reported twice: on all test images, and without the leaked
    ones, whose bytes are also in train/.

    A .tflite file that judges crops of photos is measured on the test groups of
    a folder with REAL/SOURCE/... and FAKE/SOURCE/...: on each picture
    unchanged, as a website passes it on (768 pixels, JPEG 60), and degraded
    further (512 pixels, JPEG 40).
    """
    out = output_folder(figures) if figures else None
    if _takes_views(model):
        side = "test" if run is None else "validation"
        pictures = _sides(data, options["split"], options["seed"], side)[side]
        _evaluate_photos(model, pictures, CHANGED_PICTURES * corruptions, as_json, out)
        return
    from train.evaluate import evaluate as evaluate_model

    with TemporaryDirectory() as scratch:
        evaluation, scores, test = evaluate_model(model, data, Path(scratch), run=run, corruptions=corruptions)
    click.echo(json.dumps(evaluation.as_json()) if as_json else _table(evaluation))
    if out:
        from train.figures import score_figures

        score_figures(
            scores, test.labels, test.paths, out, "test" if run is None else "validation", evaluation.threshold
        )


def _takes_views(model: Path) -> bool:
    """Whether a model judges crops of photos."""
    from edge.inference.model import described

    found = described(model) if model.suffix == ".tflite" else None
    return found is not None and found.views is not None


def _evaluate_photos(model: Path, pictures: "list[Picture]", some: int, as_json: bool, out: Path | None) -> None:
    from train.photos.evaluate import evaluate as evaluate_photos
    from train.photos.evaluate import table

    evaluation, rows = evaluate_photos(model, pictures, some=some)
    click.echo(json.dumps(evaluation.as_json()) if as_json else table(evaluation))
    if out:
        from train.photos.figures import draw

        draw(evaluation, rows, out / "photo_evaluation.png")


@main.command(epilog="Example: python -m train calibrate models/photo_int8.tflite --data PHOTOS --split SPLIT.json")
@click.argument("models", nargs=-1, required=True, type=FILE, metavar="MODEL...")
@click.option("--data", required=True, type=FOLDER, help="Folder with REAL/SOURCE/... and FAKE/SOURCE/...")
@click.option(
    "--split", type=FILE, help="JSON file that names the groups held out.  [default: a tenth of them, by --seed]"
)
@click.option("--seed", default=0, type=click.IntRange(0), help="Seed of the split if there is no --split.")
def calibrate(models: tuple[Path, ...], data: Path, split: Path | None, seed: int) -> None:
    """Fit probabilities and thresholds of photo models.

    They are fitted to the validation pictures, and written into the JSON beside
    each MODEL, a .tflite file.
    """
    from train.photos.calibrate import calibrate as calibrate_model

    pictures = _sides(data, split, seed, "validation")["validation"]
    for model in models:
        found = calibrate_model(model, pictures)
        click.echo(f"{model}: {found.answers} answers; logit x {found.fusion.scale:.3f} + {found.fusion.offset:.3f}")
        for point in found.points:
            click.echo(
                f"  {point.name:>4}: FAKE below {point.fake_below:.3f}, REAL above {point.real_above:.3f};"
                f" false alarms {point.false_alarms:.1%}, misses {point.misses:.1%}"
            )


@main.command(epilog="Example: python -m train probe --data PHOTOS --split SPLIT.json --model models/photo_int8.tflite")
@click.option("--data", required=True, type=FOLDER, help="Folder with REAL/SOURCE/... and FAKE/SOURCE/...")
@click.option(
    "--split", type=FILE, help="JSON file that names the groups held out.  [default: a tenth of them, by --seed]"
)
@click.option(
    "--seed", default=0, type=click.IntRange(0), help="Seed of the crops, and of the split if there is no --split."
)
@click.option(
    "--model", type=FILE, help="LiteRT file whose answers are compared before and after pictures are re-encoded."
)
@click.option("--crops", default=4000, type=click.IntRange(20), help="Number of crops to measure.")
@click.option("--pictures", default=800, type=click.IntRange(20), help="Largest number of pictures to cut crops from.")
@click.option("--processes", default=2, type=click.IntRange(1), help="Number of processes that decode and measure.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
def probe(data: Path, split: Path | None, model: Path | None, seed: int, as_json: bool, **options: Any) -> None:
    """Measure how well file formats predict the label.

    A plain classifier is trained on features of the format alone, of some groups
    of the training pictures, and measured on other groups: on the files, on
    crops of them, and on crops after the augmentation of training. On the
    latter, traces of the format should predict no better than chance.
    """
    from train.photos.probe import Sampling, table
    from train.photos.probe import probe as probe_collection

    sides = _sides(data, split, seed, "train", "validation")
    weights = found.weights if (found := _split(split)) else {}
    with TemporaryDirectory() as scratch:
        result = probe_collection(sides, weights, Path(scratch), Sampling(seed=seed, **options), model)
    click.echo(json.dumps(result.as_json()) if as_json else table(result))


def _sides(data: Path, split: Path | None, seed: int, *names: str) -> "dict[str, list[Picture]]":
    """The named sides of a split, without copies of pictures on other sides, as training uses them."""
    from train.photos.collection import HELD_OUT, Split, read, without_copies

    pictures = read(data)
    sides = (_split(split) or Split.at_random(pictures, HELD_OUT, seed)).apply(pictures)
    if names == ("test",):  # which keeps all pictures
        return sides
    if "train" not in names:  # its hashes are not needed, and take time
        sides["train"] = []
    return without_copies(sides)


@main.command(epilog="Example: python -m train card --data CIFAKE --run runs/compact")
@click.option("--data", required=True, type=FOLDER, help="Folder of CIFAKE, with train/ and test/.")
@click.option("--run", required=True, type=FOLDER, help="Folder of the training that made the model.")
@click.option("--models", default="models", type=FOLDER, help="Folder with compact.keras and its LiteRT files.")
@click.option("--resnet50", type=FOLDER, help="Folder of a run of resnet50 with its LiteRT files, for comparison.")
def card(data: Path, run: Path, models: Path, resnet50: Path | None) -> None:
    """Measure the compact model in all its formats; write its card."""
    from train.card import write

    write(models, data, run, resnet50)
    click.echo(f"wrote {models / 'README.md'}")


@main.command(
    name="photo-card",
    epilog="Example: python -m train photo-card --data PHOTOS --split train/recipes/photo_split.json --run runs/photo",
)
@click.option("--data", required=True, type=FOLDER, help="Folder with REAL/SOURCE/... and FAKE/SOURCE/...")
@click.option("--split", required=True, type=FILE, help="JSON file that names the groups held out.")
@click.option("--run", required=True, type=FOLDER, help="Folder of the training that made the model.")
@click.option("--models", default="models", type=FOLDER, help="Folder with photo.keras and its LiteRT files.")
def photo_card(data: Path, split: Path, run: Path, models: Path) -> None:
    """Measure the photo model on test pictures; write its card."""
    from train.photos.card import write

    write(models, data, split, run)
    click.echo(f"wrote {models / 'photo.md'}")


def _table(evaluation: "Evaluation") -> str:
    published, fresh = evaluation.as_published, evaluation.without_leaked
    rows = [
        ("images", "images", "d"),
        ("accuracy", "accuracy", ".2%"),
        ("balanced accuracy", "balanced_accuracy", ".2%"),
        ("AUC", "auc", ".5f"),
        ("log loss", "log_loss", ".4f"),
        ("expected calibration error", "expected_calibration_error", ".2%"),
        ("REAL called REAL", "real_as_real", "d"),
        ("REAL called FAKE", "real_as_fake", "d"),
        ("FAKE called REAL", "fake_as_real", "d"),
        ("FAKE called FAKE", "fake_as_fake", "d"),
    ]

    def cell(metrics: object, name: str, form: str) -> str:
        value = getattr(metrics, name, None)
        return "-" if value is None else format(value, form)

    lines = [f"{evaluation.model}", f"{'':28}{'as published':>14}{'without leaked':>16}"]
    lines += [f"{title:28}{cell(published, name, form):>14}{cell(fresh, name, form):>16}" for title, name, form in rows]
    leaked = (
        "no train split to look for leaks in" if evaluation.leaked is None else f"{evaluation.leaked} leaked images"
    )
    lines += [f"{leaked}; {evaluation.unreadable} unreadable files"]
    if evaluation.corrupted:
        lines += ["", f"{'corruption':34}{'accuracy':>9}{'AUC':>9}{'REAL as FAKE':>14}{'FAKE as REAL':>14}"]
        lines += [
            f"{name:34}{metrics.accuracy:9.2%}{cell(metrics, 'auc', '.4f'):>9}"
            f"{metrics.real_as_fake:14}{metrics.fake_as_real:14}"
            for name, metrics in evaluation.corrupted.items()
        ]
    return "\n".join(lines)
