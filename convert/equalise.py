"""Rewrite a network so that it loses less accuracy in 8 bits; its answers change by rounding only.

There are three changes:

1. Batch normalisation is folded into the convolutions before it, also into
   several convolutions whose outputs are added. Their sum then needs no
   quantisation range of its own.
2. Convolutions of the same shape whose outputs are added become one convolution
   of all their inputs, so that the terms of the sum are not rounded. The
   network's own input is scaled to the range of the other inputs, so that its
   values stay whole steps.
3. Channels are scaled to similar ranges. An 8-bit activation has one scale for
   all of its channels; in networks of depthwise convolutions some channels are a
   hundred times as large as others, which then use few of the 256 steps. A
   channel is multiplied by a factor before ReLU6, and the next layer divides it
   by the same factor: Nagel et al. 2019 (arXiv:1906.04721, section 4.1). They
   choose the factors by the weights, this module by the activations.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from convert.backend import keras
from edge.imaging.preprocess import Pixels

LIMIT = 6.0  # of ReLU6
HEADROOM = 1.1  # factor between the greatest activation of the calibration and LIMIT
SOFTNESS = 0.5  # exponent of the factors before an ordinary convolution, whose inputs share one scale of its weights
MOST = 32.0  # greatest factor of a channel
BATCH_SIZE = 64

Floats = npt.NDArray[np.float32]
Weights = dict[str, list[Floats]]


def is_plain(network: keras.Model) -> bool:
    """Whether a network consists of plain layers alone, not of networks, and uses each once."""
    return all(
        isinstance(one, keras.layers.Layer) and not isinstance(one, keras.Model) and len(one._inbound_nodes) == 1
        for one in network.operations
    )


def equalised(network: keras.Model, calibration: Pixels) -> keras.Model:
    """A copy of a network with all three changes, as input for `convert.litert.int8`.

    Args:
        network: plain, see `is_plain`; layers of unknown types are copied unchanged.
        calibration: images, uint8, shape (n, height, width, 3).
    """
    simple = simplified(network)
    links = list(_links(simple))
    for link, greatest in zip(links, _largest(simple, links, calibration), strict=True):
        room = LIMIT / (HEADROOM * np.maximum(greatest, 1e-6))
        factors = np.where(greatest > 0, np.clip(room, 1.0, MOST), 1.0)
        _scale(link, (factors if _is_depthwise(link.consumer) else factors**SOFTNESS).astype(np.float32))
    return simple


def simplified(network: keras.Model) -> keras.Model:
    """A copy of a network with the first two changes."""
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
    """Change the weights of convolutions so that they include the normalisation of their sum."""
    gamma, beta, mean, variance = _of_normalisation(normalisation)
    factor = gamma / np.sqrt(variance + normalisation.epsilon)
    offset = beta - mean * factor
    for convolution in convolutions:
        kernel, *bias = weights[convolution.name]
        weights[convolution.name] = [_times(convolution, kernel, factor), *(one * factor for one in bias)]
    kernel, *bias = weights[convolutions[0].name]
    weights[convolutions[0].name] = [kernel, offset + bias[0] if bias else offset]


def _of_normalisation(layer: Any) -> tuple[Floats, Floats, Floats, Floats]:
    """(gamma, beta, mean, variance) of a batch normalisation."""
    weights, like = iter(layer.get_weights()), layer.moving_mean.shape
    gamma = next(weights) if layer.scale else np.ones(like, np.float32)
    beta = next(weights) if layer.center else np.zeros(like, np.float32)
    return gamma, beta, next(weights), next(weights)


def _to_merge(wiring: "_Wiring", network: keras.Model, layer: Any) -> list[Any]:
    """The convolutions whose outputs a layer adds, if they can become one convolution; else an empty list."""
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
    """The output of one convolution in place of several whose outputs were added."""
    inputs, kernels, biases = [], [], []
    for part in parts:
        tensor, (kernel, *bias) = made[id(part.input)], weights[part.name]
        if part.input is network.input:  # scaled to the range of the others, by a kernel that is exact in 8 bits
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
    """A convolution whose output goes through a ReLU6 into one other convolution, and nowhere else."""

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
    link.consumer.set_weights(
        [kernel / factors[:, None], *bias]
    )  # the input axis is the last but one, also in a depthwise kernel


def _times(convolution: Any, kernel: Floats, factors: Floats) -> Floats:
    """The kernel with each output channel multiplied by its factor."""
    return kernel * (factors[:, None] if _is_depthwise(convolution) else factors)


def _largest(network: keras.Model, links: list[_Link], pixels: Pixels) -> list[Floats]:
    """For each link, the greatest activation of each channel after its ReLU6, shape (channels,)."""
    if not links:
        return []
    looking = keras.Model(network.input, [keras.ops.max(link.relu.output, (0, 1, 2)) for link in links])
    found = [np.zeros(link.relu.output.shape[-1], np.float32) for link in links]
    for start in range(0, len(pixels), BATCH_SIZE):
        part = looking(pixels[start : start + BATCH_SIZE].astype(np.float32) / np.float32(255), training=False)
        found = [np.maximum(*pair) for pair in zip(found, map(np.asarray, _listed(part)), strict=True)]
    return found


class _Wiring:
    """The layers that produce and consume each tensor of a network."""

    def __init__(self, network: keras.Model) -> None:
        self._makers = {id(layer.output): layer for layer in network.layers}
        self._takers: dict[int, list[Any]] = {}
        for layer in network.layers:
            if not isinstance(layer, keras.layers.InputLayer):
                for tensor in _listed(layer.input):
                    self._takers.setdefault(id(tensor), []).append(layer)
        self._outputs = {id(tensor) for tensor in network.outputs}

    def makers(self, layer: Any) -> list[Any]:
        """The layers that produce the inputs of a layer."""
        return [self._makers[id(tensor)] for tensor in _listed(layer.input)]

    def only_taker(self, layer: Any) -> Any:
        """The only layer that consumes a layer's output; None if there are several, or if the network returns it."""
        takers = self._takers.get(id(layer.output), [])
        return takers[0] if len(takers) == 1 and id(layer.output) not in self._outputs else None

    def sum_before(self, layer: Any) -> list[Any]:
        """The convolution that produces a layer's input, or those whose outputs are added; else an empty list."""
        (maker,) = self.makers(layer)
        found, taker = ([maker], layer) if _is_convolution(maker) else ([], maker)
        if isinstance(maker, keras.layers.Add) and self.only_taker(maker) is layer:
            found = self.makers(maker)
        return found if all(_is_convolution(one) and self.only_taker(one) is taker for one in found) else []


def _is_convolution(layer: Any) -> bool:
    """Whether a layer is an ordinary or a depthwise convolution, without groups, multiplier or activation."""
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
