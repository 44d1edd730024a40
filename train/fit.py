"""Train a recipe on whole images: prepare, train epoch by epoch, finish."""

import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge.imaging import preprocess
from edge.imaging.preprocess import Pixels
from train import dataset as datasets
from train.backend import keras
from train.batches import Examples, TrainingBatches, for_training, steps_per_epoch
from train.calibration import calibrate
from train.checkpoint import MODEL, Run, Settings
from train.dataset import Dataset
from train.ema import EMA
from train.inference import features, predict
from train.metrics import Metrics, measure
from train.normalization import fused
from train.optimizers import OPTIMIZERS, cosine_schedule, spare_from_decay
from train.recipes import P_REAL, RECIPES, Recipe
from train.recipes.recipe import RecipeError


@dataclass(frozen=True)
class _Images:
    """The decoded images of one side of the split."""

    dataset: Dataset
    pixels: Pixels


@dataclass(frozen=True)
class _Networks:
    """The networks of a run, which share their architecture.

    Attributes:
        whole: what the run makes, in float32: from pixels to P(REAL).
        head: the layers of `whole` that are trained, all of them if none are frozen. It has the weights that are
            measured and kept.
        trained: a copy of `head` that Keras trains: with its optimizer, in the precision of the settings, perhaps with
            a second output.
        p_real: `trained` without its second output.
        average: of the weights of `p_real`; None keeps the weights of the last step.
    """

    whole: keras.Model
    head: keras.Model
    trained: keras.Model
    p_real: keras.Model
    average: EMA | None

    def update_head(self) -> None:
        """Give `head` the weights to measure and to keep."""
        self.head.set_weights(self.average.weights if self.average else self.p_real.get_weights())


@dataclass(frozen=True)
class _Training:
    """What the steps of a run share.

    Attributes:
        examples: the images to train on, as input of `networks.head`.
        validation: the images to choose the best epoch by.
        validation_inputs: the same as input of `networks.head`.
    """

    recipe: Recipe
    run: Run
    networks: _Networks
    examples: Examples
    validation: _Images
    validation_inputs: npt.NDArray[Any]


def fit(data: Path, out: Path, settings: Settings, *, resume: bool = False) -> None:
    """Train on `data/train`; write the best epoch's `model.keras`, the settings, the history and figures to `out`.

    Each epoch ends with a checkpoint. With `resume`, a run that was stopped
    continues from its last checkpoint, with the result that it would have had
    without the stop.

    Raises:
        DatasetError: the folder does not have the layout of CIFAKE.
        RecipeError: the settings do not fit the recipe.
        ResumeError: with `resume`, `out` holds no run, or a run with other settings or images; without it, `out` holds
            a run already.
    """
    training = _prepare(data, out, settings, resume=resume)
    run = training.run
    while len(run.history) < settings.epochs and not run.has_stalled:
        _train_epoch(training)
    if run.has_stalled:
        log(f"no better validation accuracy for {settings.patience_epochs} epochs: stopped early")
    _finish(training)


def _prepare(data: Path, out: Path, settings: Settings, *, resume: bool) -> _Training:
    """Open the run, decode its images and build its networks."""
    recipe = RECIPES[settings.recipe].changed(settings.changes)
    last_frozen = recipe.frozen if settings.weights != "none" else None
    if last_frozen and (settings.corrupted or recipe.crop_padding or recipe.mixed):
        raise RecipeError(f"{recipe.name} computes the features of its frozen layers once: images cannot be augmented")
    about = {
        "preprocessing": {"resampling": preprocess.RESAMPLING.name.lower(), "range": [0, 1]},
        "software": {"keras": keras.__version__, "backend": keras.backend.backend(), "numpy": np.__version__},
    }
    run = Run(out, settings, about, resume=resume)
    training, validation = _decode(data, recipe, run)

    keras.utils.set_random_seed(settings.seed)
    whole = head = recipe.build(settings.weights)
    inputs: tuple[npt.NDArray[Any], ...] = (training.pixels, validation.pixels)
    if last_frozen:
        frozen, head = _cut(whole, last_frozen)
        inputs = tuple(features(frozen, images.pixels, out) for images in (training, validation))
    subjects = datasets.subjects(training.dataset) if recipe.subject_weight else None
    if subjects is None:
        subjects = np.empty((len(inputs[0]), 0), np.float32)
    examples = Examples(inputs[0], training.dataset.labels, subjects)
    networks = _networks(recipe, run, examples, (whole, head), resume=resume)
    return _Training(recipe, run, networks, examples, validation, inputs[1])


