"""The description of a model: the JSON beside a `.tflite` file."""

import json
import math
from typing import Any

from edge.errors import printable
from edge.imaging.inputs import Domain
from edge.imaging.views import Views, ViewSet
from edge.records import dataclass, field
from edge.verdict import LABELS, UNSURE

THRESHOLD = 0.5  # REAL above it, FAKE at it and below
FORMAT_VERSION = 3
# Version 2 added output_is, score_limit and domain; version 3 views, fusion and operating points.
READABLE_VERSIONS = (1, 2, 3)
MOST_VIEWS = 64
PROBABILITY, LOGIT = "probability", "logit"


@dataclass(frozen=True)
class Quantisation:
    """Quantisation of a tensor: value = scale * (stored value - zero_point); scale 0: it is not quantised."""

    dtype: str
    scale: float
    zero_point: int


@dataclass(frozen=True)
class Fusion:
    """The logit of a picture from the mean of its views' logits: scale * mean + offset."""

    scale: float = 1.0
    offset: float = 0.0


@dataclass(frozen=True)
class OperatingPoint:
    """Two thresholds of the score.

    Attributes:
        name: by which a user chooses it.
        false_alarms: measured share of real pictures that are called FAKE.
        misses: measured share of generated pictures that are called REAL.
        fake_below: lower scores are FAKE.
        real_above: higher scores are REAL; those between are UNSURE.
    """

    name: str
    false_alarms: float
    misses: float
    fake_below: float
    real_above: float


