"""Train a recipe on crops of photos and generated pictures: prepare, train epoch by epoch, finish."""

import json
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from train.augment import cutmix
from train.backend import keras
from train.checkpoint import MODEL, Run, Settings
from train.ema import EMA
from train.files import write_whole
from train.fit import accuracy, log
from train.inference import predict
from train.metrics import measure
from train.normalization import fused
from train.optimizers import OPTIMIZERS, cosine_schedule, spare_from_decay
from train.photos.batches import Crops, CropSettings
from train.photos.clock import LAST_RATE, Clock
from train.photos.collection import Picture, Split
from train.photos.material import Material, is_unpacked, of_collection, unpacked
from train.photos.pieces import CHECKED, Pieces, Side
from train.recipes import RECIPES, Recipe

VIEWS = "views.json"  # in the folder of a run: the views that a device shows the network, for the conversion
SMOOTHING = 0.1  # label smoothing: some pictures of each class cannot be recognised, and a few are mislabelled
VALIDATION_TIERS = {"clean": None, "web": (0.74, 70)}  # of validation crops: scale and JPEG quality


@dataclass(frozen=True)
class _Networks:
    """The networks of a run, which share their architecture.

    Attributes:
        kept: in float32; has the averaged weights, which are measured and kept.
        trained: the network that Keras trains, with its optimizer, in the precision of the settings.
        average: the running average of the weights of `trained`.
    """

    kept: keras.Model
    trained: keras.Model
    average: EMA


@dataclass(frozen=True)
class _Validation:
    """Crops to choose the best epoch by.

    Attributes:
        pictures: the pictures that the crops are of.
        picture: for each crop, the index of its picture; int32, shape (n,).
        crops: by tier; uint8, shape (n, size, size, 3).
    """

    pictures: Sequence[Picture]
    picture: npt.NDArray[np.int32]
    crops: dict[str, npt.NDArray[np.uint8]]


@dataclass(frozen=True)
class _Training:
    """What the steps of a run share.

    Attributes:
        steps: batches of one epoch.
    """

    recipe: Recipe
    run: Run
    clock: Clock
    steps: int
    networks: _Networks
    validation: _Validation
    crops: Crops


def fit(
    data: Path,
    out: Path,
    settings: Settings,
    *,
    split: Split | None = None,
    resume: bool = False,
    cache: Path | None = None,
    minutes_of_call: float | None = None,
) -> None:
    """Train on pieces of photos; write to `out` the files that `train.fit.fit` writes, without figures.

    Args:
        data: a collection (see `train.photos.collection`), or a folder that `train.photos.shards.unpack` has filled.
        split: the groups of a collection to hold out; None holds out a tenth of them, by the seed.
        cache: a folder that keeps the pieces of a collection between runs; None keeps them in `out`.
        minutes_of_call: end this call after the last epoch that fits into this time, but not before one epoch is
            trained; a call with `resume` continues.

    Raises:
        CollectionError: `data` is not a collection.
        ShardError: `data` holds unpacked shards of one side only.
        ResumeError: see `train.checkpoint.Run`.
    """
    clock = Clock(settings.minutes, minutes_of_call)  # first: cutting the pieces takes time of the call, too
    recipe = RECIPES[settings.recipe].changed(settings.changes)
    material = unpacked(data) if is_unpacked(data) else of_collection(data, split, cache or out, settings.seed)
    run = _opened(material, out, settings, recipe, resume=resume)
    training = _prepare(material, recipe, run, clock, resume=resume)
    first = len(run.history)
    try:
        while (epoch := len(run.history)) < settings.epochs and not clock.ends_run(run.history):
            if epoch > first and clock.ends_call(run.history):
                log(f"{out}: stopped after epoch {epoch}; --resume continues from there")
                return
            _train_epoch(training)
    finally:
        training.crops.close()
    training.networks.kept.load_weights(run.best)
    run.write()
    run.save(MODEL, training.networks.kept.save)
    run.finish()