def _decode(data: Path, recipe: Recipe, run: Run) -> tuple[_Images, _Images]:
    """The images to train on and those of the validation, and their record in the run."""
    settings = run.settings
    all_images, errors = datasets.load(data, "train")
    training, validation = datasets.split_validation(all_images, settings.validation_fraction, settings.seed)
    training = datasets.part(training, settings.fraction, settings.seed)
    log(f"decoding {len(training)} training and {len(validation)} validation images at {recipe.size}")
    training_pixels, training, more_errors = datasets.decode(training, recipe.size, run.folder)
    validation_pixels, validation, still_more_errors = datasets.decode(validation, recipe.size, run.folder)
    training.require_both_classes()
    left_out = errors + more_errors + still_more_errors
    for error in left_out:
        log(f"left out: {error}")
    run.hold_out(validation, data)
    run.keep_to(recipe.as_json(), training, data)
    run.record["images"] = {"training": len(training), "validation": len(validation), "left_out": len(left_out)}
    return _Images(training, training_pixels), _Images(validation, validation_pixels)


def _networks(
    recipe: Recipe, run: Run, examples: Examples, built: tuple[keras.Model, keras.Model], *, resume: bool
) -> _Networks:
    """The networks of a new run, or of a resumed one after its last epoch.

    Args:
        built: (whole, head), see `_Networks`.
    """
    whole, head = built
    steps = steps_per_epoch(len(examples.labels), run.settings.batch_size)
    if resume:
        trained = keras.models.load_model(run.checkpoint)
        spare_from_decay(trained.optimizer)  # a file does not keep that
        head.load_weights(run.weights)
    else:
        trained = _compiled(recipe, run.settings, steps, head, examples.subjects.shape[1])
    has_subjects = len(trained.outputs) > 1
    p_real = keras.Model(trained.input, trained.get_layer(P_REAL).output) if has_subjects else trained
    average = None
    if recipe.average_decay:
        average = EMA(recipe.average_decay, p_real, head.get_weights(), len(run.history) * steps)
    return _Networks(whole, head, trained, p_real, average)


def _train_epoch(training: _Training) -> None:
    """Train one more epoch, measure it on the validation images, and save it as a checkpoint."""
    run, networks = training.run, training.networks
    began, epoch = time.monotonic(), len(run.history)
    _seed_dropout(networks.trained, run.settings.seed, epoch)
    fitted = networks.trained.fit(
        for_training(TrainingBatches(training.examples, run.settings, training.recipe, epoch)),
        initial_epoch=epoch,
        epochs=epoch + 1,
        shuffle=False,
        verbose=1 if sys.stdout.isatty() else 0,  # Keras draws its progress bar on stdout
        callbacks=[networks.average] if networks.average else [],
    )
    networks.update_head()
    measured = measure(predict(networks.head, training.validation_inputs), training.validation.dataset.labels)
    entry = {
        "training_loss": _of_p_real(fitted.history, "loss"),
        "training_accuracy": _of_p_real(fitted.history, "accuracy"),
        "validation_loss": measured.log_loss,
        "validation_accuracy": measured.accuracy,
        "seconds": round(time.monotonic() - began, 1),
    }
    run.end_epoch(entry, networks.trained, networks.head)
    _log_epoch(run, measured)


