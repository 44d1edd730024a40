"""Correct the last layer of an int8 file, to regain some of the accuracy lost by quantisation.

The corrections change no operation of the network. So they cost no time on the
device, and an Edge TPU accepts the file as before.
"""

import numpy as np
import numpy.typing as npt

from convert.backend import flatbuffer_utils, keras, schema
from convert.litert import RUNTIME
from edge.imaging.preprocess import Pixels
from edge.inference.runtime import interpreter
from edge.inference.tensors import input_of_pixel, signature

BATCH_SIZE = 256


def corrected(content: bytes, network: keras.Model, calibration: Pixels, greatest: float) -> bytes:
    """The file with two corrections of its last layer.

    1. The mean error of the logits is subtracted from the last bias: the bias
       correction of Nagel et al. 2019 (arXiv:1906.04721, section 4.2), for the
       last layer alone.
    2. The range of the 256 output steps is narrowed to logits from -`greatest`
       to `greatest`, because scores beyond are reported as the limit anyway.

    Args:
        content: an int8 file of `network`.
        network: the Keras network; returns logits.
        calibration: images, uint8, shape (n, height, width, 3).
        greatest: the largest logit that is reported, above 0.

    Returns:
        The corrected file; without bias, only the second correction applies. A file that does not end with a dense
        layer is returned unchanged.
    """
    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
    graph = model.subgraphs[0]
    last = graph.operators[-1]
    is_dense = model.operatorCodes[last.opcodeIndex].builtinCode == schema.BuiltinOperator.FULLY_CONNECTED
    if not is_dense or list(last.outputs) != list(graph.outputs):
        return content
    output = graph.tensors[last.outputs[0]].quantization

    if len(last.inputs) > 2 and last.inputs[2] >= 0:  # the layer has a bias
        bias = graph.tensors[last.inputs[2]]
        error = float((_by_file(content, calibration) - _by_network(network, calibration)).mean())
        values = model.buffers[bias.buffer].data.view(np.int32) - round(error / bias.quantization.scale[0])
        model.buffers[bias.buffer].data = values.astype(np.int32).view(np.uint8)
    if greatest / 127 < output.scale[0]:
        output.scale, output.zeroPoint = [greatest / 127], [0]
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def _by_network(network: keras.Model, pixels: Pixels) -> npt.NDArray[np.float64]:
    parts = [pixels[start : start + BATCH_SIZE] for start in range(0, len(pixels), BATCH_SIZE)]
    logits = [np.asarray(network.predict_on_batch(part.astype(np.float32) / np.float32(255))) for part in parts]
    return np.concatenate(logits, dtype=np.float64).reshape(-1)


def _by_file(content: bytes, pixels: Pixels) -> npt.NDArray[np.float64]:
    runner = interpreter(content, runtime=RUNTIME)
    _, input_, output = signature(runner)
    stored = input_of_pixel(input_)
    into, out_of = runner.get_input_details()[0]["index"], runner.get_output_details()[0]["index"]
    logits = []
    for image in pixels:
        runner.set_tensor(into, stored[image][None])
        runner.invoke()
        logits.append(output.scale * (float(runner.get_tensor(out_of)[0, 0]) - output.zero_point))
    return np.array(logits)
