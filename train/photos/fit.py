"""Train a recipe on crops of photos and generated pictures: one loop, read from top to bottom."""

import json
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
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
from train.fit import accuracy
from train.inference import predict
from train.metrics import measure
from train.normalization import fused
from train.optimizers import OPTIMIZERS, spare_from_decay
from train.photos.augment import Augmentation
from train.photos.batches import Crops
from train.photos.clock import LAST_RATE, Clock
from train.photos.collection import Picture, Split
from train.photos.material import is_unpacked, of_collection, unpacked
from train.photos.pieces import CHECKED, Pieces
from train.recipes import RECIPES

VIEWS = "views.json"  # in the folder of a run: what a device shows the network, for the conversion
SMOOTHING = 0.1  # of the labels: some pictures of each class cannot be told, and a few are mislabelled
TIERS = {"clean": None, "web": (0.74, 70)}  # of validation crops: scale and JPEG quality


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
    """Train on pieces of photos, leaving in `out` what `train.fit.fit` leaves.

    Args:
        data: a collection (see `train.photos.collection`), or what `train.photos.shards.unpack` has made of one.
        split: of a collection, which groups are held out; None holds out a tenth of them, by the seed.
        cache: where the pieces of a collection are kept between runs; None keeps them in `out`.
        minutes_of_call: end after the last epoch that fits into so much time, but after one; `resume` goes on.

    Raises:
        CollectionError: `data` is no collection.
        ShardError: `data` is unpacked shards, but of one side only.
        ResumeError: see `train.checkpoint.Run`.
    """
    clock = Clock(settings.minutes, minutes_of_call)
    recipe = RECIPES[settings.recipe].changed(settings.changes)
    material = unpacked(data) if is_unpacked(data) else of_collection(data, split, cache or out, settings.seed)
    about = {
        "choose_by": "validation_auc",
        "software": {"keras": keras.__version__, "backend": keras.backend.backend(), "numpy": np.__version__},
        "images": material.counts,
        "recipe": recipe.as_json(),
    }
    run = Run(out, settings, about, resume=resume)
    run.replace(VIEWS, lambda path: path.write_text(json.dumps(recipe.views, indent=1) + "\n", "utf-8"))
    for side, paths in material.held_out.items():
        names = json.dumps(paths, indent=0)
        run.replace(f"{side}.json", partial(Path.write_text, data=names + "\n", encoding="utf-8"))
    training, validation = material.training, material.validation.pieces
    _say(f"{len(training.pictures)} pictures in {len(training.pieces.picture)} pieces to train on")
    checked = _some(validation)
    checks = {name: _validation_crops(validation, checked, recipe.size[0], how) for name, how in TIERS.items()}
    steps = settings.draws // settings.batch_size

    keras.utils.set_random_seed(settings.seed)
    network = recipe.build("none" if resume else settings.weights)
    if resume:
        trained = _resumed(run.checkpoint, recipe, settings, steps)
        network.load_weights(run.weights)
    else:
        trained = _compiled(recipe, settings, steps, network)
    average = EMA(recipe.average_decay or 0.0, trained, network.get_weights(), len(run.history) * steps)
    average.set_model(trained)
    crops = Crops(
        training.pieces,
        np.array([picture.label for picture in training.pictures], np.int8),
        training.shares,
        size=recipe.size[0],
        batch_size=settings.batch_size,
        how=Augmentation(),
        seed=settings.seed,
        processes=settings.processes,
    )
    first = len(run.history)
    try:
        while (epoch := len(run.history)) < settings.epochs and not clock.ends_run(run.history):
            if epoch > first and clock.ends_call(run.history):
                _say(f"{out}: stopped after epoch {epoch}; --resume goes on from there")
                return
            began, losses, batches = time.monotonic(), [], crops.epoch(epoch, steps)
            for step, (images, labels) in enumerate(batches):
                if settings.minutes:
                    rate = clock.rate(run.history, time.monotonic() - began)
                    trained.optimizer.learning_rate = settings.learning_rate * rate
                images, targets = _mixed(images, labels, recipe.mixed, (settings.seed, epoch, step))
                loss, hits = trained.train_on_batch(images, targets)
                losses.append((float(loss), float(hits)))
                average.on_train_batch_end(step)
                trained.reset_metrics()
            average.on_epoch_end(epoch)
            network.set_weights(average.weights)
            loss, hits = np.mean(losses, axis=0)
            entry = {"training_loss": float(loss), "training_accuracy": float(hits)}
            entry |= _measured(network, checks, material.validation.pictures, validation.picture[checked])
            entry["waited"] = round(batches.waited, 1)
            entry["seconds"] = round(time.monotonic() - began, 1)
            run.end_epoch(entry, trained, network)
            of = f"/{settings.epochs}" if not settings.minutes else ""
            _say(f"epoch {epoch + 1}{of}: " + ", ".join(f"{k} {v:.4g}" for k, v in entry.items()))
    finally:
        crops.close()
    network.load_weights(run.best)
    run.write()
    run.replace(MODEL, network.save)
    run.finish()


