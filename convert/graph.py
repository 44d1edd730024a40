"""Read the operations and tensors of a LiteRT file, with LiteRT's own reader of the format."""

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
    """A tensor of a file.

    Attributes:
        shape: length of each dimension; -1 if it is not fixed.
        type: the format's name of the type, in capitals.
        content: bytes of a constant; None if the tensor is computed.
        scales: scales of its quantisation, several if each channel has its own; empty without quantisation.
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
        """Whether every dimension has a fixed length."""
        return all(length > 0 for length in self.shape)

    def integers(self) -> list[int]:
        """The values of a constant of type INT32, such as axes; empty for other tensors."""
        if self.content is None or self.type != "INT32":
            return []
        return [int(value) for value in self.content.view(np.int32)]


@dataclass(frozen=True)
class Operation:
    """An operation of a file.

    Attributes:
        name: the format's name in capitals; a custom operation has a name of its own.
        inputs: the inputs in order; None for an optional input that is missing.
        options: the reader's object of options; None without options.
    """

    name: str
    inputs: tuple[Tensor | None, ...]
    outputs: tuple[Tensor, ...]
    options: Any

    def input(self, place: int) -> Tensor | None:
        """The input at a place; None if it is missing."""
        return self.inputs[place] if place < len(self.inputs) else None


class Graph:
    """The main graph of a file.

    Attributes:
        operations: the operations in order.
        tensors: the tensors that operations read or write.
        has_branches: whether the file has further graphs.
        parameter_bytes: size of all constants.
        multiply_adds: number in all convolutions and dense layers, for one run.
    """

    def __init__(self, model: Any) -> None:
        """
        Args:
            model: the reader's ModelT.

        Raises:
            LookupError, TypeError, ValueError: the model is damaged, or refers to missing parts.
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
    """The main graph of a LiteRT file.

    Raises:
        struct.error, LookupError, TypeError, ValueError: the content is not a LiteRT file, or it is damaged.
    """
    return Graph(schema.ModelT.InitFromPackedBuf(content, 0))


def _multiply_adds(operation: Operation) -> int:
    weights = operation.input(1)
    if weights is None or operation.name not in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
        return 0
    return prod(operation.outputs[0].shape[:-1]) * prod(weights.shape)  # every weight is used at every output position


def _name(code: Any) -> str:
    # Codes above 127 are in the newer field; the deprecated field then has 127.
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
