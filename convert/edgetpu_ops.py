"""The operations that the Edge TPU supports, with their limits: coral.ai's table for runtime 14.

Sizes that "may not be mapped", as the table calls them, cannot be checked in a
file.
"""

from collections.abc import Callable
from math import prod

from ai_edge_litert import schema_py_generated as schema

from convert.graph import Operation

SOFTMAX_ELEMENTS = 16_000
BATCH = "works on the batch dimension"
CHANNELS = 4  # a mean over channels needs a multiple of this number of channels

Limit = Callable[[Operation], str | None]  # why an operation is unsupported, as words that follow its name


def _none(_: Operation) -> str | None:
    return None


def _convolution(operation: Operation) -> str | None:
    options = operation.options
    if options.dilationWFactor != options.dilationHFactor:
        return "has different dilations in x and y"
    return _constant_parameters(operation)


def _dense(operation: Operation) -> str | None:
    if operation.options.weightsFormat != schema.FullyConnectedOptionsWeightsFormat.DEFAULT:
        return "has weights that are not in the default format"
    if any(prod(output.shape[:-1]) != 1 for output in operation.outputs):
        return "has an output of more than one dimension"
    weights = operation.input(1)
    if weights and len(weights.scales) > 1:  # the compiler predates them
        return "has weights with more than one scale"
    return _constant_parameters(operation)


def _constant_parameters(operation: Operation) -> str | None:
    parameters = [tensor for tensor in operation.inputs[1:3] if tensor]
    return (
        None
        if all(tensor.is_constant for tensor in parameters)
        else "has weights or a bias that are computed, not constant"
    )


def _no_activation(operation: Operation) -> str | None:
    is_plain = operation.options.fusedActivationFunction == schema.ActivationFunctionType.NONE
    return None if is_plain else "has a fused activation function"


def _concatenation(operation: Operation) -> str | None:
    constants = [tensor.content for tensor in operation.inputs if tensor and tensor.content is not None]
    if constants and (len(operation.inputs) != 2 or any(content.any() for content in constants)):
        return "has a constant input that is not padding with zeros"
    return _no_activation(operation)


def _axes(operation: Operation, place: int) -> list[int] | None:
    """The axes that a constant input lists, counted from the front; None if they are computed."""
    axes, over = operation.input(place), operation.input(0 if place else 1)
    if axes is None or over is None or not axes.is_constant:
        return None
    return [axis % max(1, len(over.shape)) for axis in axes.integers()]


def _along(axes: list[int] | None, computed: str) -> str | None:
    if axes is None:
        return computed
    return BATCH if 0 in axes else None


def _reduction(operation: Operation) -> str | None:
    return _along(_axes(operation, 1), "has axes that are computed")


def _mean(operation: Operation) -> str | None:
    axes, over = _axes(operation, 1), operation.input(0)
    if axes and over and len(over.shape) - 1 in axes and over.shape[-1] % CHANNELS:
        return f"is over channels, whose number is not a multiple of {CHANNELS}"
    return _reduction(operation)


def _split(operation: Operation) -> str | None:
    return _along(_axes(operation, 0), "has an axis that is computed")


def _pack(operation: Operation) -> str | None:
    return None if operation.options.axis else BATCH


def _padding(operation: Operation) -> str | None:
    lengths = operation.input(1)
    if lengths is None or not lengths.is_constant:
        return "has lengths that are computed"
    return BATCH if any(lengths.integers()[:2]) else None


def _prelu(operation: Operation) -> str | None:
    alpha = operation.input(1)
    return "has an alpha of more than one dimension" if alpha and prod(alpha.shape[:-1]) != 1 else None


def _resize(operation: Operation) -> str | None:
    over = operation.input(0)
    return "has more than three dimensions" if over and prod(over.shape[:-3]) != 1 else None


def _softmax(operation: Operation) -> str | None:
    over = operation.input(0)
    if over and (prod(over.shape[:-1]) != 1 or over.shape[-1:] > (SOFTMAX_ELEMENTS,)):
        return f"is over more than one dimension, or more than {SOFTMAX_ELEMENTS} elements"
    return None


def _strided_slice(operation: Operation) -> str | None:
    strides, options = operation.input(3), operation.options
    if strides is None or not strides.is_constant or any(stride != 1 for stride in strides.integers()):
        return "has strides other than 1"
    return "has an ellipsis or a new axis" if options.ellipsisMask or options.newAxisMask else None


LIMITS: dict[str, Limit] = {
    "ADD": _none,
    "AVERAGE_POOL_2D": _no_activation,
    "CONCATENATION": _concatenation,
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _convolution,
    "EXPAND_DIMS": _none,
    "FULLY_CONNECTED": _dense,
    "L2_NORMALIZATION": _none,
    "LOGISTIC": _none,
    "MAXIMUM": _none,
    "MAX_POOL_2D": _no_activation,
    "MEAN": _mean,
    "MINIMUM": _none,
    "MUL": _none,
    "PACK": _pack,
    "PAD": _padding,
    "PRELU": _prelu,
    "QUANTIZE": _none,
    "REDUCE_MAX": _reduction,
    "REDUCE_MIN": _reduction,
    "RELU": _none,
    "RELU6": _none,
    "RELU_N1_TO_1": _none,
    "RESHAPE": _none,
    "RESIZE_BILINEAR": _resize,
    "RESIZE_NEAREST_NEIGHBOR": _resize,
    "RSQRT": _none,
    "SLICE": _none,
    "SOFTMAX": _softmax,
    "SPACE_TO_DEPTH": _none,
    "SPLIT": _split,
    "SQUARED_DIFFERENCE": _none,
    "SQUEEZE": _none,
    "STRIDED_SLICE": _strided_slice,
    "SUB": _none,
    "SUM": _reduction,
    "TANH": _none,
    "TRANSPOSE": _none,
    "TRANSPOSE_CONV": _none,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": _none,
}
