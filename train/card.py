"""Write the card of the `compact` model: the text is in `card.md`, the figures are measured at each call."""

import json
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from string import Template
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from edge.errors import ModelError
from edge.inference.runtime import RUNTIMES, is_installed
from train import figures
from train.checkpoint import Settings
from train.corruptions import CORRUPTIONS
from train.evaluate import Evaluation, evaluate
from train.recipes import RECIPES

TEMPLATE = Path(__file__).with_suffix(".md")
VARIANTS = {"Keras": "compact.keras", "float16": "compact_float16.tflite", "int8": "compact_int8.tflite"}
CIFAKE_TEST_IMAGES = 20_000
SOME_FAILED = 1  # exit status of `edge-detect classify` if some images could not be read

_ROWS = [
    ("accuracy", ".2%"),
    ("balanced_accuracy", ".2%"),
    ("auc", ".5f"),
    ("log_loss", ".4f"),
    ("expected_calibration_error", ".2%"),
    ("real_as_fake", "d"),
    ("fake_as_real", "d"),
]
_TITLES = {
    "auc": "AUC",
    "real_as_fake": "REAL called FAKE",
    "fake_as_real": "FAKE called REAL",
}


def write(models: Path, data: Path, run: Path, resnet50: Path | None = None) -> None:
    """Measure the three files of the model in `models`, and write `models/README.md` with its figures.

    Args:
        data: CIFAKE.
        run: folder of the training that made the model.
        resnet50: folder of a training of the student project's recipe, with its LiteRT files; None leaves it out.

    Raises:
        ModelError: the model is not that of `run`, or a file is missing.
    """
    record, beside = _record(run), _resnet50(resnet50)
    if (run / "model.keras").read_bytes() != (models / VARIANTS["Keras"]).read_bytes():
        raise ModelError(f"{models / VARIANTS['Keras']}: not the model of {run}; copy {run / 'model.keras'} there")
    pictures = models / "figures"
    pictures.mkdir(exist_ok=True)
    with TemporaryDirectory() as scratch:
        measured = {
            name: evaluate(models / file, data, Path(scratch), corruptions=True) for name, file in VARIANTS.items()
        }
    evaluations = {name: evaluation for name, (evaluation, _, _) in measured.items()}
    _, scores, test = measured["int8"]
    figures.score_figures(scores, test.labels, test.paths, pictures, "test")
    shutil.copy(run / "training.png", pictures)

    published = evaluations["int8"].as_published
    history = record["history"]
    parameters, multiply_adds = cost(models / VARIANTS["Keras"])
    text = Template(TEMPLATE.read_text("utf-8")).substitute(
        images=f"{published.images:,}",
        per_class=f"{published.real_as_real + published.real_as_fake:,}",
        share="all of them" if published.images >= CIFAKE_TEST_IMAGES else "a part of the published split",
        leaked=evaluations["int8"].leaked,
        leaked_classes=_leaked_classes(evaluations["int8"]),
        table=_table(evaluations, models),
        robustness=_robustness(evaluations),
        temperature=f"{record['temperature']:.2f}",
        resnet50=beside,
        runtimes=_runtimes(models / VARIANTS["int8"], data),
        parameters=f"{parameters:,}",
        multiply_adds=f"{multiply_adds / 1e6:.1f}",
        fit=_command(record["settings"]),
        make=_make(record["settings"]),
        epochs=len(history),
        best_epoch=1 + max(range(len(history)), key=lambda epoch: history[epoch]["validation_accuracy"]),
        validation=f"{record['images']['validation']:,}",
        validation_accuracy=f"{record['validation']['accuracy']:.2%}",
    )
    (models / "README.md").write_text(text, "utf-8")


def _table(evaluations: dict[str, Evaluation], models: Path) -> str:
    names = list(evaluations)
    lines = ["| | " + " | ".join(f"{name} | {name}, without leaked" for name in names) + " |"]
    lines += ["|---|" + "---|" * (2 * len(names))]
    for field, form in [("images", "d"), *_ROWS]:
        cells = []
        for evaluation in evaluations.values():
            for metrics in (evaluation.as_published, evaluation.without_leaked):
                value = getattr(metrics, field, None)
                cells.append("-" if value is None else format(value, form))
        lines.append(f"| {_TITLES.get(field, field.replace('_', ' '))} | {' | '.join(cells)} |")
    sizes = [f"{os.path.getsize(models / VARIANTS[name]) / 1000:,.0f} kB" for name in names]
    lines.append("| size | " + " | ".join(f"{size} | " for size in sizes) + " |")
    return "\n".join(lines)


def _robustness(evaluations: dict[str, Evaluation]) -> str:
    lines = [f"| | {' | '.join(evaluations)} |", "|---|" + "---|" * len(evaluations)]
    for name in CORRUPTIONS:
        accuracies = [
            evaluation.corrupted[name].accuracy for evaluation in evaluations.values() if evaluation.corrupted
        ]
        lines.append(f"| {name} | {' | '.join(f'{accuracy:.2%}' for accuracy in accuracies)} |")
    return "\n".join(lines)


