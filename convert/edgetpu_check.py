"""Check whether a LiteRT file qualifies for the Edge TPU, without Google's compiler.

The operations and their limits are those that coral.ai documents for runtime
14 ("TensorFlow models on the Edge TPU": model requirements, supported
operations), as far as a file shows them. The compiler may still leave an
operation to the CPU because of its size.
"""

import struct
from dataclasses import asdict, dataclass
from typing import Any

from convert.edgetpu_ops import LIMITS
from convert.graph import Graph, Operation, Tensor, read
from edge.errors import ModelError, printable
from edge.inference.model import EDGE_TPU_OPERATION, Model
from edge.inference.tflite_check import require_whole

ON_CHIP_BYTES = 8 * 1024 * 1024  # "roughly 8 MB"; parameters beyond are loaded again for each image


@dataclass(frozen=True)
class Kind:
    """All operations of one name.

    Attributes:
        count: number of operations.
        reason: why they do not all run on the Edge TPU; empty if they do.
    """

    name: str
    count: int
    reason: str


@dataclass(frozen=True)
class Qualification:
    """The result of the check.

    Attributes:
        kinds: the file's operations, the most frequent first.
        tensors: reasons why tensors prevent the Edge TPU, each with the number of tensors.
        parameter_bytes: size of all constants.
    """

    kinds: tuple[Kind, ...]
    tensors: tuple[str, ...]
    parameter_bytes: int

    @property
    def reasons(self) -> list[str]:
        """Why the file does not qualify; empty if it does."""
        return [*(f"{kind.name} {kind.reason}" for kind in self.kinds if kind.reason), *self.tensors]

    @property
    def fits(self) -> bool:
        """Whether all parameters fit into the chip's memory."""
        return self.parameter_bytes <= ON_CHIP_BYTES

    def table(self) -> str:
        """A table of text: each operation with its number and the reason against it, and the parameters."""
        rows = [f"{'operation':28}{'count':>6}  on the Edge TPU"]
        rows += [f"{kind.name:28}{kind.count:6}  {kind.reason or 'ok'}" for kind in self.kinds]
        rows += self.tensors or ["all tensors are in 8 bits and of fixed sizes"]
        share = "all fit" if self.fits else "the rest is loaded again for each image, which takes time"
        rows += [f"parameters: {self.parameter_bytes:,} bytes; the chip has room for about {ON_CHIP_BYTES:,}: {share}"]
        return "\n".join(rows)

    def __str__(self) -> str:
        if self.reasons:
            return f"does not qualify for the Edge TPU: {'; '.join(self.reasons)}"
        count = sum(kind.count for kind in self.kinds)
        return f"qualifies for the Edge TPU with all of its {count} operations; edgetpu_compiler may still reject some"

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"qualifies": not self.reasons, "fits": self.fits, "on_chip_bytes": ON_CHIP_BYTES}


def qualification(model: Model) -> Qualification:
    """Check a LiteRT file.

    Raises:
        ModelError: the file is damaged.
    """
    try:
        require_whole(model.content)
        return _of(read(model.content))
    except ModelError as error:
        raise ModelError(f"{printable(model.path)}: {error}") from error
    except (struct.error, ArithmeticError, AttributeError, LookupError, MemoryError, TypeError, ValueError) as error:
        # Damage in a part of the file that no runtime reads, or a number that refers to nothing.
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
    """Why an operation does not run on the Edge TPU, as words that follow its name; empty if it does."""
    if operation.name == EDGE_TPU_OPERATION.decode():
        return "is a part that was compiled already"
    limit = LIMITS.get(operation.name)
    return "is not supported" if limit is None else limit(operation) or ""


def _reason_of_tensor(tensor: Tensor) -> str:
    """Why a tensor prevents the Edge TPU, as words that follow "tensor"; empty if it does not."""
    if not tensor.is_static:
        return "of a size that is not fixed"
    if tensor.is_constant:
        return "" if tensor.type in ("INT8", "UINT8", "INT32") else f"of constants in {tensor.type}"
    if tensor.type not in ("INT8", "UINT8"):
        return f"of type {tensor.type}, not of 8 bits"
    if not tensor.scales:
        return "without a scale"
    return "with more than three dimensions" if any(length > 1 for length in tensor.shape[:-3]) else ""
