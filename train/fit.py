"""Train a recipe: one loop, read from top to bottom."""

import json
import os
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge import image
from edge.errors import EdgeDetectError
from train import dataset as datasets
from train.backend import keras
from train.batches import TrainingBatches
from train.metrics import Metrics, measure
from train.predict import predict
from train.recipes import RECIPES, Recipe

BEST = "best.weights.h5"
MODEL = "model.keras"
RUN = "run.json"
VALIDATION = "validation.json"


class ResumeError(EdgeDetectError):
    """There is nothing to resume, or it was begun with other settings."""


@dataclass(frozen=True)
class Settings:
    """What decides a run, together with the images themselves.

    Attributes:
        weights: of the backbone: "imagenet", "none" or a file.
        validation_fraction: of each class of the train split, held out to choose the best epoch.
        patience_epochs: stop after so many epochs without a better validation accuracy.
        precision: a Keras dtype policy; "mixed_bfloat16" is faster where the processor or GPU has bfloat16.
    """

    recipe: str
    weights: str
    epochs: int
    batch_size: int
    learning_rate: float
    seed: int = 0
    validation_fraction: float = 0.05
    patience_epochs: int = 10
    precision: str = "float32"


def fit(data: Path, out: Path, settings: Settings, *, resume: bool = False) -> None:
    """Train on `data/train`, leaving in `out` the best epoch's `model.keras`, its history and settings.

    Each epoch ends with a checkpoint; with `resume` a run that was stopped
    goes on from its last one as if it had never stopped.

    Raises:
        DatasetError: the folder has not the layout of CIFAKE.
        ResumeError: `resume`, but `out` holds no run, or one of other settings.
    """
    recipe = RECIPES[settings.recipe]
    out.mkdir(parents=True, exist_ok=True)
    run = _resumed(out, settings) if resume else _begun(out, settings)

    training, validation = datasets.split_validation(
        datasets.load(data, "train"), settings.validation_fraction, settings.seed
    )
    _say(f"decoding {len(training)} training and {len(validation)} validation images at {recipe.size}")
    training_pixels, training, errors = datasets.decode(training, recipe.size, out)
    validation_pixels, validation, more_errors = datasets.decode(validation, recipe.size, out)
    for error in errors + more_errors:
        _say(f"left out: {error}")
    run["images"] = {"training": len(training), "validation": len(validation), "left_out": len(errors + more_errors)}
    # For the conversion, which measures on the same images: paths below the data folder.
    names = [path.relative_to(data).as_posix() for path in validation.paths]
    _replace(out / VALIDATION, lambda path: path.write_text(json.dumps(names, indent=0) + "\n"))

    keras.utils.set_random_seed(settings.seed)
    if resume:
        model = keras.models.load_model(_checkpoint(out, len(run["history"])))
    else:
        keras.config.set_dtype_policy(settings.precision)
        model = _compiled(recipe, settings, max(1, len(training) // settings.batch_size))
        keras.config.set_dtype_policy("float32")

    for epoch in range(len(run["history"]), settings.epochs):
        began = time.monotonic()
        batches = TrainingBatches(
            training_pixels, training.labels, settings.batch_size, recipe.crop_padding, settings.seed, epoch
        )
        fitted = model.fit(batches, initial_epoch=epoch, epochs=epoch + 1, shuffle=False, verbose=_verbosity())
        scores = predict(model, validation_pixels)
        measured = measure(scores, validation.labels)
        run["history"].append(
            {
                "training_loss": fitted.history["loss"][-1],
                "training_accuracy": fitted.history["accuracy"][-1],
                "validation_loss": measured.log_loss,
                "validation_accuracy": measured.accuracy,
                "seconds": round(time.monotonic() - began, 1),
            }
        )
        best = max(range(epoch + 1), key=lambda e: run["history"][e]["validation_accuracy"])
        if best == epoch:
            _replace(out / BEST, model.save_weights)
        # In this order, so that a stop at any moment leaves a checkpoint that fits the history.
        _replace(_checkpoint(out, epoch + 1), model.save)
        _write_run(out, run)
        _checkpoint(out, epoch).unlink(missing_ok=True)
        _say_epoch(epoch, settings.epochs, measured, best, run["history"])
        if epoch - best >= settings.patience_epochs:
            _say(f"no better validation accuracy for {settings.patience_epochs} epochs: stopped early")
            break

    # Built anew in float32: a converter and a reader of the file should meet no trace of mixed precision.
    model = recipe.build("none")
    model.load_weights(out / BEST)
    _replace(out / MODEL, model.save)
    from train import figures  # here, for matplotlib is slow to start and the training does not need it

    scores = predict(model, validation_pixels)
    run["validation"] = asdict(measure(scores, validation.labels))
    _write_run(out, run)
    figures.training_curves(run["history"], out)
    figures.of_scores(scores, validation.labels, validation.paths, out, "validation")
    (out / BEST).unlink()
    _checkpoint(out, len(run["history"])).unlink()
    _say(f"{out / MODEL}: validation accuracy {run['validation']['accuracy']:.2%}")


def _compiled(recipe: Recipe, settings: Settings, steps_per_epoch: int) -> keras.Model:
    model = recipe.build(settings.weights)
    rate: Any = settings.learning_rate
    if recipe.warmup_epochs is not None:
        warmup = round(min(recipe.warmup_epochs, settings.epochs / 2) * steps_per_epoch)
        rate = keras.optimizers.schedules.CosineDecay(
            0.0,
            decay_steps=max(1, settings.epochs * steps_per_epoch - warmup),
            warmup_target=settings.learning_rate,
            warmup_steps=warmup,
        )
    optimizer = keras.optimizers.AdamW(rate, weight_decay=recipe.weight_decay)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    model.compile(optimizer, "binary_crossentropy", metrics=["accuracy"])
    return model


def _begun(out: Path, settings: Settings) -> dict[str, Any]:
    if (out / RUN).exists():
        raise ResumeError(f"{out}: holds a run already; go on with --resume, or name another folder")
    return {
        "settings": asdict(settings),
        "preprocessing": {"resampling": image.RESAMPLING.name.lower(), "range": [0, 1]},
        "software": {"keras": keras.__version__, "backend": keras.backend.backend(), "numpy": np.__version__},
        "history": [],
    }


def _resumed(out: Path, settings: Settings) -> dict[str, Any]:
    try:
        run: dict[str, Any] = json.loads((out / RUN).read_text())
    except FileNotFoundError:
        raise ResumeError(f"{out}: no run to resume; leave --resume away to begin one") from None
    if run["settings"] != asdict(settings):
        changed = [key for key, value in asdict(settings).items() if run["settings"].get(key) != value]
        raise ResumeError(f"{out}: this run was begun with another {', '.join(changed)}; a run keeps its settings")
    if not _checkpoint(out, len(run["history"])).exists():
        raise ResumeError(f"{out}: this run is finished, or was stopped before its first epoch ended")
    return run


def _checkpoint(out: Path, epochs: int) -> Path:
    return out / f"checkpoint-{epochs}.keras"


def _replace(path: Path, save: Any) -> None:
    """Let `save` write the file, whole or not at all: a power cut leaves the previous one."""
    partial = path.with_name(f"partial-{path.name}")
    save(partial)
    os.replace(partial, path)


def _write_run(out: Path, run: dict[str, Any]) -> None:
    _replace(out / RUN, lambda path: path.write_text(json.dumps(run, indent=1) + "\n"))


def _verbosity() -> int:
    return 1 if sys.stdout.isatty() else 0  # Keras draws its bar, with the time left, on stdout


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _say_epoch(epoch: int, epochs: int, measured: Metrics, best: int, history: list[dict[str, float]]) -> None:
    left = (epochs - epoch - 1) * float(np.mean([entry["seconds"] for entry in history[-3:]]))
    _say(
        f"epoch {epoch + 1}/{epochs}: training loss {history[-1]['training_loss']:.4f}, "
        f"validation loss {measured.log_loss:.4f}, accuracy {measured.accuracy:.2%}"
        f"{' (best)' if best == epoch else ''}, {left / 60:.0f} min left"
    )
