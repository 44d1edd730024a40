"""The card of a published model: README.md with the metadata that the hub reads.

The card of the folder keeps its text, and metadata that it lacks are added. Without a card, one is written from the
descriptions, the evaluations and the record of the run; the text is in `publish_card.md`.
"""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import Any

import yaml

from edge import requirements
from edge.errors import HubError, printable
from edge.imaging.inputs import Domain
from edge.inference.description import ModelDescription

CARD = "README.md"
TEMPLATE = Path(__file__).with_suffix(".md")
TAGS = ("ai-generated-image-detection", "edge-detect", "tflite")
LICENSE = "mit"
TASK = "image-classification"
_HEAD = re.compile(r"---\r?\n(.*?\n)---\r?\n", re.DOTALL)


@dataclass(frozen=True)
class Content:
    """What is published.

    Attributes:
        repository: user/name.
        descriptions: of the `.tflite` files, by their names.
        contents: of all files, by their names.
        record: of the training run; empty if there is none.
    """

    repository: str
    descriptions: dict[str, ModelDescription]
    contents: dict[str, bytes]
    record: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Figure:
    """A measured figure of a model.

    Attributes:
        model: stem of the file.
        images: what it was measured on, in words.
        split: "test" or "validation".
        metric: its id on the hub.
        value: 0-1.
    """

    model: str
    images: str
    split: str
    metric: str
    value: float


def card(content: Content, terms: str | None = None) -> str:
    """The text of the card, metadata first.

    Args:
        terms: the license; None: that of the folder's card, else LICENSE.

    Raises:
        HubError: the metadata of the folder's card, or an evaluation, are invalid.
    """
    library: Any = requirements.load("huggingface_hub")
    own, body = _divided(content.contents.get(CARD, b""))
    figures = [*_evaluated(content), *_of_conversion(content)]
    metadata: dict[str, Any] = {
        "license": terms or own.pop("license", None) or LICENSE,
        "library_name": own.pop("library_name", None) or ("litert" if content.descriptions else "keras"),
        "pipeline_tag": own.pop("pipeline_tag", None) or TASK,
        "tags": list(dict.fromkeys([*_texts(own.pop("tags", None)), *TAGS])),
    }
    own.pop("license", None)
    metrics = [*_texts(own.pop("metrics", None)), *(one.metric for one in figures)]
    if metrics:
        metadata["metrics"] = list(dict.fromkeys(metrics))
    if "model-index" not in own and figures:
        metadata["model_name"] = content.repository.partition("/")[2]
        metadata["eval_results"] = [_result(library, one) for one in figures]
    try:
        text = library.ModelCardData(**metadata, **own).to_yaml()
    except Exception as error:  # of a foreign library, for what the author of a card wrote
        raise HubError(f"{CARD}: invalid metadata: {printable(' '.join(str(error).split())[:300])}") from error
    return f"---\n{text.strip()}\n---\n\n{body.strip() or _written(content, figures)}\n"


def head(text: str) -> str:
    """The metadata of a card with their frame, and the first line of its text."""
    match = _HEAD.match(text)
    return text[: match.end()] + text[match.end() :].lstrip().partition("\n")[0] if match else text