def _compiled(recipe: Any, settings: Settings, steps: int, like: keras.Model) -> keras.Model:
    keras.config.set_dtype_policy(settings.precision)
    model = fused(recipe.build("none"))
    model.set_weights(like.get_weights())
    rate: Any = settings.learning_rate
    if not settings.minutes:
        warmup = round(min(recipe.warmup_epochs or 0, settings.epochs / 2) * steps)
        rate = keras.optimizers.schedules.CosineDecay(
            0.0,
            decay_steps=max(1, settings.epochs * steps - warmup),
            warmup_target=settings.learning_rate,
            warmup_steps=warmup,
            alpha=LAST_RATE,
        )
    optimizer = OPTIMIZERS[recipe.optimizer](rate, recipe.weight_decay)
    optimizer.global_clipnorm = 1.0
    spare_from_decay(optimizer)
    # XLA takes twenty times as long for depthwise convolutions on a CPU.
    jit = False if keras.backend.backend() == "tensorflow" else "auto"
    model.compile(optimizer, "binary_crossentropy", metrics=[accuracy], jit_compile=jit)
    keras.config.set_dtype_policy("float32")
    return model


def _resumed(checkpoint: Path, recipe: Any, settings: Settings, steps: int) -> keras.Model:
    """Compiled for the backend and precision of now, with weights and optimizer as they were kept on any other."""
    # A file names the backend's own class of it, which another backend does not have.
    kept = keras.models.load_model(checkpoint, custom_objects={"AdamW": keras.optimizers.AdamW})
    trained = _compiled(recipe, settings, steps, kept)
    trained.optimizer.build(trained.trainable_variables)
    for variable, value in zip(trained.optimizer.variables, kept.optimizer.variables, strict=True):
        variable.assign(keras.ops.convert_to_numpy(value))
    return trained


def _mixed(
    images: npt.NDArray[np.uint8], labels: npt.NDArray[np.float32], share: float, seed: Sequence[int]
) -> tuple[Any, npt.NDArray[np.float32]]:
    """Input and target of the network; the pixels become floats where it is, as bytes are sooner there."""
    if share:
        images, labels = cutmix(images, labels, share, np.random.default_rng(seed))
    inputs = keras.ops.cast(keras.ops.convert_to_tensor(images), "float32") / 255
    return inputs, labels * (1 - SMOOTHING) + SMOOTHING / 2


def _some(pieces: Pieces) -> npt.NDArray[np.intp]:
    """The first CHECKED pieces of each picture."""
    rank = np.arange(len(pieces.picture)) - np.searchsorted(pieces.picture, pieces.picture)
    return np.flatnonzero(rank < CHECKED)


def _validation_crops(
    pieces: Pieces, chosen: npt.NDArray[np.intp], size: int, how: tuple[float, int] | None
) -> npt.NDArray[np.uint8]:
    """The middle of each chosen piece: uint8, shape (n, size, size, 3)."""
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


def _measured(
    network: keras.Model,
    checks: dict[str, npt.NDArray[np.uint8]],
    pictures: Sequence[Picture],
    which: npt.NDArray[np.int32],
) -> dict[str, float]:
    """The mean of the pieces' logits judges a picture; the files of one id are one picture."""
    found: dict[str, float] = {}
    for name, crops in checks.items():
        scores = np.clip(predict(network, crops), 1e-6, 1 - 1e-6)
        by_id: dict[tuple[int, str], list[float]] = defaultdict(list)
        for index, logit in zip(which, np.log(scores / (1 - scores)), strict=True):
            by_id[pictures[index].label, pictures[index].id].append(float(logit))
        means = np.array([np.mean(logits) for logits in by_id.values()])
        labels = np.array([label for label, _ in by_id], np.int8)
        metrics = measure(1 / (1 + np.exp(-means)), labels)
        found |= {f"{name}_balanced": metrics.balanced_accuracy, f"{name}_auc": float(metrics.auc or 0)}
    found["validation_auc"] = float(np.mean([value for key, value in found.items() if key.endswith("_auc")]))
    return found


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
