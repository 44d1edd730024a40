"""Train a recipe: one loop, read from top to bottom."""

import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from edge import image
from train import dataset as datasets
from train.backend import keras
from train.batches import TrainingBatches
from train.metrics import Metrics, measure
from train.predict import predict
from train.recipes import RECIPES, Recipe
from train.runs import MODEL, Run, Settings


def fit(data: Path, out: Path, settings: Settings, *, resume: bool = False) -> None:
    """Train on `data/train`, leaving in `out` the best epoch's `model.keras`, its history and settings.

    Each epoch ends with a checkpoint; with `resume` a run that was stopped
    goes on from its last one as if it had never stopped.

    Raises:
        DatasetError: the folder has not the layout of CIFAKE.
        ResumeError: `resume`, but `out` holds no run, or one of other settings or images.
    """
    recipe = RECIPES[settings.recipe]
    about = {
        "preprocessing": {"resampling": image.RESAMPLING.name.lower(), "range": [0, 1]},
        "software": {"keras": keras.__version__, "backend": keras.backend.backend(), "numpy": np.__version__},
    }
    run = Run(out, settings, about, resume=resume)

    whole, errors = datasets.load(data, "train")
    training, validation = datasets.split_validation(whole, settings.validation_fraction, settings.seed)
    _say(f"decoding {len(training)} training and {len(validation)} validation images at {recipe.size}")
    training_pixels, training, more_errors = datasets.decode(training, recipe.size, out)
    validation_pixels, validation, still_more_errors = datasets.decode(validation, recipe.size, out)
    left_out = errors + more_errors + still_more_errors
    for error in left_out:
        _say(f"left out: {error}")
    run.hold_out(validation, data)
    run.record["images"] = {"training": len(training), "validation": len(validation), "left_out": len(left_out)}

    keras.utils.set_random_seed(settings.seed)
    if resume:
        model = keras.models.load_model(run.checkpoint)
    else:
        keras.config.set_dtype_policy(settings.precision)
        model = _compiled(recipe, settings, max(1, len(training) // settings.batch_size))
        keras.config.set_dtype_policy("float32")

    while (epoch := len(run.history)) < settings.epochs and not run.has_stalled:
        began = time.monotonic()
        batches = TrainingBatches(
            training_pixels, training.labels, settings.batch_size, recipe.crop_padding, settings.seed, epoch
        )
        fitted = model.fit(batches, initial_epoch=epoch, epochs=epoch + 1, shuffle=False, verbose=_verbosity())
        measured = measure(predict(model, validation_pixels), validation.labels)
        entry = {
            "training_loss": fitted.history["loss"][-1],
            "training_accuracy": fitted.history["accuracy"][-1],
            "validation_loss": measured.log_loss,
            "validation_accuracy": measured.accuracy,
            "seconds": round(time.monotonic() - began, 1),
        }
        run.end_epoch(entry, model)
        _say_epoch(run, measured)
    if run.has_stalled:
        _say(f"no better validation accuracy for {settings.patience_epochs} epochs: stopped early")

    # Built anew in float32: a converter and a reader of the file should meet no trace of mixed precision.
    model = recipe.build("none")
    model.load_weights(run.best)
    run.replace(MODEL, model.save)

    from train import figures  # here, for matplotlib is slow to start and the training does not need it

    scores = predict(model, validation_pixels)
    measured = measure(scores, validation.labels)
    figures.training_curves(run.history, out)
    figures.of_scores(scores, validation.labels, validation.paths, out, "validation")
    run.record["validation"] = asdict(measured)
    run.finish()
    _say(f"{out / MODEL}: validation accuracy {measured.accuracy:.2%}")


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


def _verbosity() -> int:
    return 1 if sys.stdout.isatty() else 0  # Keras draws its bar, with the time left, on stdout


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _say_epoch(run: Run, measured: Metrics) -> None:
    history, epochs = run.history, run.settings.epochs
    left = (epochs - len(history)) * float(np.mean([entry["seconds"] for entry in history[-3:]]))
    _say(
        f"epoch {len(history)}/{epochs}: training loss {history[-1]['training_loss']:.4f}, "
        f"validation loss {measured.log_loss:.4f}, accuracy {measured.accuracy:.2%}"
        f"{' (best)' if run.best_epoch == len(history) - 1 else ''}, {left / 60:.0f} min left"
    )
