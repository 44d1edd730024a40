"""Model files: a `.tflite` file, and the description beside it (`edge.inference.description`)."""

import hashlib
import os
from functools import cached_property
from pathlib import Path

from edge import resources
from edge.errors import ModelError, UnreadableFileError, printable
from edge.imaging import preprocess
from edge.imaging.inputs import Domain
from edge.imaging.views import Views, ViewSet
from edge.inference.chosen import chosen_paths
from edge.inference.description import (
    FORMAT_VERSION,
    LOGIT,
    MOST_VIEWS,
    PROBABILITY,
    THRESHOLD,
    Fusion,
    ModelDescription,
    OperatingPoint,
    Quantisation,
    views_of,
)
from edge.records import dataclass, field
from edge.verdict import LABELS, UNSURE

# Also the names that training and conversion need to describe a model.
__all__ = [
    "BUNDLED",
    "DEFAULT",
    "EDGE_TPU_OPERATION",
    "FORMAT_VERSION",
    "LABELS",
    "LOGIT",
    "MOST_VIEWS",
    "NO_UNSURE",
    "PROBABILITY",
    "THRESHOLD",
    "UNSURE",
    "Domain",
    "Fusion",
    "Model",
    "ModelDescription",
    "OperatingPoint",
    "Quantisation",
    "ViewSet",
    "Views",
    "bundled_paths",
    "default_path",
    "described",
    "description_path",
    "is_compiled",
    "load",
    "views_of",
]

DEFAULT = "compact_int8.tflite"
BUNDLED = (DEFAULT, "photo_int8.tflite")  # the first one whose domain holds an image classifies it
NO_UNSURE = ""  # instead of an operating point's name: the description's single threshold
EDGE_TPU_OPERATION = b"edgetpu-custom-op"  # the operation that edgetpu_compiler puts in place of those it compiles


@dataclass(frozen=True)
class Model:
    """A model file that was read, and checked against its description if it has one."""

    path: Path
    content: bytes = field(repr=False)
    description: ModelDescription | None

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def name(self) -> str:
        return str(self.description.name) if self.description else self.path.stem

    @property
    def labels(self) -> tuple[str, str]:
        return self.description.labels if self.description else LABELS

    @property
    def threshold(self) -> float:
        return self.description.threshold if self.description else THRESHOLD

    def operating_point(self, name: str | None = None) -> OperatingPoint | None:
        """An operating point by its name; None if `threshold` alone decides, always so if the model has no point.

        Args:
            name: None: the description's default; NO_UNSURE: no operating point.

        Raises:
            ModelError: the description has points, but none of this name.
        """
        points = {point.name: point for point in self.description.operating_points} if self.description else {}
        if not points or name == NO_UNSURE:
            return None
        if name is None:
            assert self.description  # it has points
            name = self.description.operating_point or next(iter(points))
        if name not in points:
            known = printable(", ".join(points))
            raise ModelError(f"{printable(self.path)}: no operating point {printable(name)}; there are {known}")
        return points[name]


def default_path() -> Path:
    """The bundled model for thumbnails."""
    return resources.folder("models") / DEFAULT


def bundled_paths() -> tuple[Path, ...]:
    """The models in use if the user names none: the bundled ones, in the order of BUNDLED.

    `edge-detect model use` replaces them by installed ones. The default model, or the one in its place, is always among
    them: if it is missing, loading it reports that.

    Raises:
        ModelError: the file that names the installed models in use is damaged.
    """
    folder = resources.folder("models")
    bundled = {name: folder / name for name in BUNDLED if name == DEFAULT or (folder / name).exists()}
    return tuple((bundled | chosen_paths(BUNDLED)).values())


def description_path(model: Path) -> Path:
    """The path of a model file's JSON."""
    return model.with_suffix(".json")


def load(path: Path | None = None, description: ModelDescription | None = None) -> Model:
    """Read a model and its description; without one the model gets LABELS and THRESHOLD.

    Args:
        path: a `.tflite` file; None: the default model.
        description: of this file, if it has been read already.

    Raises:
        ModelError: the file cannot be read, is not a LiteRT model, or is not the one that its description describes.
    """
    path = path or default_path()
    try:
        content = preprocess.read(path)
    except UnreadableFileError as error:
        raise ModelError(f"{printable(path)}: cannot read the model: {error.reason}") from error
    # "TFL3" is the file identifier in TensorFlow Lite's schema, at offset 4 as in every FlatBuffer.
    if content[4:8] != b"TFL3":
        raise ModelError(f"{printable(path)}: not a LiteRT model (.tflite)")
    model = Model(path, content, description or described(path))
    if model.description and model.description.sha256 != model.sha256:
        beside = printable(description_path(path).name)
        raise ModelError(f"{printable(path)}: damaged, or not the file that {beside} describes (SHA-256 differs)")
    return model


def described(model: Path) -> ModelDescription | None:
    """Read the description beside a model file, but not that file; None if there is no description.

    Raises:
        ModelError: it cannot be read, is invalid, or asks for another resampling filter.
    """
    path = description_path(model)
    if not os.path.lexists(path):
        return None
    try:
        description = ModelDescription.from_json(preprocess.read(path).decode("utf-8"))
    except UnreadableFileError as error:
        raise ModelError(f"{error}") from error
    except (ValueError, OverflowError, RecursionError) as error:
        raise ModelError(f"{printable(path)}: cannot read the model's description: {printable(str(error))}") from error
    if description.resampling != preprocess.RESAMPLING.name.lower():
        raise ModelError(
            f"{printable(path)}: the model was trained on images scaled with {printable(str(description.resampling))}, "
            f"this edge-detect scales with {preprocess.RESAMPLING.name.lower()}"
        )
    return description


def is_compiled(content: bytes) -> bool:
    """Whether a model file was compiled for the Edge TPU."""
    return EDGE_TPU_OPERATION in content
