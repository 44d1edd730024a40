"""Write the small networks of `tests/data/models`: python -m tests.data.make_models"""

import hashlib
from pathlib import Path

import flatbuffers
import numpy as np

from convert import litert
from convert.backend import keras, schema
from edge.imaging.preprocess import RESAMPLING
from edge.inference.model import (
    EDGE_TPU_OPERATION,
    LOGIT,
    Domain,
    Fusion,
    ModelDescription,
    OperatingPoint,
    Views,
    ViewSet,
    description_path,
)
from edge.inference.runtime import interpreter
from edge.inference.tensors import signature

MODELS = Path(__file__).with_name("models")
WIDTH, HEIGHT = 16, 12  # not a square, so that a swap of the two shows
STEEPNESS = 12.0
CROP = (32, 24)


def brightness(width: int = WIDTH, height: int = HEIGHT, activation: str | None = "sigmoid") -> keras.Model:
    """P(REAL) = sigmoid(12 (mean - 0.5)), the mean over all pixels and channels; without activation its logit."""
    inputs = keras.Input((height, width, 3), name="rgb")
    x = keras.layers.GlobalAveragePooling2D()(inputs)
    dense = keras.layers.Dense(1, activation=activation, name="p_real")
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


def describe_photo_like(path: Path) -> None:
    """Beside the network of brightness that judges crops: all that the description of a photo model may say."""
    content = path.read_bytes()
    _, input_, output = signature(interpreter(content))
    described = ModelDescription(
        name=path.stem,
        width=CROP[0],
        height=CROP[1],
        resampling=RESAMPLING.name.lower(),
        sha256=hashlib.sha256(content).hexdigest(),
        input=input_,
        output=output,
        output_is=LOGIT,
        score_limit=0.001,
        domain=Domain((100, 20000), (100, 20000)),
        views=Views((ViewSet(4), ViewSet(1, 64)), (ViewSet(8),), (0.2, 0.8), reduce_above=128),
        fusion=Fusion(1.5, 0.1),
        operating_points=(
            OperatingPoint("1%", 0.01, 0.10, 0.2, 0.7),
            OperatingPoint("3%", 0.03, 0.10, 0.3, 0.7),
            OperatingPoint("10%", 0.10, 0.10, 0.45, 0.7),
        ),
        operating_point="3%",
    )
    description_path(path).write_text(described.to_json())


def as_if_compiled(content: bytes) -> bytes:
    """The file as edgetpu_compiler writes it: one custom operation, which `delegate.c` implements."""
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
    crops = random.integers(0, 256, (64, CROP[1], CROP[0], 3), np.uint8)
    crops[::2] //= 4
    crops[1::4] |= 0xC0
    photo_like = MODELS / "photo_like_int8.tflite"
    photo_like.write_bytes(litert.int8(brightness(*CROP, activation=None), crops))
    describe_photo_like(photo_like)
    (MODELS / "ten_classes.tflite").write_bytes(litert.float16(ten_classes()))


if __name__ == "__main__":
    main()