def _finish(training: _Training) -> None:
    """Calibrate the best epoch's network, draw its figures, and write `model.keras`."""
    run, networks, validation = training.run, training.networks, training.validation
    labels = validation.dataset.labels
    networks.head.load_weights(run.best)
    scores = predict(networks.head, training.validation_inputs)
    run.record["temperature"] = calibrate(networks.whole, scores, labels)

    from train import figures  # here: matplotlib starts slowly, and a run needs it only at its end

    scores = predict(networks.whole, validation.pixels)
    measured = measure(scores, labels)
    figures.training_curves(run.history, run.folder)
    figures.score_figures(scores, labels, validation.dataset.paths, run.folder, "validation")
    run.record["validation"] = asdict(measured)
    run.write()
    run.save(MODEL, networks.whole.save)  # last: a folder with a model has a complete record
    run.finish()
    log(f"{run.folder / MODEL}: validation accuracy {measured.accuracy:.2%}")


def _compiled(
    recipe: Recipe, settings: Settings, steps_per_epoch: int, like: keras.Model, subjects: int
) -> keras.Model:
    """A copy of the network `like` for training: in the precision of the settings, and with its optimizer.

    Args:
        subjects: classes of the second output; 0 for no second output.
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
        rate = cosine_schedule(settings, steps_per_epoch, recipe.warmup_epochs)
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
    # The finished file must show no trace of mixed precision, to a converter or to a reader.
    keras.config.set_dtype_policy("float32")
    return model


@keras.saving.register_keras_serializable(package="edge_detect")  # type: ignore[untyped-decorator]  # Keras ships no types
def accuracy(targets: Any, scores: Any) -> Any:
    """Share of the images with the right label; the label of a mixed image is that of its larger part."""
    return keras.ops.mean(keras.ops.equal(targets > 0.5, scores > 0.5))


def _seed_dropout(model: keras.Model, seed: int, epoch: int) -> None:
    """Make dropout a function of (seed, epoch), for resumed runs: Keras saves its random state in no file."""
    for number, layer in enumerate(_layers(model)):
        if isinstance(layer, keras.layers.Dropout):
            layer.seed_generator.state.assign(np.random.default_rng([seed, epoch, number]).integers(2**31, size=2))


def _layers(model: keras.Model) -> Iterator[Any]:
    """The layers of a model and of the models inside it."""
    for layer in model.layers:
        yield layer
        if isinstance(layer, keras.Model):
            yield from _layers(layer)


def _cut(model: keras.Model, last: str) -> tuple[keras.Model, keras.Model]:
    """The network up to the layer named `last`, and the rest; they share the layers of `model`, a plain sequence."""
    cut = 1 + [layer.name for layer in model.layers].index(last)
    return _sequence(model.layers[1:cut], model.input.shape[1:]), _sequence(
        model.layers[cut:], model.layers[cut - 1].output.shape[1:]
    )


def _sequence(layers: list[Any], shape: tuple[int, ...]) -> keras.Model:
    inputs = x = keras.Input(shape)
    for layer in layers:
        x = layer(x)
    return keras.Model(inputs, x)


def _of_p_real(history: dict[str, list[float]], figure: str) -> float:
    """The last epoch's figure of the output P(REAL); Keras puts the output's name before it if there are two."""
    of_output = f"{P_REAL}_{figure}"
    return history[of_output if of_output in history else figure][-1]


def log(line: str) -> None:
    """Print a line on stderr: progress of a training."""
    print(line, file=sys.stderr, flush=True)


def _log_epoch(run: Run, measured: Metrics) -> None:
    history, epochs = run.history, run.settings.epochs
    left = (epochs - len(history)) * float(np.mean([entry["seconds"] for entry in history[-3:]]))
    log(
        f"epoch {len(history)}/{epochs}: training loss {history[-1]['training_loss']:.4f}, "
        f"validation loss {measured.log_loss:.4f}, accuracy {measured.accuracy:.2%}"
        f"{' (best)' if run.best_epoch == len(history) - 1 else ''}, {left / 60:.0f} min left"
    )
