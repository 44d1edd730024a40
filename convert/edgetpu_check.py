"""Whether a LiteRT file qualifies for the Edge TPU, seen from the file alone, without Google's compiler.

The operations and their limits are those that coral.ai documents for runtime
14 ("TensorFlow models on the Edge TPU": model requirements, supported
operations), as far as a file shows them. The compiler has the last word: it
may leave an operation to the CPU for its size.
"""

import struct
from dataclasses import asdict, dataclass
from typing import Any

from convert.edgetpu_ops import LIMITS
from convert.graph import Graph, Operation, Tensor, read
from edge.errors import ModelError, printable
from edge.inference.model import EDGE_TPU_OPERATION, Model
from edge.inference.tflite_check import require_whole

ON_CHIP_BYTES = 8 * 1024 * 1024  # "roughly 8 MB"; of what is more, the rest is fetched anew for each image


@dataclass(frozen=True)
class Kind:
    """All operations of one name: how many, and why not all of them run on the Edge TPU; empty if they do."""

    name: str
    count: int
    reason: str


@dataclass(frozen=True)
class Qualification:
    """What a file's operations and tensors are.

    Attributes:
        kinds: the most frequent first.
        tensors: why tensors are in the way, each reason once, with how many tensors it is true of.
        parameter_bytes: of all constants.
    """

    kinds: tuple[Kind, ...]
    tensors: tuple[str, ...]
    parameter_bytes: int

    @property
    def reasons(self) -> list[str]:
        return [*(f"{kind.name} {kind.reason}" for kind in self.kinds if kind.reason), *self.tensors]

    @property
    def fits(self) -> bool:
        """Whether all parameters have room on the chip."""
        return self.parameter_bytes <= ON_CHIP_BYTES

    def table(self) -> str:
        """The operations, their number and what is in the way of each, and the parameters, for a person."""
        rows = [f"{'operation':28}{'count':>6}  on the Edge TPU"]
        rows += [f"{kind.name:28}{kind.count:6}  {kind.reason or 'ok'}" for kind in self.kinds]
        rows += self.tensors or ["tensors in 8 bits, of fixed sizes"]
        share = "all fit" if self.fits else "the rest is fetched anew for each image, which takes time"
        rows += [f"parameters: {self.parameter_bytes:,} bytes, room on the chip for about {ON_CHIP_BYTES:,}: {share}"]
        return "\n".join(rows)

    def __str__(self) -> str:
        if self.reasons:
            return f"does not qualify for the Edge TPU: {'; '.join(self.reasons)}"
        count = sum(kind.count for kind in self.kinds)
        return f"qualifies for the Edge TPU with all of its {count} operations; edgetpu_compiler has the last word"

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"qualifies": not self.reasons, "fits": self.fits, "on_chip_bytes": ON_CHIP_BYTES}


def qualification(model: Model) -> Qualification:
    """
    Raises:
        ModelError: the file is damaged.
    """
    try:
        require_whole(model.content)
        return _of(read(model.content))
    except ModelError as error:
        raise ModelError(f"{printable(model.path)}: {error}") from error
    except (struct.error, ArithmeticError, AttributeError, LookupError, MemoryError, TypeError, ValueError) as error:
        # Of the parts of the file that no runtime reads, and of numbers in it that name nothing.
        raise ModelError(f"{printable(model.path)}: damaged: {printable(str(error))}") from error


def _of(graph: Graph) -> Qualification:
    counts: dict[str, int] = {}
    reasons: dict[str, str] = {}
    for operation in graph.operations:
        counts[operation.name] = counts.get(operation.name, 0) + 1
        if reason := _reason(operation):
            reasons.setdefault(operation.name, reason)
    by_count = sorted(counts, key=lambda name: (-counts[name], name))
    in_the_way: dict[str, int] = {}
    for tensor in graph.tensors:
        if reason := _reason_of_tensor(tensor):
            in_the_way[reason] = in_the_way.get(reason, 0) + 1
    tensors = [f"{count} tensor{'s' * (count > 1)} {reason}" for reason, count in in_the_way.items()]
    if graph.has_branches:
        tensors.append("the file has more than one graph")
    return Qualification(
        tuple(Kind(name, counts[name], reasons.get(name, "")) for name in by_count),
        tuple(tensors),
        graph.parameter_bytes,
    )


def _reason(operation: Operation) -> str:
    """Why an operation does not run on the Edge TPU, to be read after its name; empty if it does."""
    if operation.name == EDGE_TPU_OPERATION.decode():
        return "is a part that was compiled already"
    limit = LIMITS.get(operation.name)
    return "is not supported" if limit is None else limit(operation) or ""


def _reason_of_tensor(tensor: Tensor) -> str:
    """The same of a tensor, to be read after "tensors"."""
    if not tensor.is_static:
        return "of a size that is not fixed"
    if tensor.is_constant:
        return "" if tensor.type in ("INT8", "UINT8", "INT32") else f"of constants in {tensor.type}"
    if tensor.type not in ("INT8", "UINT8"):
        return f"of type {tensor.type}, where there are 8 bits"
    if not tensor.scales:
        return "without a scale"
    return "with more than three dimensions" if any(length > 1 for length in tensor.shape[:-3]) else ""
