"""`python -m convert check --edgetpu`: files that qualify, and reasons why others do not."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

flatbuffers = pytest.importorskip("flatbuffers")
schema = pytest.importorskip("ai_edge_litert.schema_py_generated")

from convert.edgetpu_check import ON_CHIP_BYTES, qualification  # noqa: E402  # needs LiteRT's reader
from edge.errors import ModelError  # noqa: E402
from edge.inference import model  # noqa: E402
from tests.conftest import CHECKOUT, MODELS  # noqa: E402
from tests.support.modules import run_module  # noqa: E402

INT8 = CHECKOUT / "models" / "compact_int8.tflite"


def check(path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return run_module("convert", "check", path, "--edgetpu", *options)


def test_compact_model_qualifies_with_all_of_its_operations() -> None:
    done = check(INT8)
    assert done.returncode == 0, done.stderr
    rows = done.stdout.splitlines()
    assert any(row.split() == ["CONV_2D", "9", "ok"] for row in rows)
    assert "all fit" in rows[-2]
    assert rows[-1].startswith("compact_int8.tflite: qualifies for the Edge TPU with all of its 20 operations")


def test_float_file_does_not_qualify_and_the_reasons_are_printed() -> None:
    done = check(CHECKOUT / "models" / "compact_float16.tflite")
    assert done.returncode == 1
    last = done.stdout.splitlines()[-1]
    assert "does not qualify" in last
    assert "DEQUANTIZE is not supported" in last
    assert "of type FLOAT32, not of 8 bits" in last


def test_json_reports_every_operation_with_its_reason() -> None:
    found = json.loads(check(MODELS / "absolute_int8.tflite", "--json").stdout)
    assert found["qualifies"] is False
    assert {"name": "ABS", "count": 1, "reason": "is not supported"} in found["kinds"]
    assert {"name": "MEAN", "count": 1, "reason": ""} in found["kinds"]


@pytest.mark.parametrize(
    ("name", "reasons"),
    [
        ("brightness_int8", []),
        ("absolute_int8", ["ABS is not supported"]),
        ("any_height_int8", ["1 tensor of a size that is not fixed"]),
        ("brightness_int8_edgetpu", ["edgetpu-custom-op is a part that was compiled already"]),
    ],
)
def test_check_reports_each_reason(name: str, reasons: list[str]) -> None:
    assert qualification(model.load(MODELS / f"{name}.tflite")).reasons == reasons


def test_check_imports_neither_tensorflow_nor_keras() -> None:
    program = "import sys; sys.argv[1:] = ['check', sys.argv[1], '--edgetpu']; import atexit\n"
    program += "atexit.register(lambda: print([name for name in ('tensorflow', 'keras') if name in sys.modules]))\n"
    program += "from convert.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", program, INT8], cwd=CHECKOUT, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


def changed(path: Path, change: Callable[[object], None]) -> model.Model:
    """A model in memory: the file after a change."""
    network = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    change(network)
    builder = flatbuffers.Builder()
    builder.Finish(network.Pack(builder), b"TFL3")
    return model.Model(path, bytes(builder.Output()), None)


def options_of(network, name: str):  # type: ignore[no-untyped-def]
    """The first operation of a kind."""
    number = getattr(schema.BuiltinOperator, name)
    graph = network.subgraphs[0]
    return next(one for one in graph.operators if network.operatorCodes[one.opcodeIndex].builtinCode == number)


def dilated(network) -> None:  # type: ignore[no-untyped-def]
    options_of(network, "CONV_2D").builtinOptions.dilationWFactor = 2


def pooled_with_activation(network) -> None:  # type: ignore[no-untyped-def]
    options_of(network, "MAX_POOL_2D").builtinOptions.fusedActivationFunction = schema.ActivationFunctionType.RELU


def shuffled_weights(network) -> None:  # type: ignore[no-untyped-def]
    options_of(network, "FULLY_CONNECTED").builtinOptions.weightsFormat = 1


def mean_over_images(network) -> None:  # type: ignore[no-untyped-def]
    axes = network.subgraphs[0].tensors[options_of(network, "MEAN").inputs[1]]
    network.buffers[axes.buffer].data = np.array([0, 1], np.int32).view(np.uint8)


def weights_in_16_bits(network) -> None:  # type: ignore[no-untyped-def]
    network.subgraphs[0].tensors[options_of(network, "CONV_2D").inputs[1]].type = schema.TensorType.INT16


def without_scale(network) -> None:  # type: ignore[no-untyped-def]
    network.subgraphs[0].tensors[network.subgraphs[0].inputs[0]].quantization = None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (dilated, "CONV_2D has different dilations in x and y"),
        (pooled_with_activation, "MAX_POOL_2D has a fused activation function"),
        (shuffled_weights, "FULLY_CONNECTED has weights that are not in the default format"),
        (mean_over_images, "MEAN works on the batch dimension"),
        (weights_in_16_bits, "1 tensor of constants in INT16"),
        (without_scale, "1 tensor without a scale"),
    ],
)
def test_operation_beyond_its_limits_is_reported(change: Callable[[object], None], reason: str) -> None:
    assert qualification(changed(INT8, change)).reasons == [reason]


def test_file_too_large_for_the_chip_qualifies_with_a_remark() -> None:
    def swell(network) -> None:  # type: ignore[no-untyped-def]
        weights = network.subgraphs[0].tensors[options_of(network, "CONV_2D").inputs[1]]
        network.buffers[weights.buffer].data = np.zeros(ON_CHIP_BYTES, np.uint8)

    found = qualification(changed(INT8, swell))
    assert not found.fits
    assert found.reasons == []
    assert "loaded again for each image" in found.table()


def test_damaged_file_is_one_line_error() -> None:
    whole, random = INT8.read_bytes(), np.random.default_rng(0)
    refusals = []
    for attempt in range(60):
        damaged = bytearray(whole)
        # Damage in the structure before the weights, or anywhere.
        places = random.integers(8, 400 if attempt % 2 else len(whole), 20)
        damaged[:] = damaged if attempt % 3 else damaged[: random.integers(9, len(whole))]
        for place in places:
            if place < len(damaged):
                damaged[place] = random.integers(0, 256)
        try:
            qualification(model.Model(Path("hostile\n.tflite"), bytes(damaged), None))
        except ModelError as error:
            refusals.append(str(error))
    assert len(refusals) > 20
    assert not [text for text in refusals if "\n" in text]


@pytest.mark.parametrize("content", [b"", b"no model", b"\0\0\0\0TFL3", b"\xff" * 4 + b"TFL3" + b"\xff" * 40])
def test_file_that_is_not_a_model_reports_one_line_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.tflite").write_bytes(content)
    done = check(tmp_path / "x.tflite")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "x.tflite: " in done.stderr
