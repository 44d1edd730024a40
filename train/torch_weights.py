"""Read the weight files of PyTorch before version 1.6, without PyTorch.

Such a file is a sequence of pickles (a magic number, a protocol, the system's
sizes, the tensors' shapes, the storages' names) and then each storage: its
length as a 64-bit integer, and its numbers. Format: torch/serialization.py,
`_legacy_load`.
"""

import pickle
from collections import OrderedDict
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

_MAGIC = 0x1950A86A20F9469CFC6C
# Errors of unpickling damaged data, beside ValueError; a nonsensical length raises MemoryError.
_DAMAGED = (pickle.UnpicklingError, ArithmeticError, AttributeError, EOFError, LookupError, MemoryError, TypeError)
_DTYPES = {"FloatStorage": np.float32, "LongStorage": np.int64}


class _Unpickler(pickle.Unpickler):
    """An unpickler that builds tensors of known types and refuses anything else: a pickle may call any function."""

    def __init__(self, file: IO[bytes], storages: dict[str, npt.NDArray[Any]]) -> None:
        super().__init__(file)
        self._storages = storages

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, size, stride, *_: (storage, offset, size)
        if module == "torch" and name in _DTYPES:
            return name
        raise pickle.UnpicklingError(f"{module}.{name} is not part of a weight file")

    def persistent_load(self, pid: Any) -> str:
        kind, storage, key, _, length = pid[:5]
        if kind != "storage":
            raise pickle.UnpicklingError(f"{kind} is not a storage")
        self._storages[key] = np.empty(length, _DTYPES[storage])
        return str(key)


def read(path: Path) -> dict[str, npt.NDArray[Any]]:
    """The arrays of a state dictionary by name, in PyTorch's layouts.

    Raises:
        OSError: the file cannot be read.
        ValueError: the file is not such a weight file.
    """
    storages: dict[str, npt.NDArray[Any]] = {}
    try:
        with path.open("rb") as file:
            if _Unpickler(file, storages).load() != _MAGIC:
                raise ValueError("not a PyTorch weight file of the older format")
            for _ in range(2):
                _Unpickler(file, storages).load()
            tensors = _Unpickler(file, storages).load()
            for key in _Unpickler(file, storages).load():
                storage = storages[key]
                file.read(8)
                storage[:] = np.frombuffer(file.read(storage.nbytes), storage.dtype)
            return {
                name: storages[key][offset : offset + int(np.prod(size))].reshape(size)
                for name, (key, offset, size) in tensors.items()
            }
    except _DAMAGED as error:
        raise ValueError(f"not a PyTorch weight file of the older format: {error}") from error
