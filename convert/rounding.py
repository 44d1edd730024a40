"""Round the weights of convolutions to 8 bits, so that the error of their outputs is small.

If an input is nearly constant, as after a ReLU, the rounding errors of a
kernel's weights add up instead of cancelling: a kernel that should find edges
then finds brightness. So the weights of an output channel are rounded one after
the other, and the later ones compensate for the error of the earlier ones, as
measured on the calibration images: Frantar et al. 2023, GPTQ (arXiv:2210.17323,
section 3). The mean of the remaining error is added to the bias (Nagel et al.
2019, arXiv:1906.04721, section 4.2).
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from convert.backend import keras, tf
from edge.imaging.preprocess import Pixels

STEPS = 127  # from 0 to the largest weight of an output channel, as in the converter
DAMPING = 0.01  # regularisation of the inputs' mean products, as a share of their mean square
IMAGES = 128  # calibration images that are used
BATCH_SIZE = 16

Floats = npt.NDArray[np.float64]


def round_weights(network: keras.Model, calibration: Pixels) -> None:
    """Round the weights of a network's convolutions in place, to values that the converter does not round further.

    Args:
        network: a network that uses each convolution once.
        calibration: uint8, shape (n, height, width, 3); about IMAGES of them are used.
    """
    layers = [layer for layer in network.layers if type(layer) in (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)]
    layers = [layer for layer in layers if getattr(layer, "groups", 1) == getattr(layer, "depth_multiplier", 1) == 1]
    for layer, (squares, means) in zip(layers, _inputs(network, layers, calibration), strict=True):
        kernel, *bias = layer.get_weights()
        # The kernel as (groups of inputs, inputs, outputs); in a depthwise kernel each channel is a group.
        weights = _depthwise(kernel) if _is_depthwise(layer) else kernel.reshape(1, -1, kernel.shape[-1])
        rounded = np.stack([rounded_for(*pair) for pair in zip(weights.astype(np.float64), squares, strict=True)])
        lost = ((weights - rounded) * means[..., None]).sum(1).reshape(-1)
        if _is_depthwise(layer):
            rounded = rounded[..., 0].T
        layer.set_weights([rounded.reshape(kernel.shape), *(one + lost for one in bias)])


def rounded_for(weights: Floats, squares: Floats) -> Floats:
    """The weights rounded to multiples of 1/STEPS of the largest weight of each output, shape (inputs, outputs).

    Args:
        weights: shape (inputs, outputs).
        squares: mean products of each two inputs, shape (inputs, inputs).
    """
    scales = np.maximum(np.abs(weights).max(0), 1e-12) / STEPS
    largest = np.abs(weights).argmax(0)
    damped = squares + np.eye(len(squares)) * (DAMPING * np.trace(squares) / len(squares) + 1e-12)
    later = np.linalg.cholesky(np.linalg.inv(damped)).T  # how the later weights compensate for an error
    left, rounded = weights.copy(), np.empty_like(weights)
    for place in range(len(weights)):
        steps = np.clip(np.rint(left[place] / scales), -STEPS, STEPS)
        steps = np.where(
            largest == place, STEPS * np.sign(weights[place]), steps
        )  # determines the scale, so it is not changed
        rounded[place] = steps * scales
        lost = (left[place] - rounded[place]) / later[place, place]
        left[place + 1 :] -= later[place, place + 1 :, None] * lost
    return rounded


def _inputs(network: keras.Model, layers: list[Any], pixels: Pixels) -> list[tuple[Floats, Floats]]:
    """For each layer, the mean products and the means of the inputs under its kernel, for each group."""
    looking = keras.Model(network.input, [layer.input for layer in layers])
    chosen = pixels[:: max(1, len(pixels) // IMAGES)]
    sums: list[Any] = [None] * len(layers)
    for start in range(0, len(chosen), BATCH_SIZE):
        found = looking(chosen[start : start + BATCH_SIZE].astype(np.float32) / np.float32(255), training=False)
        for number, (layer, values) in enumerate(zip(layers, found, strict=True)):
            patches = _patches(layer, values)
            parts = [
                tf.einsum("pgi,pgj->gij", patches, patches).numpy().astype(np.float64),
                tf.reduce_sum(patches, 0).numpy().astype(np.float64),
                len(patches),
            ]
            sums[number] = [a + b for a, b in zip(sums[number], parts, strict=True)] if sums[number] else parts
    return [(squares / count, means / count) for squares, means, count in sums]


def _patches(layer: Any, values: Any) -> Any:
    """The inputs of a layer at each position of its kernel, shape (positions, groups, inputs of a group)."""
    (height, width), channels = layer.kernel_size, values.shape[-1]
    if (height, width) == (1, 1):
        values = values[:, :: layer.strides[0], :: layer.strides[1]]
    else:
        values = tf.image.extract_patches(
            values,
            (1, height, width, 1),
            (1, *layer.strides, 1),
            (1, *layer.dilation_rate, 1),
            layer.padding.upper(),
        )
    if _is_depthwise(layer):
        return tf.transpose(tf.reshape(values, (-1, height * width, channels)), (0, 2, 1))
    return tf.reshape(values, (-1, 1, height * width * channels))


def _depthwise(kernel: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """A depthwise kernel in the shape (channels, positions in the kernel, 1)."""
    return kernel.reshape(-1, kernel.shape[2]).T[..., None]


def _is_depthwise(layer: Any) -> bool:
    return isinstance(layer, keras.layers.DepthwiseConv2D)
