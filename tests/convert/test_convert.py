"""Conversion of a real Keras model with the real converter, and its errors."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edge.inference import model
from edge.inference.classifier import Classifier
from tests.conftest import CIFAKE, MODELS
from tests.support.modules import run_module

# The report of edgetpu_compiler 16.0, as its documentation shows it.
REPORT = """\
Edge TPU Compiler version 16.0.384591198
Started a compilation timeout timer of 180 seconds.

Model compiled successfully in 120 ms.

Input model: brightness_int8.tflite
Input size: 1.72KiB
Output model: brightness_int8_edgetpu.tflite
Output size: 24.18KiB
On-chip memory used for caching model parameters: 1.00KiB
On-chip memory remaining for caching model parameters: 7.88MiB
Off-chip memory used for streaming uncached model parameters: 0.00B
Number of Edge TPU subgraphs: 1
Total number of operations: 3
Operation log: brightness_int8_edgetpu.log

Operator                       Count      Status

MEAN                           1          {mean}
FULLY_CONNECTED                1          Mapped to Edge TPU
LOGISTIC                       1          Mapped to Edge TPU
{more}Compilation child process completed within timeout period.
Compilation succeeded!
"""
UNMAPPED = "Operation is otherwise supported, but not mapped due to some unspecified limitation"


@pytest.fixture(scope="module")
def keras_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that separates bright from dark images, with the list of held-out images that training writes."""
    from tests.data.make_models import brightness

    folder = tmp_path_factory.mktemp("keras")
    brightness().save(folder / "model.keras")
    names = [path.relative_to(CIFAKE).as_posix() for path in sorted((CIFAKE / "train").rglob("*.jpg"))[::2]]
    (folder / "validation.json").write_text(json.dumps(names))
    return folder / "model.keras"


