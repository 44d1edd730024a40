"""Write the small networks of `tests/data/models`: python -m tests.data.make_models"""

from pathlib import Path

import flatbuffers
import numpy as np

from convert import litert
from convert.backend import keras, schema
from edge.model import EDGE_TPU_OPERATION

MODELS = Path(__file__).with_name("models")
WIDTH, HEIGHT = 16, 12  # not a square, so that a swap of the two shows
STEEPNESS = 12.0


def brightness() -> keras.Model:
    """P(REAL) = sigmoid(12 (mean - 0.5)), the mean over all pixels and channels."""
    inputs = keras.Input((HEIGHT, WIDTH, 3), name="rgb")
    x = keras.layers.GlobalAveragePooling2D()(inputs)
    dense = keras.layers.Dense(1, activation="sigmoid", name="p_real")
    model = keras.Model(inputs, dense(x), name="brightness")
    dense.set_weights([np.full((3, 1), STEEPNESS / 3), np.array([-STEEPNESS / 2])])
    return model


def ten_classes() -> keras.Model:
    inputs = keras.Input((HEIGHT, WIDTH, 3), name="rgb")
    x = keras.layers.GlobalAveragePooling2D()(inputs)
    return keras.Model(inputs, keras.layers.Dense(10, activation="softmax")(x), name="ten_classes")


def absolute() -> keras.Model:
    """Has an operation, ABS, that no Edge TPU has."""
    inputs = keras.Input((HEIGHT, WIDTH, 3), name="rgb")
    x = keras.layers.GlobalAveragePooling2D()(keras.ops.absolute(inputs))
    return keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid")(x), name="absolute")


def as_if_compiled(content: bytes) -> bytes:
    """The file as edgetpu_compiler would leave it, its operations one; what that does, `delegate.c` knows."""
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    graph = model.subgraphs[0]
    code, operator = schema.OperatorCodeT(), schema.OperatorT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
    code.customCode, code.version = EDGE_TPU_OPERATION, 1
    operator.inputs, operator.outputs = list(graph.inputs), list(graph.outputs)
    model.operatorCodes, graph.operators = [code], [operator]
    return _packed(model)


def of_any_height(content: bytes) -> bytes:
    """The file with an input, and so all that follows, of a height that is not fixed."""
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    graph = model.subgraphs[0]
    graph.tensors[graph.inputs[0]].shapeSignature = [1, -1, WIDTH, 3]
    return _packed(model)


def _packed(model: schema.ModelT) -> bytes:
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def main() -> None:
    MODELS.mkdir(exist_ok=True)
    random = np.random.default_rng(0)
    calibration = random.integers(0, 256, (64, HEIGHT, WIDTH, 3), np.uint8)
    calibration[::2] //= 4  # dark ones
    calibration[1::4] |= 0xC0  # bright ones
    (MODELS / "brightness_float16.tflite").write_bytes(litert.float16(brightness()))
    (MODELS / "brightness_int8.tflite").write_bytes(litert.int8(brightness(), calibration))
    in_8_bits = (MODELS / "brightness_int8.tflite").read_bytes()
    (MODELS / "brightness_int8_edgetpu.tflite").write_bytes(as_if_compiled(in_8_bits))
    (MODELS / "any_height_int8.tflite").write_bytes(of_any_height(in_8_bits))
    (MODELS / "absolute_int8.tflite").write_bytes(litert.int8(absolute(), calibration))
    (MODELS / "ten_classes.tflite").write_bytes(litert.float16(ten_classes()))


if __name__ == "__main__":
    main()
