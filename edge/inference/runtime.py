"""The LiteRT runtime. Only this module imports it and builds interpreters.

Two packages provide the same `Interpreter`: tflite-runtime, which has wheels for
32-bit ARM but none from Python 3.12 on, and its successor ai-edge-litert.
"""

from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol

from edge import requirements
from edge.errors import CoralError, ModelError, RuntimeMissingError, printable
from edge.process.stderr import silenced

if TYPE_CHECKING:  # it takes a millisecond to import
    import numpy.typing as npt

# In order of preference if both are installed and the user chooses none.
RUNTIMES = {"ai-edge-litert": "ai_edge_litert", "tflite-runtime": "tflite_runtime"}

_INVOKE = (
    "import sys; from edge.inference.runtime import interpreter;"
    " interpreter(sys.stdin.buffer.read(), runtime='tflite-runtime').invoke()"
)


class Interpreter(Protocol):
    """The methods of both runtimes' `Interpreter` that we use."""

    def allocate_tensors(self) -> None: ...
    def get_input_details(self) -> list[dict[str, Any]]: ...
    def get_output_details(self) -> list[dict[str, Any]]: ...
    def get_tensor_details(self) -> list[dict[str, Any]]: ...
    def set_tensor(self, index: int, value: "npt.NDArray[Any]") -> None: ...
    def invoke(self) -> None: ...
    def get_tensor(self, index: int) -> "npt.NDArray[Any]": ...


def interpreter(
    content: bytes, threads: int = 1, runtime: str | None = None, delegate: object | None = None
) -> Interpreter:
    """An interpreter with its tensors allocated.

    Args:
        content: of a `.tflite` file.
        threads: number of threads of one invocation. One is best for a small
            network: handing work to a second thread costs more than it saves.
        runtime: a key of RUNTIMES; None: the first that is installed.
        delegate: from `load_delegate` of the same runtime; the interpreter keeps a reference to it.

    Raises:
        RuntimeMissingError: the runtime is not installed, too old, or does not fit the installed numpy.
        ModelError: this runtime cannot run the model.
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
    """Run a model of unknown origin once in a process of its own, if the runtime does not check what it loads.

    tflite-runtime does not: a damaged file may crash the process. Whether the
    offsets in the file are valid, `edge.inference.tflite_check` has found out
    before; this also catches damage that only shows when the model runs.

    Raises:
        ModelError: the model crashes the runtime.
    """
    if installed(runtime) != "tflite-runtime":
        return
    from edge.process.isolated import Crashed, run_isolated  # here: the other runtime starts faster without

    try:
        run_isolated(_INVOKE, content=content)  # an error other than a crash occurs again in this process
    except Crashed as error:
        raise ModelError(f"damaged: it crashes the runtime ({error})") from error


def load_delegate(library: str, options: Mapping[str, str], runtime: str | None = None) -> object:
    """Load a delegate, which computes instead of the processor, from a shared library. It may crash the process.

    Args:
        library: a name for the loader, or a path.
        options: of the delegate.
        runtime: see `interpreter`.

    Raises:
        RuntimeMissingError: see `interpreter`.
        CoralError: the library cannot be loaded, or cannot open its device.
    """
    from edge.inference import edgetpu_fixes  # here: `classify` starts faster without

    load = _module(runtime).load_delegate
    try:
        delegate: object = load(library, dict(options))
    except (OSError, AttributeError) as error:  # no library; a library of something else
        reason = printable(" ".join(str(error).split()).removeprefix(f"{library}: "))
        fix = edgetpu_fixes.loading(reason, installed(runtime))
        raise CoralError(f"{printable(library)}: cannot be loaded as a delegate: {reason}", fix) from error
    except ValueError as error:
        reason = printable(str(error).partition("\n")[2]) or "no reason given"
        raise CoralError(
            f"{printable(library)}: cannot open the Edge TPU: {reason}", edgetpu_fixes.opening()
        ) from error
    return delegate


def installed(runtime: str | None = None) -> str:
    """The name of the runtime that `interpreter` uses.

    Raises:
        RuntimeMissingError: it is not installed.
    """
    names = [runtime] if runtime else list(RUNTIMES)
    for name in names:
        if is_installed(name):
            return name
    raise RuntimeMissingError(f"no LiteRT runtime is installed: pip install {' or '.join(names)}")


def is_installed(runtime: str) -> bool:
    """Whether the package of a key of RUNTIMES is installed; it is not imported."""
    return find_spec(RUNTIMES[runtime]) is not None


def require_loadable(runtime: str | None = None) -> None:
    """Import a runtime.

    Raises:
        RuntimeMissingError: it is not installed, does not load, is too old, or does not fit the installed numpy.
    """
    _module(runtime)


def module_name(runtime: str | None = None) -> str:
    """The name of a runtime's module, which is not imported here and can be imported without harm.

    Raises:
        RuntimeMissingError: the runtime is not installed, or does not fit the installed numpy.
    """
    name = installed(runtime)
    if name == "tflite-runtime":  # it was built against numpy 1, and would crash on import
        version = requirements.installed_version("numpy")
        if version and not requirements.is_older(version, "2"):
            raise RuntimeMissingError(
                f"tflite-runtime needs numpy 1, but {version} is installed: pip install 'numpy<2'"
            )
    return f"{RUNTIMES[name]}.interpreter"


def _module(runtime: str | None) -> Any:
    path, name = module_name(runtime), installed(runtime)
    try:
        module = import_module(path)
    except ImportError as error:
        does_not_load = f"{name} is installed but does not load: {' '.join(str(error).split())}"
        raise RuntimeMissingError(requirements.problem(RUNTIMES[name]) or does_not_load) from error
    if problem := requirements.problem(RUNTIMES[name]):
        raise RuntimeMissingError(problem)
    return module
