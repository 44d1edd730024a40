"""What a model is to a runner: a `.tflite` file and the JSON beside it that describes it."""

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from edge import image, resources
from edge.errors import ModelError, UnreadableFileError, printable

LABELS = ("FAKE", "REAL")  # in the order of a class index; the score is the probability of the second
THRESHOLD = 0.5  # REAL above it, FAKE at it and below
DEFAULT = "compact_int8.tflite"
FORMAT_VERSION = 2
READABLE_VERSIONS = (1, 2)  # 2 brought output_is, score_limit and domain
PROBABILITY, LOGIT = "probability", "logit"
EDGE_TPU_OPERATION = b"edgetpu-custom-op"  # what edgetpu_compiler makes of the operations that it has compiled


@dataclass(frozen=True)
class Quantisation:
    """real value = scale * (stored value - zero_point); scale 0 means that the tensor is not quantised."""

    dtype: str
    scale: float
    zero_point: int


@dataclass(frozen=True)
class Domain:
    """The images that a model was measured on: (least, greatest) of their upright width and height, in pixels."""

    width: tuple[int, int]
    height: tuple[int, int]

    def reason_outside(self, size: tuple[int, int]) -> str | None:
        """Why an image of this (width, height) is none of them, in words; None if it may be one."""
        ranges = (self.width, self.height)
        if all(least <= length <= greatest for length, (least, greatest) in zip(size, ranges, strict=True)):
            return None
        known = " x ".join(str(least) if least == most else f"{least}-{most}" for least, most in ranges)
        return f"{size[0]} x {size[1]} pixels; the model was measured on {known}"


@dataclass(frozen=True)
class ModelDescription:
    """The JSON beside a model file.

    Attributes:
        width, height: of the input in pixels; layout NHWC, R G B, [0, 1] before quantisation.
        resampling: the filter that scales images to it, by Pillow's name in lower case.
        labels: the name of score 0 and of score 1.
        threshold: a score above it is `labels[1]`.
        sha256: of the model file, hexadecimal.
        output_is: "probability", P(REAL) itself, or "logit", what its sigmoid is taken of. In 8 bits a probability
            has few steps where it matters, near 0 and 1; a logit has as many there as anywhere.
        score_limit: scores are kept within [limit, 1 - limit], for a model cannot be known to be more certain than
            the number of images allows on which it was measured.
        domain: None if nobody has said.
        measured: what the conversion measured; nothing is decided by it.
        calibration: which images an integer model was calibrated on; empty for float models.
    """

    name: str
    width: int
    height: int
    resampling: str
    sha256: str
    input: Quantisation
    output: Quantisation
    labels: tuple[str, str] = LABELS
    threshold: float = THRESHOLD
    output_is: str = PROBABILITY
    score_limit: float = 0.0
    domain: Domain | None = None
    measured: dict[str, Any] = field(default_factory=dict)
    calibration: dict[str, Any] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "ModelDescription":
        """The reverse of `to_json`; fields of later versions that we do not know are left alone.

        Raises:
            ValueError: this is no description, or one of a later format.
        """
        data = json.loads(text)
        if not isinstance(data, dict):
            raise ValueError("not a JSON object")
        if data.get("format_version") not in READABLE_VERSIONS:
            raise ValueError(f"format_version {data.get('format_version')!r}; this edge-detect reads {FORMAT_VERSION}")
        known = {key: data[key] for key in cls.__dataclass_fields__ if key in data}
        try:
            known["input"], known["output"] = _quantisation(data["input"]), _quantisation(data["output"])
            known["labels"] = _two_labels(data["labels"])
            known["threshold"] = float(data["threshold"])
            known["score_limit"] = _score_limit(data.get("score_limit", 0.0))
            if not known["score_limit"] < known["threshold"] < 1 - known["score_limit"]:
                raise ValueError("threshold is not between score_limit and 1 - score_limit")
            if data.get("output_is", PROBABILITY) not in (PROBABILITY, LOGIT):
                raise ValueError(f"output_is is neither {PROBABILITY} nor {LOGIT}")
            known["domain"] = _domain(data.get("domain"))
            return cls(**known)
        except KeyError as error:
            raise ValueError(f"{error.args[0]} is missing") from error
        except TypeError as error:
            raise ValueError(str(error)) from error