@dataclass(frozen=True)
class ModelDescription:
    """The JSON beside a model file.

    Attributes:
        name: of the model.
        width, height: of the input in pixels; layout NHWC, R G B, [0, 1] before quantisation.
        resampling: the filter that scales images to the input: Pillow's name in lower case.
        sha256: of the model file, hexadecimal.
        input, output: quantisation of the two tensors.
        labels: of score 0 and of score 1.
        threshold: a score above it is `labels[1]`.
        output_is: PROBABILITY, P(REAL) itself, or LOGIT, whose sigmoid is P(REAL). Quantised to 8 bits, a probability
            has few steps near 0 and 1, where they matter; a logit has as many there as elsewhere.
        score_limit: scores are clipped to [limit, 1 - limit]: no more certainty can be claimed than the number of
            images allows on which the model was measured.
        domain: the images that the model was measured on; None: unknown.
        views: the crops that the network is shown; None: the whole picture, scaled to the input.
        fusion: how the logits of several views become one; None: their mean.
        operating_points: without any, `threshold` alone decides and no image is UNSURE.
        operating_point: name of the default one; None: the first.
        measured: results of the conversion's measurements, for information only.
        calibration: the images that an integer model was calibrated on; empty for float models.
        format_version: of this JSON.
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
    views: Views | None = None
    fusion: Fusion | None = None
    operating_points: tuple[OperatingPoint, ...] = ()
    operating_point: str | None = None
    measured: dict[str, Any] = field(default_factory=dict)
    calibration: dict[str, Any] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION

    def to_json(self) -> str:
        """The text of the JSON file."""
        from dataclasses import asdict  # here: `classify` starts faster without

        return json.dumps(asdict(self), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "ModelDescription":
        """The description in a JSON text; unknown fields are ignored.

        Raises:
            ValueError: the text is not a valid description, or one of a later format.
        """
        data = json.loads(text)
        if not isinstance(data, dict):
            raise ValueError("not a JSON object")
        version = data.get("format_version")
        if version not in READABLE_VERSIONS:
            raise ValueError(f"format_version {version!r}; this edge-detect reads up to {FORMAT_VERSION}")
        known = {key: data[key] for key in cls.__match_args__ if key in data}
        later = data if version >= 3 else {}  # in older descriptions these fields mean something else
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
            known["views"] = views_of(later.get("views"))
            known["fusion"] = _fusion(later.get("fusion"))
            points = known["operating_points"] = _operating_points(later.get("operating_points"))
            chosen = known["operating_point"] = later.get("operating_point")
            if chosen is not None and chosen not in [point.name for point in points]:
                raise ValueError(f"operating_point {chosen!r} is none of the operating_points")
            if points and UNSURE in known["labels"]:
                raise ValueError(f"{UNSURE} cannot be one of two labels beside operating_points")
            return cls(**known)
        except KeyError as error:
            raise ValueError(f"{error.args[0]} is missing") from error
        except (TypeError, AttributeError) as error:
            raise ValueError(str(error)) from error


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


def views_of(value: Any) -> Views | None:
    """The value of `views` in a description's JSON.

    Raises:
        ValueError, KeyError, TypeError: the value is invalid.
    """
    if value is None:
        return None
    first, further = _view_sets(value["first"]), _view_sets(value.get("further", []))
    if not first:
        raise ValueError("views has no first views")
    views = Views(first, further)
    if len(views.weights) > MOST_VIEWS:
        raise ValueError(f"views has {len(views.weights)} crops; {MOST_VIEWS} is the most")
    for name, sets in (("first", first), ("further", further)):
        if sets and not sum(one.weight * one.crops for one in sets) > 0:
            raise ValueError(f"the {name} views have no weight")
    low, high = _two_numbers(value.get("further_between", [0.0, 1.0]), "further_between")
    reduce_above = value.get("reduce_above")
    if reduce_above is not None and not _is_count(reduce_above):
        raise ValueError("reduce_above is not a number of pixels")
    return Views(first, further, (low, high), reduce_above)


def _view_sets(value: Any) -> tuple[ViewSet, ...]:
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise ValueError("views does not give lists of view sets")
    sets = []
    for one in value:
        crops, short_side, weight = one["crops"], one.get("short_side"), float(one.get("weight", 1.0))
        if not _is_count(crops):
            raise ValueError("crops of a view set is not a number from 1 on")
        if short_side is not None and not _is_count(short_side):
            raise ValueError("short_side of a view set is not a number of pixels")
        if not 0 <= weight < math.inf:
            raise ValueError("weight of a view set is not a number from 0 on")
        sets.append(ViewSet(crops, short_side, weight))
    return tuple(sets)


def _is_count(value: Any) -> bool:
    return type(value) is int and 1 <= value <= 1_000_000


def _two_numbers(value: Any, name: str) -> tuple[float, float]:
    """A pair of numbers from 0 to 1, the lesser first."""
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError(f"{name} is not a pair of numbers")
    low, high = float(value[0]), float(value[1])
    if not 0 <= low <= high <= 1:
        raise ValueError(f"{name} is not in order within 0 and 1")
    return low, high


def _fusion(value: Any) -> Fusion | None:
    if value is None:
        return None
    if value.get("texture") is not None:
        raise ValueError("fusion has a texture, which this edge-detect does not know")
    scale, offset = float(value.get("scale", 1.0)), float(value.get("offset", 0.0))
    if not 0 < scale < math.inf or not math.isfinite(offset):
        raise ValueError("fusion does not give a scale above 0 and an offset")
    return Fusion(scale, offset)


def _operating_points(value: Any) -> tuple[OperatingPoint, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise ValueError("operating_points is not a list of them")
    points: dict[str, OperatingPoint] = {}
    for one in value:
        name = one["name"]
        if not isinstance(name, str) or not name or name in points:
            raise ValueError("operating_points do not have a name each")
        shares = float(one["false_alarms"]), float(one["misses"])
        if not all(0 <= share <= 1 for share in shares):
            raise ValueError(f"false_alarms and misses of operating point {name} are not within 0 and 1")
        below, above = _two_numbers([one["fake_below"], one["real_above"]], f"fake_below, real_above of {name}")
        points[name] = OperatingPoint(name, *shares, below, above)
    return tuple(points.values())


def _quantisation(value: dict[str, Any]) -> Quantisation:
    return Quantisation(str(value["dtype"]), float(value["scale"]), int(value["zero_point"]))