def _resnet50(run: Path | None) -> str:
    """The student project's recipe: how it was trained, and a table of its files."""
    if run is None:
        return "it was not trained for this card."
    record, network = _record(run), run / "model.keras"
    files = [run / f"resnet50_{variant}.json" for variant in ("float16", "int8")]
    for path in (network, *files):
        if not path.exists():
            raise ModelError(f"{path}: missing; make it with: python -m convert {network} --data ... --out {run}")
    settings, images = record["settings"], record["images"]
    weights = "random weights" if settings["weights"] == "none" else f"the weights `{settings['weights']}`"
    lines = [
        f"trained from {weights} on {images['training']:,} images for {len(record['history'])} epochs:",
        "",
        f"    {_command(settings)}",
        "",
        "| | size | accuracy on the validation images | milliseconds an image |",
        "|---|---|---|---|",
        "| the student project's file, dynamic range, as reported | about 25 MB | 84.90 %, at its peak 86.76 % | - |",
    ]
    described = [json.loads(path.read_text("utf-8"))["measured"] for path in files]
    size, accuracy = f"{network.stat().st_size / 1e6:.1f} MB", described[0]["accuracy_keras"]
    lines.append(f"| ours, Keras | {size} | {accuracy:.2%} | {described[0]['milliseconds_keras']:.1f} |")
    for name, measured in zip(("float16", "int8"), described, strict=True):
        size = f"{measured['bytes'] / 1e6:.1f} MB"
        lines.append(f"| ours, {name} | {size} | {measured['accuracy']:.2%} | {measured['milliseconds']:.1f} |")
    return "\n".join(lines)


def _record(run: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((run / "run.json").read_text("utf-8"))
    return record


def _runtimes(path: Path, data: Path) -> str:
    """How far the two runtimes agree on the int8 file, if both are installed."""
    if not all(map(is_installed, RUNTIMES)):
        return "(Only one LiteRT runtime was installed when this was written, so the two were not compared.)"
    by_runtime = [_classified(path, data / "test", runtime) for runtime in RUNTIMES]
    one, other = (np.array([answer["score"] for answer in answers]) for answers in by_runtime)
    differences = np.abs(one - other)
    labels = sum(a["label"] != b["label"] for a, b in zip(*by_runtime, strict=True))
    accuracies = [
        np.mean([answer["label"] in Path(answer["path"]).parts for answer in answers]) for answers in by_runtime
    ]
    return (
        f"The int8 file on the two runtimes, {' and '.join(RUNTIMES)}, as installed on {platform.machine()}:"
        f" {(differences > 0).mean():.1%} of the scores differ, by {differences.mean():.5f} on average and"
        f" {differences.max():.3f} at most, and {labels} of {len(one):,} labels;"
        f" accuracy {accuracies[0]:.2%} and {accuracies[1]:.2%}."
    )


def _classified(model: Path, folder: Path, runtime: str) -> list[dict[str, Any]]:
    """The answers of `edge-detect classify --json`, in a separate process: tflite-runtime fails beside TensorFlow."""
    command = [sys.executable, "-m", "edge", "classify", str(folder), "--recursive", "--json"]
    done = subprocess.run(
        [*command, "--model", str(model), "--runtime", runtime], check=False, capture_output=True, text=True
    )
    if done.returncode not in (0, SOME_FAILED):
        raise ModelError(f"{runtime} cannot run {model}: {done.stderr.strip()}")
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    return [answer for answer in answers if "score" in answer]


def _leaked_classes(evaluation: Evaluation) -> str:
    counts = []
    for metrics in (evaluation.as_published, evaluation.without_leaked):
        real = metrics.real_as_real + metrics.real_as_fake if metrics else 0
        counts.append((real, metrics.images - real if metrics else 0))
    (real, fake), (fresh_real, fresh_fake) = counts
    return f"{real - fresh_real} of them REAL and {fake - fresh_fake} FAKE"


def cost(path: Path) -> tuple[int, int]:
    """(parameters, multiply-adds of the convolutions and dense layers for one image) of a Keras file."""
    from train.backend import keras

    model = keras.models.load_model(path, compile=False)
    multiply_adds = 0
    for layer in model.layers:
        if isinstance(layer, (keras.layers.Conv2D, keras.layers.Dense)):
            positions = int(np.prod(layer.output.shape[1:-1])) if isinstance(layer, keras.layers.Conv2D) else 1
            multiply_adds += positions * int(np.prod(layer.kernel.shape))
    return model.count_params(), multiply_adds


def _make(settings: dict[str, Any]) -> str:
    """The `make` command that trains with these settings."""
    options = _command(settings).split(f"--recipe {settings['recipe']}")[1].strip()
    return "make models CIFAKE=..." + (f' FIT="{options}"' if options else "")


def _command(settings: dict[str, Any]) -> str:
    """The command line that trains with these settings; options that equal the recipe's defaults are left out."""
    recipe = RECIPES[settings["recipe"]]
    usual = asdict(
        Settings(recipe.name, recipe.weights, recipe.epochs, recipe.batch_size, recipe.learning_rate, recipe.corrupted)
    )
    options = {"validation_fraction": "validation", "patience_epochs": "patience"}
    changed = [
        f" --{options.get(key, key).replace('_', '-')} {value}"
        for key, value in settings.items()
        if key != "changes" and value != usual[key]
    ]
    changed += [f" --set {name}={value}" for name, value in settings.get("changes", {}).items()]
    return f"python -m train fit --data CIFAKE --out runs/{recipe.name} --recipe {recipe.name}{''.join(changed)}"
