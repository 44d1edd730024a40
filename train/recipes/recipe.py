"""What a recipe is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from edge.errors import EdgeDetectError
from train.backend import keras

OPTIMIZER_NAMES = ("adamw", "muon")
P_REAL = "p_real"  # the last layer of every network: Dense, one sigmoid


# What may be changed for a run without writing a recipe of one's own, and from what text.
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
    """A recipe was to be changed in a way that makes no sense."""


class WeightsError(EdgeDetectError):
    """The pretrained weights that were asked for cannot be had."""


@dataclass(frozen=True)
class Recipe:
    """A network and how it is trained.

    Attributes:
        build: from the ImageNet weights asked for ("imagenet", "none" or a
            file; ignored by a network that has none) to an uncompiled model:
            input NHWC RGB in [0, 1], output shape (n, 1), P(REAL).
        weights: of the backbone, where the caller asks for none in particular.
        size: (width, height) of the input in pixels.
        learning_rate: the highest, reached after `warmup_epochs`, then cosine down to 0;
            constant where `warmup_epochs` is None.
        weight_decay: decoupled, as in AdamW; not on biases and normalisation.
        crop_padding: pixels of random shift; 0 trains on the images as they are, unmirrored.
        corrupted: share of the training images that are corrupted (`train.corruptions`), anew in every epoch.
        mixed: share of the training images that a part of another is pasted into (`train.augment.cutmix`).
        optimizer: "adamw", or "muon" for convolution kernels with AdamW for the rest.
        subject_weight: of the loss of a second output, which names what the picture shows, where the file names of
            the data set tell that. It exists in training only: a network that knows what it looks at judges better.
        average_decay: what a step leaves of the running average of the weights, which is what is kept and
            measured; None keeps the weights of the last step.
        frozen: the layer, a network of its own, up to which pretrained weights are frozen. What comes out of it is
            computed once an image and kept, instead of once an image and epoch; so images must not be augmented.
        draws: crops of an epoch, for a recipe that judges crops of photos (`train.photos`); None for one that takes
            each image whole, once an epoch.
        views: of a picture, for such a recipe, as a model's description has them (`edge.inference.model.Views`).
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
        """What it is made of, but the network itself."""
        values = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "build"}
        return values | {"size": list(self.size)}

    def changed(self, changes: Mapping[str, str]) -> "Recipe":
        """This recipe with other settings, each given as text.

        Raises:
            RecipeError: there is no such setting, or the text is no value for it.
        """
        values = {}
        for name, text in changes.items():
            if name not in CHANGEABLE:
                raise RecipeError(f"--set {name}: none of {', '.join(CHANGEABLE)}")
            try:
                values[name] = CHANGEABLE[name](text)
            except ValueError:
                raise RecipeError(f"--set {name}={text}: not a value for it") from None
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
            if not 0 <= value < limit:  # a NaN is not, either
                raise RecipeError(f"--set {name}={value}: not at least 0 and below {limit:g}")
        return recipe
