"""Convert a Keras model with TensorFlow's converter."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt

from convert.backend import CHATTER, keras, tf
from convert.errors import ConversionError
from edge.errors import printable
from edge.imaging.preprocess import Pixels
from edge.process.stderr import silenced

RUNTIME = "ai-edge-litert"  # tflite-runtime fails in a process that has loaded TensorFlow


def load_keras(path: Path) -> keras.Model:
    """Load a Keras model that maps RGB images, NHWC in [0, 1], to P(REAL), shape (n, 1).

    Raises:
        ConversionError: the file is missing, or is not such a model.
    """
    try:
        model = keras.models.load_model(path, compile=False)
    except (OSError, ValueError) as error:
        reason = "no such file" if not path.exists() else "not a Keras model (.keras)"
        raise ConversionError(f"{printable(path)}: {reason}") from error
    takes, returns = model.input_shape, model.output_shape
    if len(takes) != 4 or takes[3] != 3 or None in takes[1:] or returns[1:] != (1,):
        raise ConversionError(
            f"{printable(path)}: takes {takes} and returns {returns};"
            " an image classifier has (n, height, width, 3) and (n, 1)"
        )
    return model


def logits(model: keras.Model) -> keras.Model | None:
    """The network without its final sigmoid; None if it does not end with a dense layer with sigmoid."""
    last = model.layers[-1]
    ends_so = isinstance(last, keras.layers.Dense) and last.activation is keras.activations.sigmoid
    if not ends_so or last.output is not model.outputs[0]:  # an operation may follow that is no layer
        return None
    linear = keras.layers.Dense.from_config(last.get_config() | {"activation": None})
    network = keras.Model(model.input, linear(last.input), name=model.name)
    linear.set_weights(last.get_weights())
    return network


def float16(model: keras.Model) -> bytes:
    """Convert to a file with weights in 16 bits, and input, output and arithmetic in 32 bits.

    Raises:
        ConversionError: the converter refused the model.
    """
    with _converter(model) as converter:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]
        return _converted(converter)


def int8(model: keras.Model, calibration: Pixels) -> bytes:
    """Convert to a file in integers only, also for input and output.

    Weights of convolutions have one scale for each channel: Jacob et al. 2018
    (arXiv:1712.05877) and the LiteRT 8-bit specification. Weights of dense
    layers have one scale for the whole tensor, because neither the Edge TPU nor
    tflite-runtime 2.14 supports more.

    Args:
        calibration: images that determine the range of each activation, uint8, shape (n, height, width, 3).

    Raises:
        ConversionError: an operation of the model has no integer form.
    """

    def examples() -> Iterator[list[npt.NDArray[np.float32]]]:
        # The whole range of the input, whatever the images hold, so that each pixel value is a whole step.
        yield [np.linspace(0, 1, calibration[:1].size, dtype=np.float32).reshape(calibration[:1].shape)]
        for pixels in calibration:
            yield [pixels[None].astype(np.float32) / np.float32(255)]

    with _converter(model) as converter:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = examples
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
        converter._experimental_disable_per_channel_quantization_for_dense_layers = True
        content = _converted(converter)
    _require_integers(content)
    return content


class _converter:  # noqa: N801  # a context manager that is used like a function
    """A context with a converter for batches of one image; its temporary SavedModel is deleted at the end."""

    def __init__(self, model: keras.Model) -> None:
        self._model = model
        self._folder = TemporaryDirectory(prefix="edge-detect-")

    def __enter__(self) -> tf.lite.TFLiteConverter:
        (shape, name) = (1, *self._model.input_shape[1:]), self._model.inputs[0].name
        with silenced(*CHATTER):
            self._model.export(
                self._folder.name,
                format="tf_saved_model",
                input_signature=[keras.InputSpec(shape=shape, dtype="float32", name=name)],
                verbose=False,
            )
        return tf.lite.TFLiteConverter.from_saved_model(self._folder.name)

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()


def _converted(converter: tf.lite.TFLiteConverter) -> bytes:
    try:
        with silenced(*CHATTER):
            return bytes(converter.convert())
    except (RuntimeError, ValueError) as error:  # the converter's own errors derive from these
        raise ConversionError(f"the converter refused the model: {' '.join(str(error).split())[:300]}") from error


def _require_integers(content: bytes) -> None:
    from edge.inference.runtime import interpreter

    tensors = interpreter(content, runtime=RUNTIME).get_tensor_details()
    floats = sorted(tensor["name"] for tensor in tensors if np.issubdtype(tensor["dtype"], np.floating))
    if floats:
        raise ConversionError(f"{len(floats)} tensors are not integers, the first: {floats[0]}")