def _divided(content: bytes) -> tuple[dict[str, Any], str]:
    """(metadata, text) of a card."""
    try:
        text = content.decode("utf-8")
        match = _HEAD.match(text)
        metadata = yaml.safe_load(match[1]) if match else {}
    except (UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise HubError(f"{CARD}: invalid metadata: {printable(' '.join(str(error).split())[:300])}") from error
    if not isinstance(metadata, dict) or not all(isinstance(key, str) for key in metadata):
        raise HubError(f"{CARD}: invalid metadata: not names and values")
    return metadata, text[match.end() :] if match else text


def _texts(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [] if value is None else [value]
    return [str(one) for one in values]


def _evaluated(content: Content) -> Iterator[Figure]:
    """The figures of `python -m train evaluate --json`, of thumbnails and of photos."""
    for name, text in content.contents.items():
        if "/" in name or not name.endswith(".json") or "evaluation" not in name:
            continue
        try:
            data = json.loads(text)
            yield from _of_photos(data) if "tiers" in data else _of_thumbnails(data)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise HubError(f"{printable(name)}: not an evaluation (python -m train evaluate --json)") from error


def _of_photos(data: dict[str, Any]) -> Iterator[Figure]:
    for tier, figures in data["tiers"].items():
        images = f"{int(figures['pictures'])} test pictures, {printable(tier)}"
        for name, metric in (("balanced_accuracy", "balanced_accuracy"), ("auc", "roc_auc")):
            value = figures.get(name) or {}
            yield from _figure(Path(data["model"]).stem, images, "test", metric, value.get("value"))


def _of_thumbnails(data: dict[str, Any]) -> Iterator[Figure]:
    figures = data["as_published"]
    images = f"{int(figures['images'])} test images"
    for name, metric in (("accuracy", "accuracy"), ("balanced_accuracy", "balanced_accuracy"), ("auc", "roc_auc")):
        yield from _figure(Path(data["model"]).stem, images, "test", metric, figures.get(name))


def _of_conversion(content: Content) -> Iterator[Figure]:
    """The accuracies on validation images that the conversion measured."""
    for name, description in content.descriptions.items():
        measured = description.measured
        images = measured.get("images") if isinstance(measured, dict) else None
        if isinstance(images, int):
            on = f"{images} validation images"
            yield from _figure(Path(name).stem, on, "validation", "accuracy", measured.get("accuracy"))


def _figure(model: str, images: str, split: str, metric: str, value: Any) -> Iterator[Figure]:
    if value is not None and math.isfinite(number := float(value)):
        yield Figure(model, images, split, metric, number)


def _result(library: Any, one: Figure) -> Any:
    return library.EvalResult(
        task_type=TASK,
        dataset_type="imagefolder",
        dataset_name=one.images,
        dataset_config=one.images,  # the library unites figures of one configuration, whatever the name
        dataset_split=one.split,
        metric_type=one.metric,
        metric_name=f"{one.metric} of {one.model}",
        metric_value=round(one.value, 5),
    )


def _written(content: Content, figures: list[Figure]) -> str:
    """The text of a new card."""
    rows = [f"| `{name}` | {len(one) / 1000:,.0f} kB |" for name, one in content.contents.items() if _is_model(name)]
    domains = [
        f"`{name}` was measured on images of {_words(one.domain)} and takes {one.width} x {one.height} pixels."
        if one.domain
        else f"`{name}` takes {one.width} x {one.height} pixels."
        for name, one in content.descriptions.items()
    ]
    measured = [f"| {one.model} | {one.images} | {one.metric} | {one.value:.4f} |" for one in figures]
    pictures = [f"![{Path(name).stem}]({name})" for name in content.contents if name.endswith(".png")]
    return Template(TEMPLATE.read_text("utf-8")).substitute(
        title=content.repository.partition("/")[2],
        repository=content.repository,
        files="\n".join(["| file | size |", "|---|---|", *rows]),
        domains="\n".join(domains),
        measured="\n".join(["| model | measured on | figure | value |", "|---|---|---|---|", *measured])
        if measured
        else "Nothing was measured.",
        training=_training(content.record),
        figures="\n\n".join(pictures),
    )


def _is_model(name: str) -> bool:
    return name.endswith((".tflite", ".keras"))


def _words(domain: Domain) -> str:
    sides = [str(low) if low == high else f"{low}-{high}" for low, high in (domain.width, domain.height)]
    return f"{' x '.join(sides)} pixels"


def _training(record: dict[str, Any]) -> str:
    """What the record of a run states of the training, in a sentence; only what is no path."""
    settings, history = record.get("settings"), record.get("history")
    if not isinstance(settings, dict) or not isinstance(history, list):
        return "The folder has no record of the training."
    recipe, seed = str(settings.get("recipe", "unknown")), settings.get("seed", 0)
    text = f"Trained with the recipe `{printable(recipe)}` of edge-detect, {len(history)} epochs, seed {seed}."
    images = record.get("images")
    if isinstance(images, dict) and isinstance(images.get("training"), int):
        text += f" {images['training']:,} images were trained on, and {images.get('validation', 0):,} held out."
    return text
