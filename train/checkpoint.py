"""The folder of one training run: its settings, its history, and where it can go on."""

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from edge.cli.commands import output_folder
from edge.errors import EdgeDetectError
from train.dataset import VALIDATION, Dataset

RECORD = "run.json"
MODEL = "model.keras"
OF_A_MACHINE = ("processes", "precision")  # settings that a run may change when it goes on elsewhere


class ResumeError(EdgeDetectError):
    """There is nothing to resume, or it was begun with other settings or images."""


@dataclass(frozen=True)
class Settings:
    """What decides a run, together with the images themselves.

    Attributes:
        weights: of the backbone: "imagenet", "none" or a file.
        validation_fraction: of each class of the train split, held out to choose the best epoch.
        fraction: of the other images, trained on: less than 1 to try an idea.
        patience_epochs: stop after so many epochs without a better validation accuracy.
        corrupted: share of the training images that are corrupted, see `train.corruptions`.
        changes: of the recipe, see `Recipe.changed`.
        draws: crops of an epoch, for recipes of photos.
        processes: that cut and augment crops.
        minutes: a run of photos ends by the clock, not after so many epochs; 0 counts epochs.
        precision: a Keras dtype policy; "mixed_bfloat16" is faster where the processor or GPU has bfloat16.
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
    """A run as its folder holds it; every file there is whole at any moment.

    Attributes:
        record: what `run.json` holds: settings, software, images, and one entry of `history` an epoch.
    """

    def __init__(self, folder: Path, settings: Settings, about: dict[str, Any], *, resume: bool) -> None:
        """
        Args:
            about: to be kept in the record of a new run.

        Raises:
            ResumeError: `resume`, but the folder holds no run or one of other settings; or not, but it holds one.
            SinkError: the folder cannot be written to.
        """
        self.folder, self.settings = output_folder(folder), settings
        self.record = self._resumed() if resume else self._begun() | about

    @property
    def history(self) -> list[dict[str, float]]:
        entries: list[dict[str, float]] = self.record["history"]
        return entries

    @property
    def best_epoch(self) -> int:
        """Counted from 0: the first of those with the highest validation accuracy, or what the record chooses by."""
        figure = self.record.get("choose_by", "validation_accuracy")
        return max(range(len(self.history)), key=lambda epoch: self.history[epoch][figure])

    @property
    def has_stalled(self) -> bool:
        return bool(self.history) and len(self.history) - 1 - self.best_epoch >= self.settings.patience_epochs

    @property
    def checkpoint(self) -> Path:
        """Of the model after the last epoch of the history."""
        return self._checkpoint(len(self.history))

    @property
    def weights(self) -> Path:
        """Those that the last epoch's figures are of: their average, where the recipe has one."""
        return self._weights(len(self.history))

    @property
    def best(self) -> Path:
        """The same of the best epoch."""
        return self._weights(self.best_epoch + 1)

    def keep_to(self, recipe: dict[str, Any], training: Dataset, data: Path) -> None:
        """Note what the recipe and the training images are, beside the settings.

        Raises:
            ResumeError: the run was begun with others.
        """
        found = {"recipe": recipe, "training_images": training.fingerprint(data)}
        words = {"recipe": "another version of the recipe", "training_images": "other images"}
        for name, value in found.items():
            if self.history and self.record.get(name, value) != value:
                raise ResumeError(
                    f"{self.folder}: this run was begun with {words[name]}; it can only go on as it began"
                )
        self.record |= found

    def hold_out(self, validation: Dataset, data: Path) -> None:
        """Keep the names of the validation images, paths below `data`: the conversion measures on the same.

        Raises:
            ResumeError: the run was begun with other ones.
        """
        names = [path.relative_to(data).as_posix() for path in validation.paths]
        text = json.dumps(names, indent=0) + "\n"
        kept = self.folder / VALIDATION
        if self.history and not (kept.exists() and kept.read_text("utf-8") == text):
            raise ResumeError(f"{self.folder}: this run was begun with other images; a run keeps its images")
        self.replace(VALIDATION, lambda path: path.write_text(text, "utf-8"))

    def end_epoch(self, entry: dict[str, float], trained: Any, measured: Any) -> None:
        """Add an epoch to the history and keep its models, in such an order that a stop at any moment does no harm.

        Args:
            trained: the model as the next epoch trains it on, with its optimizer.
            measured: the one that `entry` has the figures of.
        """
        former = {self.checkpoint, self.weights, self.best} if self.history else set()
        self.history.append(entry)
        self.replace(self.weights.name, measured.save_weights)
        self.replace(self.checkpoint.name, trained.save)
        self.write()
        for path in former - {self.best}:
            path.unlink(missing_ok=True)

    def finish(self) -> None:
        """Remove what only a run under way needs; a run without checkpoint is a finished one."""
        self.write()
        for path in (self.checkpoint, self.weights, self.best):
            path.unlink(missing_ok=True)

    def write(self) -> None:
        """Bring `run.json` up to date."""
        self.replace(RECORD, lambda path: path.write_text(json.dumps(self.record, indent=1) + "\n", "utf-8"))

    def replace(self, name: str, save: Callable[[Path], object]) -> None:
        """Let `save` write a file of the folder, whole or not at all: a power cut leaves the former one."""
        partial = self.folder / f"partial-{name}"
        save(partial)
        os.replace(partial, self.folder / name)

    def _checkpoint(self, epochs: int) -> Path:
        return self.folder / f"checkpoint-{epochs}.keras"

    def _weights(self, epochs: int) -> Path:
        return self.folder / f"epoch-{epochs}.weights.h5"

    def _begun(self) -> dict[str, Any]:
        if (self.folder / RECORD).exists():
            raise ResumeError(f"{self.folder}: holds a run already; go on with --resume, or name another folder")
        return {"settings": asdict(self.settings), "history": []}

    def _resumed(self) -> dict[str, Any]:
        try:
            record: dict[str, Any] = json.loads((self.folder / RECORD).read_text("utf-8"))
            begun_with, epochs = record["settings"], len(record["history"])
        except FileNotFoundError:
            raise ResumeError(f"{self.folder}: no run to resume; leave --resume away to begin one") from None
        except (ValueError, KeyError, TypeError) as error:
            raise ResumeError(f"{self.folder / RECORD}: damaged: {error}") from error
        begun_with = asdict(Settings(**begun_with))  # what later versions have added was as it is by itself
        settings = {key: value for key, value in asdict(self.settings).items() if key not in OF_A_MACHINE}
        changed = [key for key, value in settings.items() if begun_with[key] != value]
        if changed:
            raise ResumeError(
                f"{self.folder}: this run was begun with another {', '.join(changed)}; a run keeps its settings"
            )
        if not self._checkpoint(epochs).exists():
            raise ResumeError(f"{self.folder}: this run is finished")
        return record
