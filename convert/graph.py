"""A LiteRT file's operations and tensors, by LiteRT's own reader of its format."""

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from edge.errors import printable


def _by_number(enumeration: type) -> dict[int, str]:
    return {number: name for name, number in vars(enumeration).items() if not name.startswith("_")}


_OPERATIONS, _TYPES = _by_number(schema.BuiltinOperator), _by_number(schema.TensorType)


@dataclass(frozen=True)
class Tensor:
    """
    Attributes:
        shape: lengths; -1 if one is not fixed.
        type: in capitals, as the format has it.
        content: the bytes of a constant; None of what is computed.
        scales: of its quantisation; several if each channel has its own.
    """

    shape: tuple[int, ...]
    type: str
    content: npt.NDArray[np.uint8] | None
    scales: tuple[float, ...]

    @property
    def is_constant(self) -> bool:
        return self.content is not None

    @property
    def is_static(self) -> bool:
        return all(length > 0 for length in self.shape)

    def integers(self) -> list[int]:
        """The values of a constant INT32, such as axes; none of another."""
        if self.content is None or self.type != "INT32":
            return []
        return [int(value) for value in self.content.view(np.int32)]


@dataclass(frozen=True)
class Operation:
    """
    Attributes:
        name: in capitals, as the format has it; of a custom one its own.
        inputs: None where an input that may be missing is.
        options: as the reader gives them; None if it has none.
    """

    name: str
    inputs: tuple[Tensor | None, ...]
    outputs: tuple[Tensor, ...]
    options: Any

    def input(self, place: int) -> Tensor | None:
        return self.inputs[place] if place < len(self.inputs) else None


class Graph:
    """
    Attributes:
        tensors: that operations read or write.
        has_branches: whether there are graphs beside the main one.
        parameter_bytes: of all constants.
        multiply_adds: of all convolutions and dense layers, once through.
    """

    def __init__(self, model: Any) -> None:
        """
        Args:
            model: a ModelT.

        Raises:
            LookupError, TypeError, ValueError: it is none, or refers to what it does not have.
        """
        main = model.subgraphs[0]
        tensors = [_tensor(model, tensor) for tensor in main.tensors]
        used: set[int] = set()

        def among(places: Any) -> list[Tensor | None]:
            listed = [] if places is None else [int(place) for place in places]
            used.update(place for place in listed if place >= 0)
            return [tensors[place] if place >= 0 else None for place in listed]

        self.operations = [
            Operation(
                _name(model.operatorCodes[operator.opcodeIndex]),
                tuple(among(operator.inputs)),
                tuple(tensor for tensor in among(operator.outputs) if tensor),
                operator.builtinOptions,
            )
            for operator in main.operators or []
        ]
        self.tensors = [tensors[place] for place in sorted(used)]
        self.has_branches = len(model.subgraphs) > 1
        self.multiply_adds = sum(map(_multiply_adds, self.operations))
        buffers = {main.tensors[place].buffer for place in used}
        self.parameter_bytes = sum(len(_content(model.buffers[buffer])) for buffer in buffers)


def read(content: bytes) -> Graph:
    """
    Raises:
        struct.error, LookupError, TypeError, ValueError: it is no LiteRT file, or a damaged one.
    """
    return Graph(schema.ModelT.InitFromPackedBuf(content, 0))


def _multiply_adds(operation: Operation) -> int:
    weights = operation.input(1)
    if weights is None or operation.name not in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
        return 0
    return prod(operation.outputs[0].shape[:-1]) * prod(weights.shape)  # all weights at every place of the output


def _name(code: Any) -> str:
    # Numbers beyond 127 are in the field that came later, and 127 in the other.
    number = max(code.builtinCode, code.deprecatedBuiltinCode)
    if number == schema.BuiltinOperator.CUSTOM:
        return printable(code.customCode or b"CUSTOM")
    return _OPERATIONS.get(number, f"OPERATION {number}")


def _tensor(model: Any, tensor: Any) -> Tensor:
    signature = [] if tensor.shapeSignature is None else list(tensor.shapeSignature)
    shape = signature or ([] if tensor.shape is None else list(tensor.shape))
    quantisation = tensor.quantization
    scales = [] if quantisation is None or quantisation.scale is None else list(quantisation.scale)
    content = _content(model.buffers[tensor.buffer])
    return Tensor(
        tuple(int(length) for length in shape),
        _TYPES.get(tensor.type, f"TYPE {tensor.type}"),
        content if len(content) else None,
        tuple(float(scale) for scale in scales),
    )


def _content(buffer: Any) -> npt.NDArray[np.uint8]:
    return np.asarray([] if buffer.data is None else buffer.data, np.uint8)