def _opened(material: Material, out: Path, settings: Settings, recipe: Recipe, *, resume: bool) -> Run:
    """The run, with the files in its folder that the conversion needs: views, and names of the held-out pictures."""
    about = {
        "choose_by": "validation_auc",
        "software": {"keras": keras.__version__, "backend": keras.backend.backend(), "numpy": np.__version__},
        "images": material.counts,
        "recipe": recipe.as_json(),
    }
    run = Run(out, settings, about, resume=resume)
    write_whole(run.folder / VIEWS, json.dumps(recipe.views, indent=1) + "\n")
    for side, paths in material.held_out.items():
        write_whole(run.folder / f"{side}.json", json.dumps(paths, indent=0) + "\n")
    return run


def _prepare(material: Material, recipe: Recipe, run: Run, clock: Clock, *, resume: bool) -> _Training:
    """Cut the validation crops, build the networks, and start the processes that make crops to train on."""
    settings = run.settings
    log(f"{len(material.training.pictures)} pictures in {len(material.training.pieces.picture)} pieces to train on")
    validation = _validation(material.validation, recipe.size[0])
    steps = settings.draws // settings.batch_size
    networks = _networks(recipe, run, steps, resume=resume)
    crop_settings = CropSettings(recipe.size[0], settings.batch_size, settings.seed)
    crops = Crops(material.training, crop_settings, settings.processes)
    return _Training(recipe, run, clock, steps, networks, validation, crops)


def _networks(recipe: Recipe, run: Run, steps: int, *, resume: bool) -> _Networks:
    """The networks of a new run, or of a resumed one after its last epoch."""
    settings = run.settings
    keras.utils.set_random_seed(settings.seed)
    kept = recipe.build("none" if resume else settings.weights)
    if resume:
        trained = _resumed(run.checkpoint, recipe, settings, steps)
        kept.load_weights(run.weights)
    else:
        trained = _compiled(recipe, settings, steps, kept)
    average = EMA(recipe.average_decay or 0.0, trained, kept.get_weights(), len(run.history) * steps)
    average.set_model(trained)
    return _Networks(kept, trained, average)


def _train_epoch(training: _Training) -> None:
    """Train one more epoch, measure it on the validation crops, and save it as a checkpoint."""
    run, networks, settings = training.run, training.networks, training.run.settings
    began, epoch, losses = time.monotonic(), len(run.history), []
    batches = training.crops.epoch(epoch, training.steps)
    for step, (images, labels) in enumerate(batches):
        if settings.minutes:
            rate = training.clock.rate(run.history, time.monotonic() - began)
            networks.trained.optimizer.learning_rate = settings.learning_rate * rate
        inputs, targets = _mixed(images, labels, training.recipe.mixed, (settings.seed, epoch, step))
        loss, hits = networks.trained.train_on_batch(inputs, targets)
        losses.append((float(loss), float(hits)))
        networks.average.on_train_batch_end(step)
        networks.trained.reset_metrics()
    networks.average.on_epoch_end(epoch)
    networks.kept.set_weights(networks.average.weights)
    loss, hits = np.mean(losses, axis=0)
    entry = {"training_loss": float(loss), "training_accuracy": float(hits)}
    entry |= _measured(networks.kept, training.validation)
    entry["waited"] = round(batches.waited, 1)
    entry["seconds"] = round(time.monotonic() - began, 1)
    run.end_epoch(entry, networks.trained, networks.kept)
    of = f"/{settings.epochs}" if not settings.minutes else ""
    log(f"epoch {epoch + 1}{of}: " + ", ".join(f"{name} {value:.4g}" for name, value in entry.items()))


def _compiled(recipe: Recipe, settings: Settings, steps: int, like: keras.Model) -> keras.Model:
    """A copy of the network `like` for training: in the precision of the settings, and with its optimizer."""
    keras.config.set_dtype_policy(settings.precision)
    model = fused(recipe.build("none"))
    model.set_weights(like.get_weights())
    rate: Any = settings.learning_rate
    if not settings.minutes:
        rate = cosine_schedule(settings, steps, recipe.warmup_epochs or 0, LAST_RATE)
    optimizer = OPTIMIZERS[recipe.optimizer](rate, recipe.weight_decay)
    optimizer.global_clipnorm = 1.0
    spare_from_decay(optimizer)
    # On a CPU, XLA takes twenty times as long for depthwise convolutions.
    jit = False if keras.backend.backend() == "tensorflow" else "auto"
    model.compile(optimizer, "binary_crossentropy", metrics=[accuracy], jit_compile=jit)
    keras.config.set_dtype_policy("float32")
    return model


