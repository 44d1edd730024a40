"""A network that 8 bits hold better, and that says the same.

Three changes, none of which moves its answers by more than rounding:

1. Batch normalisation becomes part of the convolutions before it, also of
   several that are added: their sum needs no range of its own then.
2. Convolutions of the same shape that are added become one, of all their
   inputs: the parts of the sum need no rounding. The network's own input is
   enlarged to the range of the others, for its values to stay whole steps.
3. An 8-bit activation has one scale for all of its channels. In networks of
   depthwise convolutions some channels are a hundred times as large as others,
   and of those others few of the 256 steps are left. What a channel is
   multiplied by before ReLU6 the next layer can divide it by again: Nagel et
   al. 2019 (arXiv:1906.04721, section 4.1), who do so by the sizes of weights;
   here the activations themselves are looked at.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from convert.backend import keras
from edge.imaging.preprocess import Pixels

LIMIT = 6.0  # of ReLU6
HEADROOM = 1.1  # above the greatest activation of the calibration
SOFTNESS = 0.5  # how far an ordinary convolution follows: all its inputs share the steps of its weights
MOST = 32.0  # what a channel is multiplied by
BATCH_SIZE = 64

Floats = npt.NDArray[np.float32]
Weights = dict[str, list[Floats]]


def is_plain(network: keras.Model) -> bool:
    """Whether a network consists of layers, none of them a network itself, and each used once."""
    return all(
        isinstance(one, keras.layers.Layer) and not isinstance(one, keras.Model) and len(one._inbound_nodes) == 1
        for one in network.operations
    )


def equalised(network: keras.Model, calibration: Pixels) -> keras.Model:
    """A network of the same answers, for `convert.litert.int8`.

    Args:
        network: plain, see `is_plain`; layers that are not known stay as they are.
        calibration: uint8, shape (n, height, width, 3).
    """
    simple = simplified(network)
    links = list(_links(simple))
    for link, greatest in zip(links, _largest(simple, links, calibration), strict=True):
        room = LIMIT / (HEADROOM * np.maximum(greatest, 1e-6))
        factors = np.where(greatest > 0, np.clip(room, 1.0, MOST), 1.0)
        _scale(link, (factors if _is_depthwise(link.consumer) else factors**SOFTNESS).astype(np.float32))
    return simple


def simplified(network: keras.Model) -> keras.Model:
    """The same with less to round: the first two of the changes."""
    wiring = _Wiring(network)
    weights: Weights = {layer.name: layer.get_weights() for layer in network.layers}
    folded = set()
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization) and (convolutions := wiring.sum_before(layer)):
            _fold(layer, convolutions, weights)
            folded.add(layer)
    merged = {layer: parts for layer in network.layers if (parts := _to_merge(wiring, network, layer))}
    swallowed = {part for parts in merged.values() for part in parts}

    made: dict[int, Any] = {}
    copies: list[tuple[Any, list[Floats]]] = []

    def called(layer: Any, inputs: list[Any], content: list[Floats]) -> Any:
        copies.append((layer, content))
        return layer(inputs if len(inputs) > 1 else inputs[0])

    for layer in network.layers:
        inputs = [made[id(tensor)] for tensor in _listed(layer.input)] if layer not in merged else []
        if isinstance(layer, keras.layers.InputLayer):
            output = keras.Input(layer.output.shape[1:], name=layer.name)
        elif layer in folded:
            output = inputs[0]
        elif layer in swallowed:
            continue
        elif layer in merged:
            output = _merged(network, merged[layer], made, weights, called)
        else:
            config = layer.get_config()
            if _is_convolution(layer):
                config["use_bias"] = len(weights[layer.name]) > 1
            output = called(type(layer).from_config(config), inputs, weights[layer.name])
        made[id(layer.output)] = output
    simple = keras.Model(made[id(network.input)], made[id(network.outputs[0])], name=network.name)
    for layer, content in copies:
        layer.set_weights(content)
    return simple


def _fold(normalisation: Any, convolutions: list[Any], weights: Weights) -> None:
    gamma, beta, mean, variance = _of_normalisation(normalisation)
    factor = gamma / np.sqrt(variance + normalisation.epsilon)
    offset = beta - mean * factor
    for convolution in convolutions:
        kernel, *bias = weights[convolution.name]
        weights[convolution.name] = [_times(convolution, kernel, factor), *(one * factor for one in bias)]
    kernel, *bias = weights[convolutions[0].name]
    weights[convolutions[0].name] = [kernel, offset + bias[0] if bias else offset]


def _of_normalisation(layer: Any) -> tuple[Floats, Floats, Floats, Floats]:
    weights, like = iter(layer.get_weights()), layer.moving_mean.shape
    gamma = next(weights) if layer.scale else np.ones(like, np.float32)
    beta = next(weights) if layer.center else np.zeros(like, np.float32)
    return gamma, beta, next(weights), next(weights)


def _to_merge(wiring: "_Wiring", network: keras.Model, layer: Any) -> list[Any]:
    """The convolutions that a layer adds, if they can be one; else none."""
    if not isinstance(layer, keras.layers.Add):
        return []
    parts = wiring.makers(layer)
    if not all(type(part) is keras.layers.Conv2D and _is_convolution(part) for part in parts):
        return []
    shapes = {(part.kernel_size, part.strides, part.padding, part.dilation_rate, part.filters) for part in parts}
    if len(shapes) > 1 or any(wiring.only_taker(part) is not layer for part in parts):
        return []
    return parts if all(part.input is network.input or _ends_at_limit(wiring.makers(part)[0]) for part in parts) else []


def _merged(network: keras.Model, parts: list[Any], made: dict[int, Any], weights: Weights, called: Any) -> Any:
    inputs, kernels, biases = [], [], []
    for part in parts:
        tensor, (kernel, *bias) = made[id(part.input)], weights[part.name]
        if part.input is network.input:  # to the range of the others, by a kernel that 8 bits hold exactly
            channels = tensor.shape[-1]
            enlarge = keras.layers.DepthwiseConv2D(1, use_bias=False, trainable=False, name=f"{part.name}_input")
            tensor = called(enlarge, [tensor], [np.full((1, 1, channels, 1), LIMIT, np.float32)])
            kernel = kernel / LIMIT
        inputs.append(tensor)
        kernels.append(kernel)
        biases += bias
    joined = keras.layers.Concatenate(name=f"{parts[0].name}_inputs")(inputs)
    one = keras.layers.Conv2D.from_config(parts[0].get_config() | {"use_bias": bool(biases)})
    return called(one, [joined], [np.concatenate(kernels, axis=2), *([np.sum(biases, axis=0)] if biases else [])])


@dataclass(frozen=True)
class _Link:
    """A convolution whose output goes through a ReLU6 into one other convolution."""

    producer: Any
    relu: Any
    consumer: Any


def _links(network: keras.Model) -> Iterator[_Link]:
    wiring = _Wiring(network)
    for layer in network.layers:
        if _is_relu6(layer):
            (producer,), consumer = wiring.makers(layer), wiring.only_taker(layer)
            if _is_convolution(producer) and wiring.only_taker(producer) is layer and _is_convolution(consumer):
                yield _Link(producer, layer, consumer)


def _scale(link: _Link, factors: Floats) -> None:
    kernel, *bias = link.producer.get_weights()
    link.producer.set_weights([_times(link.producer, kernel, factors), *(one * factors for one in bias)])
    kernel, *bias = link.consumer.get_weights()
    link.consumer.set_weights([kernel / factors[:, None], *bias])  # of both kinds, inputs are the last axis but one


def _times(convolution: Any, kernel: Floats, factors: Floats) -> Floats:
    """A kernel whose outputs are so many times as large."""
    return kernel * (factors[:, None] if _is_depthwise(convolution) else factors)


def _largest(network: keras.Model, links: list[_Link], pixels: Pixels) -> list[Floats]:
    """The greatest activation of each channel between the two convolutions."""
    if not links:
        return []
    looking = keras.Model(network.input, [keras.ops.max(link.relu.output, (0, 1, 2)) for link in links])
    found = [np.zeros(link.relu.output.shape[-1], np.float32) for link in links]
    for start in range(0, len(pixels), BATCH_SIZE):
        part = looking(pixels[start : start + BATCH_SIZE].astype(np.float32) / np.float32(255), training=False)
        found = [np.maximum(*pair) for pair in zip(found, map(np.asarray, _listed(part)), strict=True)]
    return found


class _Wiring:
    """Which layers make and take each tensor of a network."""

    def __init__(self, network: keras.Model) -> None:
        self._makers = {id(layer.output): layer for layer in network.layers}
        self._takers: dict[int, list[Any]] = {}
        for layer in network.layers:
            if not isinstance(layer, keras.layers.InputLayer):
                for tensor in _listed(layer.input):
                    self._takers.setdefault(id(tensor), []).append(layer)
        self._outputs = {id(tensor) for tensor in network.outputs}

    def makers(self, layer: Any) -> list[Any]:
        return [self._makers[id(tensor)] for tensor in _listed(layer.input)]

    def only_taker(self, layer: Any) -> Any:
        """None if there are several, or if the network returns its output."""
        takers = self._takers.get(id(layer.output), [])
        return takers[0] if len(takers) == 1 and id(layer.output) not in self._outputs else None

    def sum_before(self, layer: Any) -> list[Any]:
        """The convolutions that make a layer's input: one, or several that are added; none if it is made otherwise."""
        (maker,) = self.makers(layer)
        found, taker = ([maker], layer) if _is_convolution(maker) else ([], maker)
        if isinstance(maker, keras.layers.Add) and self.only_taker(maker) is layer:
            found = self.makers(maker)
        return found if all(_is_convolution(one) and self.only_taker(one) is taker for one in found) else []


def _is_convolution(layer: Any) -> bool:
    """Whether it is an ordinary or a depthwise one, and nothing else at once."""
    if type(layer) not in (keras.layers.Conv2D, keras.layers.DepthwiseConv2D):
        return False
    is_plain = getattr(layer, "depth_multiplier", 1) == 1 and getattr(layer, "groups", 1) == 1
    return is_plain and layer.activation is keras.activations.linear


def _is_depthwise(layer: Any) -> bool:
    return isinstance(layer, keras.layers.DepthwiseConv2D)


def _is_relu6(layer: Any) -> bool:
    is_one = isinstance(layer, keras.layers.ReLU) and layer.max_value == LIMIT
    return is_one and not layer.negative_slope and not layer.threshold


def _ends_at_limit(layer: Any) -> bool:
    return _is_relu6(layer) or getattr(layer, "activation", None) is keras.activations.relu6


def _listed(tensors: Any) -> list[Any]:
    return list(tensors) if isinstance(tensors, (list, tuple)) else [tensors]
