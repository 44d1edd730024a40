"""Train a recipe: one loop, read from top to bottom."""

import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from edge.imaging import preprocess
from train import dataset as datasets
from train.backend import keras
from train.batches import TrainingBatches, for_training, steps_per_epoch
from train.calibration import calibrate
from train.checkpoint import MODEL, Run, Settings
from train.ema import EMA
from train.inference import features, predict
from train.metrics import Metrics, measure
from train.normalization import fused
from train.optimizers import OPTIMIZERS, spare_from_decay
from train.recipes import P_REAL, RECIPES, Recipe
from train.recipes.recipe import RecipeError


def fit(data: Path, out: Path, settings: Settings, *, resume: bool = False) -> None:
    """Train on `data/train`, leaving in `out` the best epoch's `model.keras`, its history and settings.

    Each epoch ends with a checkpoint; with `resume` a run that was stopped
    goes on from its last one as if it had never stopped.

    Raises:
        DatasetError: the folder has not the layout of CIFAKE.
        ResumeError: `resume`, but `out` holds no run, or one of other settings or images.
    """
    recipe = RECIPES[settings.recipe].changed(settings.changes)
    about = {
        "preprocessing": {"resampling": preprocess.RESAMPLING.name.lower(), "range": [0, 1]},
        "software": {"keras": keras.__version__, "backend": keras.backend.backend(), "numpy": np.__version__},
    }
    is_frozen = recipe.frozen is not None and settings.weights != "none"
    if is_frozen and (settings.corrupted or recipe.crop_padding or recipe.mixed):
        raise RecipeError(f"{recipe.name} keeps what its frozen layers make of an image, so images cannot vary")
    run = Run(out, settings, about, resume=resume)

    whole, errors = datasets.load(data, "train")
    training, validation = datasets.split_validation(whole, settings.validation_fraction, settings.seed)
    training = datasets.part(training, settings.fraction, settings.seed)
    _say(f"decoding {len(training)} training and {len(validation)} validation images at {recipe.size}")
    training_pixels, training, more_errors = datasets.decode(training, recipe.size, out)
    validation_pixels, validation, still_more_errors = datasets.decode(validation, recipe.size, out)
    training.require_both_classes()
    left_out = errors + more_errors + still_more_errors
    for error in left_out:
        _say(f"left out: {error}")
    run.hold_out(validation, data)
    run.keep_to(recipe.as_json(), training, data)
    run.record["images"] = {"training": len(training), "validation": len(validation), "left_out": len(left_out)}

    keras.utils.set_random_seed(settings.seed)
    model = recipe.build(settings.weights)
    frozen, measured_network = None, model
    if is_frozen and recipe.frozen:
        frozen, measured_network = _cut(model, recipe.frozen)
    training_images, validation_images = (
        (pixels if frozen is None else features(frozen, pixels, out)) for pixels in (training_pixels, validation_pixels)
    )
    steps = steps_per_epoch(len(training), settings.batch_size)
    subjects = datasets.subjects(training) if recipe.subject_weight else None
    if resume:
        trained = keras.models.load_model(run.checkpoint)
        spare_from_decay(trained.optimizer)  # which no file keeps
        measured_network.load_weights(run.weights)
    else:
        trained = _compiled(recipe, settings, steps, measured_network, 0 if subjects is None else subjects.shape[1])
    network = trained if subjects is None else keras.Model(trained.input, trained.get_layer(P_REAL).output)
    callbacks = []
    if recipe.average_decay:
        average = EMA(recipe.average_decay, network, measured_network.get_weights(), len(run.history) * steps)
        callbacks = [average]

    while (epoch := len(run.history)) < settings.epochs and not run.has_stalled:
        began = time.monotonic()
        _seed_dropout(trained, settings.seed, epoch)
        batches = TrainingBatches(
            training_images, training.labels, settings, epoch, recipe.crop_padding, recipe.mixed, subjects
        )
        fitted = trained.fit(
            for_training(batches),
            initial_epoch=epoch,
            epochs=epoch + 1,
            shuffle=False,
            verbose=_verbosity(),
            callbacks=callbacks,
        )
        measured_network.set_weights(average.weights if recipe.average_decay else network.get_weights())
        measured = measure(predict(measured_network, validation_images), validation.labels)
        entry = {
            "training_loss": fitted.history["loss" if subjects is None else f"{P_REAL}_loss"][-1],
            "training_accuracy": fitted.history["accuracy" if subjects is None else f"{P_REAL}_accuracy"][-1],
            "validation_loss": measured.log_loss,
            "validation_accuracy": measured.accuracy,
            "seconds": round(time.monotonic() - began, 1),
        }
        run.end_epoch(entry, trained, measured_network)
        _say_epoch(run, measured)
    if run.has_stalled:
        _say(f"no better validation accuracy for {settings.patience_epochs} epochs: stopped early")

    measured_network.load_weights(run.best)
    run.record["temperature"] = calibrate(model, predict(measured_network, validation_images), validation.labels)

    from train import figures  # here, for matplotlib is slow to start and the training does not need it

    scores = predict(model, validation_pixels)
    measured = measure(scores, validation.labels)
    figures.training_curves(run.history, out)
    figures.of_scores(scores, validation.labels, validation.paths, out, "validation")
    run.record["validation"] = asdict(measured)
    run.write()
    run.replace(MODEL, model.save)  # after all else: who finds it finds a run that is whole
    run.finish()
    _say(f"{out / MODEL}: validation accuracy {measured.accuracy:.2%}")


