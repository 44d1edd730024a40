"""What the last layer of an int8 file can give back of what 8 bits took.

Both changes leave the network's operations as they are, so they cost nothing
on the device and the Edge TPU takes the file as before.
"""

import numpy as np
import numpy.typing as npt

from convert.backend import flatbuffer_utils, keras, schema
from convert.litert import RUNTIME
from edge.imaging.preprocess import Pixels
from edge.inference.classifier import input_of_pixel, signature
from edge.inference.runtime import interpreter

BATCH_SIZE = 256


def refined(content: bytes, network: keras.Model, calibration: Pixels, greatest: float) -> bytes:
    """The same file with its logits centred on the network's, and their 256 steps spent where verdicts differ.

    The mean error of the logits goes into the last bias: the bias correction
    of Nagel et al. 2019 (arXiv:1906.04721, section 4.2), of the one layer that
    decides. And the output's range, which would reach as far as the surest
    image, ends at `greatest`: what lies beyond is told as that anyway.

    Args:
        content: an int8 file of `network`.
        network: returns logits.
        calibration: uint8, shape (n, height, width, 3).
        greatest: the largest logit that need be told apart, above 0.

    Returns:
        As it was, if it does not end with a dense layer; one without bias keeps its error.
    """
    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
    graph = model.subgraphs[0]
    last = graph.operators[-1]
    is_dense = model.operatorCodes[last.opcodeIndex].builtinCode == schema.BuiltinOperator.FULLY_CONNECTED
    if not is_dense or list(last.outputs) != list(graph.outputs):
        return content
    output = graph.tensors[last.outputs[0]].quantization

    if len(last.inputs) > 2 and last.inputs[2] >= 0:  # else it has no bias
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
