"""The line from a Keras file to verified LiteRT files with their descriptions."""

import hashlib
import math
import os
import re
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

from convert import calibration_data, graph, litert, photos
from convert.backend import keras
from convert.bias_correction import refined
from convert.calibration_data import Sample
from convert.equalise import equalised, is_plain
from convert.litert import RUNTIME
from convert.rounding import round_weights
from convert.verify import (
    Measured,
    keras_milliseconds,
    keras_scores,
    labels_of_pictures,
    of_pictures,
    require_fixed_kernels,
    verify,
)
from edge.imaging.preprocess import RESAMPLING
from edge.inference.classifier import Classifier, signature
from edge.inference.model import LOGIT, PROBABILITY, THRESHOLD, Domain, Model, ModelDescription, Views, description_path
from edge.inference.runtime import interpreter


@dataclass(frozen=True)
class Row:
    """One line of the closing table: `difference` is the mean one to the Keras model's P(REAL)."""

    name: str
    bytes: int
    accuracy: float
    agreement: float
    difference: float
    milliseconds: float


def convert(
    model: Path, data: Path, out: Path, calibration_images: int, seed: int, domain: Domain | None = None
) -> tuple[list[Row], str]:
    """Write `<name>_float16` and `<name>_int8`, each `.tflite` and `.json`, into `out`.

    The name is the Keras model's own, made fit for a file.

    Args:
        domain: of the descriptions; None takes it from the images that the files are verified with.

    Returns:
        The Keras model's row, then one for each file; and the images that they were measured on, in words.

    Raises:
        ConversionError: the model is none of ours, or a file is not good enough.
        SampleError: the images are not there.
    """
    network = litert.load_keras(model)
    size = (network.input_shape[2], network.input_shape[1])
    views = photos.views_beside(model)
    calibration, images = _samples(model, data, size, views, calibration_images, seed)
    by_keras = keras_scores(network, images)

    # In 8 bits the logit, so that confidences do not end at 255/256. In floats P(REAL) itself, for plain scripts.
    linear = litert.logits(network)
    score_limit = 1 / (len(images.names) + 2)  # Laplace's rule of succession, for never having seen an error
    to_quantise = linear or network
    in_8_bits = litert.int8(_prepared(to_quantise, calibration) if views else to_quantise, calibration.pixels)
    require_fixed_kernels(in_8_bits, network)
    if linear:
        in_8_bits = refined(in_8_bits, linear, calibration.pixels, math.log(1 / score_limit - 1))
    contents = {
        "float16": (litert.float16(network), PROBABILITY),
        "int8": (in_8_bits, LOGIT if linear else PROBABILITY),
    }
    name = re.sub(r"[^\w.-]", "_", network.name)  # Keras lets it hold a slash
    milliseconds = keras_milliseconds(network, images)
    rows = []
    for variant, (content, output_is) in contents.items():
        path = out / f"{name}_{variant}.tflite"
        _, input_, output = signature(interpreter(content, runtime=RUNTIME))
        description = ModelDescription(
            name=path.stem,
            width=size[0],
            height=size[1],
            resampling=RESAMPLING.name.lower(),
            sha256=hashlib.sha256(content).hexdigest(),
            input=input_,
            output=output,
            output_is=output_is,
            score_limit=score_limit,
            domain=domain or (images.domain if views is None else _domain(images.domain)),
            views=views,
            calibration={"origin": calibration.origin, "names": calibration.names} if variant == "int8" else {},
        )
        measured = verify(Classifier(Model(path, content, description), runtime=RUNTIME), by_keras, images)
        told = measured.as_json() | {
            "runtime": f"{RUNTIME} {version(RUNTIME)}",
            "milliseconds_keras": float(f"{milliseconds:.5g}"),
        }
        if views:
            told["multiply_adds"] = graph.read(content).multiply_adds  # of one view
        path.write_bytes(content)
        description_path(path).write_text(replace(description, measured=told).to_json(), "utf-8")
        rows.append(_row(path.stem, measured))
    accuracy = float(((of_pictures(by_keras, images) > THRESHOLD) == labels_of_pictures(images)).mean())
    of_keras = Row(model.name, os.path.getsize(model), accuracy, 1.0, 0.0, milliseconds)
    return [of_keras, *rows], images.origin


def _samples(
    model: Path, data: Path, size: tuple[int, int], views: Views | None, count: int, seed: int
) -> tuple[Sample, Sample]:
    """What the model is calibrated on, and what its files are verified with."""
    if views is None:
        held_out = calibration_data.held_out(model)
        calibration = calibration_data.calibration(data, size, count, seed, held_out)
        return calibration, calibration_data.verification(data, size, held_out, seed + 1, calibration.names)
    to_choose_by, test = photos.held_out(model)
    calibration = photos.calibration(data, size, views, count, seed, {*to_choose_by, *test})
    return calibration, photos.verification(data, size, views, to_choose_by)


def _prepared(network: keras.Model, calibration: Sample) -> keras.Model:
    """The same network, as 8 bits hold it best; one of other layers than are known is left as it is."""
    if not is_plain(network):
        return network
    prepared = equalised(network, calibration.pixels)
    round_weights(prepared, calibration.pixels)
    return prepared


def _domain(measured: Domain) -> Domain:
    """Of photos: from LEAST_SIDE to the longest side that was measured, whichever way a picture lies."""
    longest = max(measured.width[1], measured.height[1])
    sides = min(photos.LEAST_SIDE, longest), longest
    return Domain(sides, sides)


def table(rows: list[Row], origin: str) -> str:
    """The formats side by side, for a person."""
    lines = [f"{'format':24}{'size':>10}{'accuracy':>10}{'agreement':>11}{'difference':>12}{'ms/image':>10}"]
    lines += [
        f"{row.name:24}{row.bytes / 1000:7.0f} kB{row.accuracy:10.2%}{row.agreement:11.2%}"
        f"{row.difference:12.5f}{row.milliseconds:10.3f}"
        for row in rows
    ]
    lines += [f"accuracy, agreement of labels and mean difference of P(REAL): on {origin};"]
    lines += ["milliseconds: the network alone, one image at a time, on this machine"]
    return "\n".join(lines)


def _row(name: str, measured: Measured) -> Row:
    return Row(
        name,
        measured.bytes,
        measured.accuracy,
        measured.label_agreement,
        measured.mean_difference,
        measured.milliseconds,
    )
