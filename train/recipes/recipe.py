"""The type of a recipe: a network with the settings that it is trained with."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from edge.errors import EdgeDetectError
from train.backend import keras

OPTIMIZER_NAMES = ("adamw", "muon")
P_REAL = "p_real"  # name of the last layer of every network: Dense, one sigmoid

# The settings that --set can change, each with the function that parses its text.
CHANGEABLE: dict[str, Callable[[str], Any]] = {
    "optimizer": str,
    "subject_weight": float,
    "average_decay": lambda text: None if text == "none" else float(text),
    "crop_padding": int,
    "mixed": float,
    "warmup_epochs": lambda text: None if text == "none" else float(text),
    "weight_decay": float,
}


class RecipeError(EdgeDetectError):
    """A change of a recipe, or its combination with other settings, is invalid."""


class WeightsError(EdgeDetectError):
    """The requested pretrained weights are missing or damaged."""


@dataclass(frozen=True)
class Recipe:
    """A network and how it is trained.

    Attributes:
        build: makes the uncompiled network from the name of its weights: "imagenet", "none" or a file. Its input is
            NHWC RGB in [0, 1], its output P(REAL), shape (n, 1).
        weights: default of the weights to start from.
        size: (width, height) of the input in pixels.
        learning_rate: the highest one, reached after `warmup_epochs`; then it falls as a cosine to 0. It is constant if
            `warmup_epochs` is None.
        weight_decay: decoupled, as in AdamW; biases and normalisation are exempt.
        crop_padding: largest random shift in pixels; 0 neither shifts nor mirrors the images.
        corrupted: share of the training images that are corrupted, other ones in each epoch (`train.corruptions`).
        mixed: share of the training images that a part of another image is pasted into (`train.augment.cutmix`).
        optimizer: "adamw"; or "muon", for convolution kernels, with AdamW for the rest.
        subject_weight: weight of the loss of a second output, the class of the object shown, if the data set's file
            names contain it. The output exists in training only; it makes the first one more accurate.
        average_decay: share of the running average of the weights that is kept in each step. The average is measured
            and saved. None measures and saves the weights of the last step.
        frozen: name of the last frozen layer, a network itself. With pretrained weights its output is computed once
            for each image, not in every epoch, so images must not be augmented. None freezes nothing.
        draws: crops of an epoch, for a recipe that judges crops of photos (`train.photos`). None: the network takes
            each image whole, once in an epoch.
        views: the views of a picture, for such a recipe, in the JSON format of `edge.inference.model.Views`.
    """

    name: str
    build: Callable[[str], keras.Model]
    weights: str
    size: tuple[int, int]
    epochs: int
    batch_size: int
    learning_rate: float
    warmup_epochs: float | None
    weight_decay: float
    crop_padding: int
    corrupted: float = 0.0
    mixed: float = 0.0
    optimizer: str = "adamw"
    subject_weight: float = 0.0
    average_decay: float | None = None
    frozen: str | None = None
    draws: int | None = None
    views: dict[str, Any] | None = None

    def as_json(self) -> dict[str, Any]:
        """Its settings, without the function that builds the network."""
        values = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "build"}
        return values | {"size": list(self.size)}

    def changed(self, changes: Mapping[str, str]) -> "Recipe":
        """This recipe with changed settings.

        Args:
            changes: the new value as text, by name of the setting; see CHANGEABLE.

        Raises:
            RecipeError: there is no such setting, or the text is not a valid value.
        """
        values = {}
        for name, text in changes.items():
            if name not in CHANGEABLE:
                raise RecipeError(f"--set {name}: none of {', '.join(CHANGEABLE)}")
            try:
                values[name] = CHANGEABLE[name](text)
            except ValueError:
                raise RecipeError(f"--set {name}={text}: not a value of {name}") from None
        recipe = replace(self, **values)
        if recipe.optimizer not in OPTIMIZER_NAMES:
            raise RecipeError(f"--set optimizer={recipe.optimizer}: none of {', '.join(OPTIMIZER_NAMES)}")
        ranges = {
            "average_decay": (recipe.average_decay or 0.0, 1.0),
            "crop_padding": (recipe.crop_padding, min(recipe.size)),
            "mixed": (recipe.mixed, 1.0),
            "subject_weight": (recipe.subject_weight, 100.0),
            "warmup_epochs": (recipe.warmup_epochs or 0.0, 1000.0),
            "weight_decay": (recipe.weight_decay, 100.0),
        }
        for name, (value, limit) in ranges.items():
            if not 0 <= value < limit:  # refuses NaN, too
                raise RecipeError(f"--set {name}={value}: must be at least 0 and below {limit:g}")
        return recipe