def _compiled(
    recipe: Recipe, settings: Settings, steps_per_epoch: int, like: keras.Model, subjects: int
) -> keras.Model:
    """A copy of the network `like`, for training: in the precision asked for, and with its optimizer.

    Args:
        subjects: how many the second output tells apart; 0 for none.
    """
    keras.config.set_dtype_policy(settings.precision)
    model = recipe.build("none")
    if len(model.weights) != len(like.weights):
        assert recipe.frozen
        model = _cut(model, recipe.frozen)[1]
    model = fused(model)
    model.set_weights(like.get_weights())

    rate: Any = settings.learning_rate
    if recipe.warmup_epochs is not None:
        warmup = round(min(recipe.warmup_epochs, settings.epochs / 2) * steps_per_epoch)
        rate = keras.optimizers.schedules.CosineDecay(
            0.0,
            decay_steps=max(1, settings.epochs * steps_per_epoch - warmup),
            warmup_target=settings.learning_rate,
            warmup_steps=warmup,
        )
    optimizer = OPTIMIZERS[recipe.optimizer](rate, recipe.weight_decay)
    spare_from_decay(optimizer)
    if subjects:
        last = model.get_layer(P_REAL)
        subject = keras.layers.Dense(subjects, activation="softmax", dtype="float32", name="subject")(last.input)
        model = keras.Model(model.input, (last.output, subject))
        model.compile(
            optimizer,
            ("binary_crossentropy", "categorical_crossentropy"),  # the latter is 0 where the subject is unknown
            loss_weights=(1.0, recipe.subject_weight),
            metrics=([accuracy], []),
        )
    else:
        model.compile(optimizer, "binary_crossentropy", metrics=[accuracy])
    # A converter and a reader of the finished file should meet no trace of mixed precision.
    keras.config.set_dtype_policy("float32")
    return model


@keras.saving.register_keras_serializable(package="edge_detect")  # type: ignore[untyped-decorator]  # Keras ships no types
def accuracy(targets: Any, scores: Any) -> Any:
    """Share of the images whose label was met; that of a mixed one is the label of its larger part."""
    return keras.ops.mean(keras.ops.equal(targets > 0.5, scores > 0.5))


def _seed_dropout(model: keras.Model, seed: int, epoch: int) -> None:
    """Let chance within the network, too, be a function of (seed, epoch): Keras keeps its state in no file."""
    for number, layer in enumerate(_layers(model)):
        if isinstance(layer, keras.layers.Dropout):
            layer.seed_generator.state.assign(np.random.default_rng([seed, epoch, number]).integers(2**31, size=2))


def _layers(model: keras.Model) -> Iterator[Any]:
    """Those of the models within it, too."""
    for layer in model.layers:
        yield layer
        if isinstance(layer, keras.Model):
            yield from _layers(layer)


def _cut(model: keras.Model, last: str) -> tuple[keras.Model, keras.Model]:
    """The network up to the layer `last`, and the one after it, of the same layers; for layers in a single line."""
    cut = 1 + [layer.name for layer in model.layers].index(last)
    return _line(model.layers[1:cut], model.input.shape[1:]), _line(
        model.layers[cut:], model.layers[cut - 1].output.shape[1:]
    )


def _line(layers: list[Any], shape: tuple[int, ...]) -> keras.Model:
    inputs = x = keras.Input(shape)
    for layer in layers:
        x = layer(x)
    return keras.Model(inputs, x)


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