def _resumed(checkpoint: Path, recipe: Recipe, settings: Settings, steps: int) -> keras.Model:
    """A checkpoint's network and optimizer, compiled for the current backend and precision, which may be other ones."""
    # The file names the AdamW class of the backend that wrote it, which other backends do not have.
    kept = keras.models.load_model(checkpoint, custom_objects={"AdamW": keras.optimizers.AdamW})
    trained = _compiled(recipe, settings, steps, kept)
    trained.optimizer.build(trained.trainable_variables)
    for variable, value in zip(trained.optimizer.variables, kept.optimizer.variables, strict=True):
        variable.assign(keras.ops.convert_to_numpy(value))
    return trained


def _mixed(
    images: npt.NDArray[np.uint8], labels: npt.NDArray[np.float32], share: float, seed: Sequence[int]
) -> tuple[Any, npt.NDArray[np.float32]]:
    """Input and target of the network. Pixels become floats on the network's device: bytes are faster to copy."""
    if share:
        images, labels = cutmix(images, labels, share, np.random.default_rng(seed))
    inputs = keras.ops.cast(keras.ops.convert_to_tensor(images), "float32") / 255
    return inputs, labels * (1 - SMOOTHING) + SMOOTHING / 2


def _validation(side: Side, size: int) -> _Validation:
    """Crops of the first CHECKED pieces of each picture."""
    picture = side.pieces.picture
    rank = np.arange(len(picture)) - np.searchsorted(picture, picture)
    chosen = np.flatnonzero(rank < CHECKED)
    crops = {name: _validation_crops(side.pieces, chosen, size, how) for name, how in VALIDATION_TIERS.items()}
    return _Validation(side.pictures, picture[chosen], crops)


def _validation_crops(
    pieces: Pieces, chosen: npt.NDArray[np.intp], size: int, how: tuple[float, int] | None
) -> npt.NDArray[np.uint8]:
    """The middle of each chosen piece, uint8, shape (n, size, size, 3).

    Args:
        how: scale and JPEG quality that the piece gets first; None leaves it unchanged.
    """
    opened, crops = pieces.opened(), np.empty((len(chosen), size, size, 3), np.uint8)
    for crop, index in zip(crops, chosen, strict=True):
        height, width = pieces.sizes[index]
        piece = opened[index]
        picture = Image.fromarray(piece[:height, :width])
        if how:
            scale, quality = how
            scale = max(scale, size / min(picture.size))
            picture = picture.resize((round(width * scale), round(height * scale)), Image.Resampling.BICUBIC)
            buffer = BytesIO()
            picture.save(buffer, "JPEG", quality=quality)
            picture = Image.open(buffer)
        if min(picture.size) < size:
            picture = picture.resize((max(size, picture.width), max(size, picture.height)), Image.Resampling.BICUBIC)
        x, y = (picture.width - size) // 2, (picture.height - size) // 2
        crop[:] = np.asarray(picture.crop((x, y, x + size, y + size)))
    return crops


def _measured(network: keras.Model, validation: _Validation) -> dict[str, float]:
    """Figures of each tier; a picture is judged by the mean logit of its crops, and files of one id are one picture."""
    found: dict[str, float] = {}
    for name, crops in validation.crops.items():
        scores = np.clip(predict(network, crops), 1e-6, 1 - 1e-6)
        by_id: dict[tuple[int, str], list[float]] = defaultdict(list)
        for index, logit in zip(validation.picture, np.log(scores / (1 - scores)), strict=True):
            picture = validation.pictures[index]
            by_id[picture.label, picture.id].append(float(logit))
        means = np.array([np.mean(logits) for logits in by_id.values()])
        labels = np.array([label for label, _ in by_id], np.int8)
        metrics = measure(1 / (1 + np.exp(-means)), labels)
        found |= {f"{name}_balanced": metrics.balanced_accuracy, f"{name}_auc": float(metrics.auc or 0)}
    found["validation_auc"] = float(np.mean([value for key, value in found.items() if key.endswith("_auc")]))
    return found