def convert(*arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return run_module("convert", *arguments, "--data", CIFAKE, "--calibration", "40", **variables)


@pytest.fixture(scope="module")
def converted(keras_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("converted")
    done = convert(keras_file, "--out", out)
    assert done.returncode == 0, done.stderr
    rows = done.stdout.splitlines()
    assert [row.split()[0] for row in rows[1:4]] == ["model.keras", "brightness_float16", "brightness_int8"]
    assert "the 48 images that the training held out" in done.stdout
    return out


def test_each_file_has_a_description_that_the_classifier_accepts(converted: Path) -> None:
    assert sorted(path.name for path in converted.iterdir()) == [
        "brightness_float16.json",
        "brightness_float16.tflite",
        "brightness_int8.json",
        "brightness_int8.tflite",
    ]
    for variant, dtype in (("float16", "float32"), ("int8", "int8")):
        loaded = model.load(converted / f"brightness_{variant}.tflite")
        description = loaded.description
        assert description is not None
        classifier = Classifier(loaded)
        assert (classifier.input, classifier.output) == (description.input, description.output)
        assert classifier.input.dtype == classifier.output.dtype == dtype
        assert classifier.size == (description.width, description.height) == (16, 12)
        measured = description.measured
        assert measured["images"] == 48
        assert abs(measured["accuracy"] - measured["accuracy_keras"]) <= 0.005
        assert measured["label_agreement"] > 0.97
        assert measured["bytes"] == len(loaded.content)
        assert 0 < measured["mean_difference"] <= measured["max_difference"] < 0.03


def test_int8_file_has_only_integers_and_a_pixel_value_is_a_step_of_its_input(converted: Path) -> None:
    from edge.inference.runtime import interpreter

    tensors = interpreter((converted / "brightness_int8.tflite").read_bytes()).get_tensor_details()
    assert {np.dtype(tensor["dtype"]).kind for tensor in tensors} == {"i"}
    loaded = Classifier(model.load(converted / "brightness_int8.tflite"))
    assert loaded.input.scale == pytest.approx(1 / 255)
    assert loaded.input.zero_point == -128


def test_calibration_sample_is_balanced_seeded_and_recorded(converted: Path, keras_file: Path) -> None:
    names = json.loads((converted / "brightness_int8.json").read_text())["calibration"]["names"]
    assert len(set(names)) == 40
    assert sum(name.startswith("train/REAL/") for name in names) == 20
    assert all((CIFAKE / name).is_file() for name in names)

    from convert.calibration_data import calibration

    kept = json.loads((keras_file.parent / "validation.json").read_text())
    assert not set(names) & set(kept)
    assert list(calibration(CIFAKE, (16, 12), 40, 0, kept).names) == names
    assert list(calibration(CIFAKE, (16, 12), 40, 1, kept).names) != names


def test_calibration_skips_unreadable_and_held_out_images(tmp_path: Path) -> None:
    from convert.calibration_data import calibration
    from convert.errors import SampleError

    data = tmp_path / "data"
    shutil.copytree(CIFAKE / "train", data / "train")
    (data / "train" / "REAL" / "bad.jpg").write_text("no image")
    kept = sorted(path.relative_to(data).as_posix() for path in (data / "train" / "REAL").glob("0*.jpg"))
    names = calibration(data, (16, 12), 1000, 0, kept).names
    assert "train/REAL/bad.jpg" not in names
    assert kept
    assert not set(names) & set(kept)
    shutil.rmtree(data / "train" / "FAKE")
    with pytest.raises(SampleError, match=r"FAKE: no readable images"):
        calibration(data, (16, 12), 10, 0)


@pytest.mark.parametrize("content", ["{", "[1]", "{}", '["ok.jpg"]', '"train/REAL/x.jpg"'])
def test_damaged_list_of_held_out_images_raises_sample_error(tmp_path: Path, content: str) -> None:
    from convert.calibration_data import held_out
    from convert.errors import SampleError

    (tmp_path / "validation.json").write_text(content)
    with pytest.raises(SampleError, match=r"validation\.json"):
        held_out(tmp_path / "model.keras")


def test_conversion_that_lost_accuracy_is_refused() -> None:
    from convert.calibration_data import calibration
    from convert.errors import ConversionError
    from convert.verify import verify

    sample = calibration(CIFAKE, (16, 12), 40, 0)
    right = np.where(sample.is_real, 0.99, 0.01)  # the scores of a perfect Keras model
    with pytest.raises(ConversionError, match=r"lost .* of accuracy"):
        verify(Classifier(model.load(MODELS / "brightness_int8.tflite")), right, sample)


def test_failed_conversion_writes_no_files(tmp_path: Path, keras_file: Path) -> None:
    (tmp_path / "model.keras").write_text("no model")
    for path, reason in ((tmp_path / "model.keras", "not a Keras model"), (tmp_path / "none.keras", "no such file")):
        done = convert(path, "--out", tmp_path / "out")
        assert done.returncode == 2
        assert reason in done.stderr.splitlines()[-1]
        assert "Traceback" not in done.stderr
        assert list((tmp_path / "out").iterdir()) == []


def test_correction_of_the_last_layer_reduces_the_error_of_the_logits(keras_file: Path) -> None:
    from convert import litert
    from convert.bias_correction import _by_file, _by_network, corrected
    from convert.calibration_data import calibration

    pixels = calibration(CIFAKE, (16, 12), 40, 0).pixels
    network = litert.logits(litert.load_keras(keras_file))
    assert network is not None
    content = litert.int8(network, pixels)
    last = network.layers[-1]
    kernel, bias = last.get_weights()
    last.set_weights([kernel, bias + 0.7])  # as if quantisation had moved all logits by that
    greatest = float(np.quantile(np.abs(_by_network(network, pixels)), 0.8))
    better = corrected(content, network, pixels, greatest)

    def error(file: bytes) -> np.ndarray:
        return _by_file(file, pixels) - np.clip(_by_network(network, pixels), -greatest, greatest)

    near = np.abs(_by_network(network, pixels)) < greatest
    assert error(content)[near].mean() == pytest.approx(-0.7, abs=0.1)
    assert abs(error(better)[near].mean()) < 0.1
    assert np.abs(error(better)[~near]).max() < 0.2
    assert np.abs(_by_file(better, pixels)).max() <= greatest * 128 / 127 * 1.001
    steps = np.diff(np.unique(_by_file(better, pixels)))
    assert steps.min() == pytest.approx(greatest / 127, rel=0.01)


def test_last_layer_without_bias_converts(tmp_path: Path) -> None:
    import keras

    keras.utils.set_random_seed(0)
    inputs = keras.Input((12, 16, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3, activation="relu")(inputs))
    network = keras.Model(inputs, keras.layers.Dense(1, "sigmoid", use_bias=False)(x), name="plain")
    network.save(tmp_path / "model.keras")
    done = convert(tmp_path / "model.keras", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr


def compiler(folder: Path, mean: str, more: str = "") -> str:
    """A stand-in for edgetpu_compiler that prints its report: a PATH with it in front."""
    program = folder / "edgetpu_compiler"
    program.write_text(
        f"#!{sys.executable}\n"
        "import pathlib, shutil, sys\n"
        "out, source = pathlib.Path(sys.argv[sys.argv.index('--out_dir') + 1]), pathlib.Path(sys.argv[-1])\n"
        "shutil.copy(source, out / f'{source.stem}_edgetpu.tflite')\n"
        f"print({REPORT.format(mean=mean, more=more)!r})\n"
        "(out / f'{source.stem}_edgetpu.log').write_text('details')\n"
    )
    program.chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


def test_edgetpu_option_writes_compiled_model_and_description(tmp_path: Path, keras_file: Path) -> None:
    path = compiler(tmp_path, "Mapped to Edge TPU")
    done = convert(keras_file, "--out", tmp_path / "out", "--edgetpu", PATH=path)
    assert done.returncode == 0, done.stderr
    loaded = model.load(tmp_path / "out" / "brightness_int8_edgetpu.tflite")
    assert loaded.description is not None
    assert not list((tmp_path / "out").glob("*.log"))
    operations = {"MEAN": 1, "FULLY_CONNECTED": 1, "LOGISTIC": 1}
    assert loaded.description.measured["edgetpu_operations"] == operations


def test_operations_on_cpu_are_an_error_unless_allowed(tmp_path: Path, keras_file: Path) -> None:
    path = compiler(tmp_path, UNMAPPED, "TFLite_Detection_PostProcess   1          Operation not supported\n")
    done = convert(keras_file, "--out", tmp_path / "out", "--edgetpu", PATH=path)
    assert done.returncode == 2
    assert "1 MEAN: Operation is otherwise supported" in done.stderr
    assert "1 TFLite_Detection_PostProcess: Operation not supported" in done.stderr
    assert list((tmp_path / "out").iterdir()) == []
    allowed = convert(keras_file, "--out", tmp_path / "out", "--edgetpu", "--allow-cpu", PATH=path)
    assert allowed.returncode == 0, allowed.stderr


def test_missing_compiler_reports_where_to_get_it_in_one_line(tmp_path: Path, keras_file: Path) -> None:
    done = convert(keras_file, "--out", tmp_path / "out", "--edgetpu", PATH="/nowhere")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "edgetpu_compiler is not installed" in line
    assert "https://coral.ai" in line
