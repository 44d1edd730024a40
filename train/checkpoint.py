"""The folder of one training run: its settings, its history, and the checkpoint that it can resume from."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from edge.cli.commands import output_folder
from edge.errors import EdgeDetectError
from train.dataset import VALIDATION, Dataset
from train.files import whole_path, write_whole

RECORD = "run.json"
MODEL = "model.keras"
MAY_CHANGE_ON_RESUME = ("processes", "precision")  # settings that a resumed run may have other values of


class ResumeError(EdgeDetectError):
    """The folder holds no run to resume, a run with other settings or images, or a run that would be overwritten."""


@dataclass(frozen=True)
class Settings:
    """The settings of a run; together with the images they determine its result.

    Attributes:
        weights: weights to start from: "imagenet", "none" or a file.
        learning_rate: the highest one, see `Recipe`.
        corrupted: share of the training images that are corrupted, see `train.corruptions`.
        validation_fraction: share of each class of the train split that is held out to choose the best epoch.
        fraction: share of the remaining images to train on; less than 1 to try an idea.
        patience_epochs: stop after this many epochs without a better validation accuracy.
        precision: a Keras dtype policy; "mixed_bfloat16" is faster on processors and GPUs with bfloat16.
        changes: changes of the recipe, see `Recipe.changed`.
        draws: crops of an epoch, for recipes of photos.
        processes: number of processes that cut and augment crops, for recipes of photos.
        minutes: length of the run, for recipes of photos; 0 trains a number of epochs instead.
    """

    recipe: str
    weights: str
    epochs: int
    batch_size: int
    learning_rate: float
    corrupted: float = 0.0
    seed: int = 0
    validation_fraction: float = 0.05
    fraction: float = 1.0
    patience_epochs: int = 10
    precision: str = "float32"
    changes: dict[str, str] = field(default_factory=dict)
    draws: int = 0
    processes: int = 2
    minutes: float = 0.0


class Run:
    """The folder of a run; each file in it is complete at any moment.

    Attributes:
        record: the content of `run.json`: settings, software, images, and `history` with one entry for each epoch.
    """

    def __init__(self, folder: Path, settings: Settings, about: dict[str, Any], *, resume: bool) -> None:
        """
        Args:
            about: further entries for the record of a new run.
            resume: continue the run in the folder.

        Raises:
            ResumeError: with `resume`, the folder holds no run, or one with other settings; without it, the folder
                holds a run already.
            SinkError: the folder cannot be written to.
        """
        self.folder, self.settings = output_folder(folder), settings
        self.record = self._resumed() if resume else self._begun() | about

    @property
    def history(self) -> list[dict[str, float]]:
        """The figures of each finished epoch."""
        entries: list[dict[str, float]] = self.record["history"]
        return entries

    @property
    def best_epoch(self) -> int:
        """The first epoch with the highest validation accuracy, or the record's `choose_by` figure; counted from 0."""
        figure = self.record.get("choose_by", "validation_accuracy")
        return max(range(len(self.history)), key=lambda epoch: self.history[epoch][figure])

    @property
    def has_stalled(self) -> bool:
        """Whether the last `patience_epochs` epochs brought no better one."""
        return bool(self.history) and len(self.history) - 1 - self.best_epoch >= self.settings.patience_epochs

    @property
    def checkpoint(self) -> Path:
        """The file of the trained network and its optimizer after the last epoch."""
        return self._checkpoint(len(self.history))

    @property
    def weights(self) -> Path:
        """The file of the weights that the last epoch was measured with: their average, if the recipe has one."""
        return self._weights(len(self.history))

    @property
    def best(self) -> Path:
        """The file of the weights that the best epoch was measured with."""
        return self._weights(self.best_epoch + 1)

    def keep_to(self, recipe: dict[str, Any], training: Dataset, data: Path) -> None:
        """Record the recipe and the training images of a new run, or check that a resumed run has the same.

        Raises:
            ResumeError: the run began with another recipe or other images.
        """
        found = {"recipe": recipe, "training_images": training.fingerprint(data)}
        words = {"recipe": "another version of the recipe", "training_images": "other images"}
        for name, value in found.items():
            if self.history and self.record.get(name, value) != value:
                raise ResumeError(
                    f"{self.folder}: this run began with {words[name]}; it can only continue with the same"
                )
        self.record |= found

    def hold_out(self, validation: Dataset, data: Path) -> None:
        """Save the names of the validation images, relative to `data`: the conversion measures on the same images.

        Raises:
            ResumeError: the run began with other validation images.
        """
        names = [path.relative_to(data).as_posix() for path in validation.paths]
        text = json.dumps(names, indent=0) + "\n"
        kept = self.folder / VALIDATION
        if self.history and not (kept.exists() and kept.read_text("utf-8") == text):
            raise ResumeError(f"{self.folder}: this run began with other images; it can only continue with the same")
        write_whole(kept, text)

    def end_epoch(self, entry: dict[str, float], trained: Any, measured: Any) -> None:
        """Add an epoch to the history and save its networks, in an order that makes a stop at any moment harmless.

        Args:
            entry: the epoch's figures.
            trained: the network that the next epoch continues to train, with its optimizer.
            measured: the network that has the figures of `entry`.
        """
        former = {self.checkpoint, self.weights, self.best} if self.history else set()
        self.history.append(entry)
        self.save(self.weights.name, measured.save_weights)
        self.save(self.checkpoint.name, trained.save)
        self.write()
        for path in former - {self.best}:
            path.unlink(missing_ok=True)

    def finish(self) -> None:
        """Write the record and delete the checkpoints; a run without a checkpoint is finished."""
        self.write()
        for path in (self.checkpoint, self.weights, self.best):
            path.unlink(missing_ok=True)

    def write(self) -> None:
        """Write the record to `run.json`."""
        write_whole(self.folder / RECORD, json.dumps(self.record, indent=1) + "\n")

    def save(self, name: str, write: Callable[[Path], object]) -> None:
        """Save a network in the folder, completely or not at all.

        Args:
            write: writes the network to a path, with the ending of `name`: Keras chooses the format by it.
        """
        with whole_path(self.folder / name, partial=f"partial-{name}") as partial:
            write(partial)

    def _checkpoint(self, epochs: int) -> Path:
        return self.folder / f"checkpoint-{epochs}.keras"

    def _weights(self, epochs: int) -> Path:
        return self.folder / f"epoch-{epochs}.weights.h5"

    def _begun(self) -> dict[str, Any]:
        if (self.folder / RECORD).exists():
            raise ResumeError(f"{self.folder}: holds a run already; continue it with --resume, or name another folder")
        return {"settings": asdict(self.settings), "history": []}

    def _resumed(self) -> dict[str, Any]:
        try:
            record: dict[str, Any] = json.loads((self.folder / RECORD).read_text("utf-8"))
            begun_with, epochs = record["settings"], len(record["history"])
        except FileNotFoundError:
            raise ResumeError(f"{self.folder}: no run to resume; omit --resume to begin one") from None
        except (ValueError, KeyError, TypeError) as error:
            raise ResumeError(f"{self.folder / RECORD}: damaged: {error}") from error
        begun_with = asdict(Settings(**begun_with))  # settings that later versions added had their defaults
        settings = {key: value for key, value in asdict(self.settings).items() if key not in MAY_CHANGE_ON_RESUME}
        changed = [key for key, value in settings.items() if begun_with[key] != value]
        if changed:
            raise ResumeError(
                f"{self.folder}: this run began with another {', '.join(changed)}; it can only continue with the same"
            )
        if not self._checkpoint(epochs).exists():
            raise ResumeError(f"{self.folder}: this run is finished")
        return record
