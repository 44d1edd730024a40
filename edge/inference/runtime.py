"""The LiteRT runtime: the only module that imports it, and the only one that builds interpreters.

Two packages bring the same `Interpreter`: tflite-runtime, which has wheels for
32-bit ARM but none from Python 3.12 on, and its successor ai-edge-litert.
"""

from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from edge.errors import CoralError, ModelError, RuntimeMissingError, printable
from edge.process.stderr import silenced

# In order of preference where both are installed and the user names neither.
RUNTIMES = {"ai-edge-litert": "ai_edge_litert", "tflite-runtime": "tflite_runtime"}

_INVOKE = (
    "import sys; from edge.inference.runtime import interpreter;"
    " interpreter(sys.stdin.buffer.read(), runtime='tflite-runtime').invoke()"
)


class Interpreter(Protocol):
    """What we use of `Interpreter`, which both runtimes spell alike."""

    def allocate_tensors(self) -> None: ...
    def get_input_details(self) -> list[dict[str, Any]]: ...
    def get_output_details(self) -> list[dict[str, Any]]: ...
    def get_tensor_details(self) -> list[dict[str, Any]]: ...
    def set_tensor(self, index: int, value: npt.NDArray[Any]) -> None: ...
    def invoke(self) -> None: ...
    def get_tensor(self, index: int) -> npt.NDArray[Any]: ...


def interpreter(
    content: bytes, threads: int = 1, runtime: str | None = None, delegate: object | None = None
) -> Interpreter:
    """An interpreter with its tensors allocated.

    Args:
        content: of a `.tflite` file.
        threads: for one invocation. One is right for a small network: handing
            work to a second thread costs more than it saves.
        runtime: a key of RUNTIMES; None takes the first that is installed.
        delegate: from `load_delegate`, of the same runtime; the interpreter keeps it for as long as it lives.

    Raises:
        RuntimeMissingError: the runtime is not installed, or does not fit the installed numpy.
        ModelError: the content is no model that this runtime can run.
    """
    build = _module(runtime).Interpreter
    delegates = None if delegate is None else [delegate]
    try:
        with silenced(b"INFO: Created TensorFlow Lite"):
            built: Interpreter = build(model_content=content, num_threads=threads, experimental_delegates=delegates)
            built.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise ModelError(" ".join(str(error).split())) from error
    return built


def probe(content: bytes, runtime: str | None = None) -> None:
    """Try a file of unknown origin in a process of its own, if the runtime does not check what it loads.

    tflite-runtime does not: a damaged file may end the process that loads it.

    Raises:
        ModelError: the file crashes the runtime.
    """
    if installed(runtime) != "tflite-runtime":
        return
    from edge.process.isolated import (  # which the other runtime does without, and starts the sooner
        Crashed,
        run_isolated,
    )

    try:
        run_isolated(
            _INVOKE, content=content
        )  # a failure that is no crash comes again, with its words, in this process
    except Crashed as error:
        raise ModelError(f"damaged: it crashes the runtime ({error})") from error


def load_delegate(library: str, options: Mapping[str, str], runtime: str | None = None) -> object:
    """What computes in the runtime's place, from a shared library; the library may crash the process.

    Raises:
        RuntimeMissingError: see `interpreter`.
        CoralError: it cannot be loaded, or refuses.
    """
    load = _module(runtime).load_delegate
    try:
        delegate: object = load(library, dict(options))
    except (OSError, AttributeError) as error:  # no library; a library of something else
        reason = printable(" ".join(str(error).split()).removeprefix(f"{library}: "))
        raise CoralError(f"{printable(library)}: cannot be loaded as a delegate: {reason}") from error
    except ValueError as error:
        reason = printable(str(error).partition("\n")[2]) or "it does not say why"
        raise CoralError(f"{printable(library)}: cannot take hold of the Coral: {reason}") from error
    return delegate


def installed(runtime: str | None = None) -> str:
    """The name of the runtime that `interpreter` takes.

    Raises:
        RuntimeMissingError: it is not installed.
    """
    names = [runtime] if runtime else list(RUNTIMES)
    for name in names:
        if is_installed(name):
            return name
    raise RuntimeMissingError(f"no LiteRT runtime is installed: pip install {' or '.join(names)}")


def is_installed(runtime: str) -> bool:
    """Whether the package of a key of RUNTIMES is there; whether it loads is seen when it is used."""
    return find_spec(RUNTIMES[runtime]) is not None


def require_loadable(runtime: str | None = None) -> None:
    """Load a runtime's code.

    Raises:
        RuntimeMissingError: it is not installed, does not load, or does not fit the installed numpy.
    """
    _module(runtime)


def _module(runtime: str | None) -> Any:
    name = installed(runtime)
    if name == "tflite-runtime" and int(np.__version__.split(".")[0]) >= 2:
        # It was built against numpy 1 and would crash on import, with a page of text.
        raise RuntimeMissingError(f"tflite-runtime needs numpy 1, here is {np.__version__}: pip install 'numpy<2'")
    try:
        return import_module(f"{RUNTIMES[name]}.interpreter")
    except ImportError as error:
        raise RuntimeMissingError(f"{name} is installed but does not load: {' '.join(str(error).split())}") from error
