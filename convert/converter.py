"""Convert a Keras file to LiteRT files, verify them, and write their descriptions."""

import hashlib
import math
import os
import re
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

from convert import calibration_data, graph, litert, photos
from convert.backend import keras
from convert.bias_correction import corrected
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
from edge.inference.classifier import Classifier
from edge.inference.model import LOGIT, PROBABILITY, THRESHOLD, Domain, Model, ModelDescription, Views, description_path
from edge.inference.runtime import interpreter
from edge.inference.tensors import signature


@dataclass(frozen=True)
class Row:
    """One line of the table that ends a conversion.

    Attributes:
        name: name of the file.
        bytes: its size.
        accuracy: share of images with the right label.
        agreement: share of images with the label that the Keras model gives.
        difference: mean absolute difference to P(REAL) of the Keras model.
        milliseconds: median time for one image.
    """

    name: str
    bytes: int
    accuracy: float
    agreement: float
    difference: float
    milliseconds: float


def convert(
    model: Path, data: Path, out: Path, calibration_images: int, seed: int, domain: Domain | None = None
) -> tuple[list[Row], str]:
    """Write `<name>_float16` and `<name>_int8`, each as `.tflite` and `.json`, into `out`.

    The name is that of the Keras model, with other characters than letters,
    digits, dots and dashes replaced.

    Args:
        calibration_images: number of images that calibrate the int8 file.
        seed: seed of their choice.
        domain: the range of image sizes for the JSON; None takes it from the images that verify the files.

    Returns:
        (rows, origin): a row for the Keras model and one for each file; and the images that they were measured on, in
        words.

    Raises:
        ConversionError: the model is not an image classifier, or a file is not accurate enough.
        SampleError: images are missing.
    """
    network = litert.load_keras(model)
    size = (network.input_shape[2], network.input_shape[1])
    views = photos.views_beside(model)
    calibration, images = _samples(model, data, size, views, calibration_images, seed)
    by_keras = keras_scores(network, images)
    score_limit = 1 / (len(images.names) + 2)  # Laplace's rule of succession for no observed error
    milliseconds = keras_milliseconds(network, images)
    accuracy = float(((of_pictures(by_keras, images) > THRESHOLD) == labels_of_pictures(images)).mean())
    rows = [Row(model.name, os.path.getsize(model), accuracy, 1.0, 0.0, milliseconds)]
    name = re.sub(r"[^\w.-]", "_", network.name)  # Keras allows a slash in it
    for variant, content, output_is in _contents(network, calibration, score_limit, prepare=views is not None):
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
        figures = measured.as_json() | {
            "runtime": f"{RUNTIME} {version(RUNTIME)}",
            "milliseconds_keras": float(f"{milliseconds:.5g}"),
        }
        if views:
            figures["multiply_adds"] = graph.read(content).multiply_adds  # of one view
        path.write_bytes(content)
        description_path(path).write_text(replace(description, measured=figures).to_json(), "utf-8")
        rows.append(_row(path.stem, measured))
    return rows, images.origin


def _contents(
    network: keras.Model, calibration: Sample, score_limit: float, *, prepare: bool
) -> list[tuple[str, bytes, str]]:
    """(variant, content, what the output is) of each file.

    The int8 file returns the logit, so that confidences do not end at 255/256; the float16 file returns P(REAL), for
    plain scripts.

    Args:
        prepare: rewrite the network for 8 bits, see `_prepared`.
    """
    linear = litert.logits(network)
    to_quantise = linear or network
    in_8_bits = litert.int8(_prepared(to_quantise, calibration) if prepare else to_quantise, calibration.pixels)
    require_fixed_kernels(in_8_bits, network)
    if linear:
        in_8_bits = corrected(in_8_bits, linear, calibration.pixels, math.log(1 / score_limit - 1))
    return [
        ("float16", litert.float16(network), PROBABILITY),
        ("int8", in_8_bits, LOGIT if linear else PROBABILITY),
    ]


def _samples(
    model: Path, data: Path, size: tuple[int, int], views: Views | None, count: int, seed: int
) -> tuple[Sample, Sample]:
    """The images that calibrate the int8 file, and those that verify the files."""
    if views is None:
        held_out = calibration_data.held_out(model)
        calibration = calibration_data.calibration(data, size, count, seed, held_out)
        return calibration, calibration_data.verification(data, size, held_out, seed + 1, calibration.names)
    to_choose_by, test = photos.held_out(model)
    calibration = photos.calibration(data, size, views, count, seed, {*to_choose_by, *test})
    return calibration, photos.verification(data, size, views, to_choose_by)


def _prepared(network: keras.Model, calibration: Sample) -> keras.Model:
    """The network rewritten to lose little accuracy in 8 bits; a network that is not plain is returned unchanged."""
    if not is_plain(network):
        return network
    prepared = equalised(network, calibration.pixels)
    round_weights(prepared, calibration.pixels)
    return prepared


def _domain(measured: Domain) -> Domain:
    """The range of photos' sizes, upright or lying: from LEAST_SIDE to the longest side that was measured."""
    longest = max(measured.width[1], measured.height[1])
    sides = min(photos.LEAST_SIDE, longest), longest
    return Domain(sides, sides)


def table(rows: list[Row], origin: str) -> str:
    """The rows as a table of text."""
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