@dataclass(frozen=True)
class Model:
    """A model file that was read and, where it has a description, checked against it."""

    path: Path
    content: bytes = field(repr=False)
    description: ModelDescription | None

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def labels(self) -> tuple[str, str]:
        return self.description.labels if self.description else LABELS

    @property
    def threshold(self) -> float:
        return self.description.threshold if self.description else THRESHOLD


def default_path() -> Path:
    """The model that travels with the package."""
    return resources.folder("models") / DEFAULT


def description_path(model: Path) -> Path:
    """Where the JSON of a model file is."""
    return model.with_suffix(".json")


def load(path: Path | None = None) -> Model:
    """Read a model and its description; a file without one gets the contract's labels and threshold.

    Args:
        path: a `.tflite` file; None is the default model.

    Raises:
        ModelError: the file is missing, is no LiteRT model, or is not the one that its description describes.
    """
    path = path or default_path()
    try:
        content = image.read(path)
    except UnreadableFileError as error:
        raise ModelError(f"{printable(path)}: cannot read the model: {error.reason}") from error
    # "TFL3" is the file identifier in TensorFlow Lite's schema, at offset 4 as in every FlatBuffer.
    if content[4:8] != b"TFL3":
        raise ModelError(f"{printable(path)}: not a LiteRT model (.tflite)")
    model = Model(path, content, _described(description_path(path)))
    if model.description and model.description.sha256 != model.sha256:
        described = description_path(path).name
        raise ModelError(f"{printable(path)}: damaged, or not the file that {described} describes (SHA-256 differs)")
    return model


def _described(path: Path) -> ModelDescription | None:
    if not os.path.lexists(path):
        return None
    try:
        description = ModelDescription.from_json(image.read(path).decode("utf-8"))
    except UnreadableFileError as error:
        raise ModelError(f"{error}") from error
    except (ValueError, OverflowError, RecursionError) as error:
        raise ModelError(f"{printable(path)}: cannot read the model's description: {printable(str(error))}") from error
    if description.resampling != image.RESAMPLING.name.lower():
        raise ModelError(
            f"{printable(path)}: the model was trained on images scaled with {printable(str(description.resampling))}, "
            f"this edge-detect scales with {image.RESAMPLING.name.lower()}"
        )
    return description


def _two_labels(value: Any) -> tuple[str, str]:
    if not (isinstance(value, list) and len(value) == 2 and all(isinstance(label, str) for label in value)):
        raise ValueError("labels is not a pair of names")
    return printable(value[0]), printable(value[1])


def _score_limit(value: Any) -> float:
    if not 0 <= float(value) < 0.5:
        raise ValueError("score_limit is not within 0 and 0.5")
    return float(value)


def _domain(value: Any) -> Domain | None:
    if value is None:
        return None
    return Domain(_range(value["width"]), _range(value["height"]))


def _range(value: Any) -> tuple[int, int]:
    is_pair = isinstance(value, list) and len(value) == 2 and all(type(number) is int for number in value)
    if not is_pair or not 1 <= value[0] <= value[1]:
        raise ValueError("domain does not give (least, greatest) in pixels")
    return value[0], value[1]


def _quantisation(value: dict[str, Any]) -> Quantisation:
    return Quantisation(str(value["dtype"]), float(value["scale"]), int(value["zero_point"]))


def is_compiled(content: bytes) -> bool:
    """Whether a model file was compiled for the Edge TPU."""
    return EDGE_TPU_OPERATION in content
