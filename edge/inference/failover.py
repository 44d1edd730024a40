"""A network on a Coral, tried beforehand in a process of its own."""

import json
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from edge.errors import CoralError, printable
from edge.inference import edgetpu_fixes
from edge.inference.classifier import Classifier
from edge.inference.edgetpu import (
    LIBRARY,
    PCI,
    compiled_path,
    device_option,
    has_pycoral,
    library,
    plain_path,
    require_device,
)
from edge.inference.model import Model, default_path, description_path, is_compiled, load
from edge.inference.runtime import installed, load_delegate
from edge.process.command import Finished
from edge.process.isolated import Crashed, TimedOut, run_isolated

ANY, AUTO = "any", "auto"
# Half of the time after which systemd takes a service for dead (WatchdogSec= of our units): nothing else is done then.
TRIAL_SECONDS = 30.0
# A stick that another process has just let go of may be missing for a moment.
ATTEMPTS, PAUSE_SECONDS = 5, 1.0

# Prints the reason and the fix if it fails.
_TRY = """
import json, sys
from edge.inference.failover import Accelerator
from edge.errors import EdgeDetectError
from edge.inference.runtime import interpreter
device, library, runtime = sys.argv[1:]
try:
    delegate = Accelerator(device, library).delegate(runtime)
    interpreter(sys.stdin.buffer.read(), runtime=runtime, delegate=delegate).invoke()
except (EdgeDetectError, RuntimeError) as error:
    print(json.dumps([getattr(error, "reason", str(error)), getattr(error, "fix", "")]))
    sys.exit(1)
"""


@dataclass(frozen=True)
class Accelerator:
    """A Coral by way of its library, or another delegate in its place.

    Attributes:
        device: as `edge.inference.edgetpu.device_option` returns it.
        library: a name for the loader, or a path. Another than Google's finds its devices by itself.
        trial_seconds: how long it may take to start.
    """

    device: str = ""
    library: str = LIBRARY
    trial_seconds: float = TRIAL_SECONDS

    def require(self, model: Model, runtime: str | None = None) -> None:
        """See that this model runs on it; to be called while nothing holds it.

        Raises:
            RuntimeMissingError: see `edge.inference.runtime.interpreter`.
            CoralError: something is missing, or does not work; with what to do.
        """
        if not is_compiled(model.content):
            raise CoralError(f"{printable(model.path)}: not compiled for the Edge TPU", _how_to_compile(model.path))
        name = installed(runtime)
        is_googles = self.library == LIBRARY
        device = require_device(self.device) if is_googles else None
        library(self.library, name)
        try:
            done = run_isolated(
                _TRY, self.device, self.library, name, content=model.content, seconds=self.trial_seconds
            )
        except Crashed as error:
            reason = f"the Coral cannot be used: {printable(self.library)} crashes the runtime ({error})"
            fix = edgetpu_fixes.library(name) if is_googles else f"use a library that was built for {name}"
            raise CoralError(f"{reason}, as it does if it was built for another runtime than {name}", fix) from error
        except TimedOut as error:
            fix = edgetpu_fixes.no_answer(is_card=device is not None and device.kind == PCI)
            raise CoralError(f"the Coral does not answer within {self.trial_seconds:.0f} s", fix) from error
        if done.status:
            reason, fix = _failure(done, name)
            raise CoralError(f"{printable(model.path)}: does not run on the Coral: {reason}", fix)

    def delegate(self, runtime: str | None = None) -> object:
        """Take hold of it.

        Raises:
            RuntimeMissingError, CoralError: see `edge.inference.runtime.load_delegate`.
        """
        options = {"device": self.device} if self.device else {}
        # pycoral does what we do; where it is, it may know better which library is its own. It is tflite-runtime's.
        if self.library == LIBRARY and installed(runtime) == "tflite-runtime" and has_pycoral():
            try:
                from pycoral.utils.edgetpu import load_edgetpu_delegate
            except ImportError:  # one for another Python
                return load_delegate(self.library, options, runtime)
            try:
                delegate: object = load_edgetpu_delegate(options)
            except (OSError, ValueError) as error:
                reason = printable(" ".join(str(error).split()))
                raise CoralError(f"pycoral cannot open the Coral: {reason}", edgetpu_fixes.opening()) from error
            return delegate
        return load_delegate(self.library, options, runtime)

    def taken(self, model: Model, runtime: str | None = None) -> object:
        """What a Classifier calls: `require`, then `delegate`.

        Raises:
            RuntimeMissingError, CoralError: see there.
        """
        self.require(model, runtime)
        for _ in range(ATTEMPTS - 1):
            try:
                return self.delegate(runtime)
            except CoralError:
                time.sleep(PAUSE_SECONDS)
        return self.delegate(runtime)


def classifier(
    path: Path | None,
    threads: int,
    runtime: str | None,
    tpu: str,
    library: str | None,
    operating_point: str | None = None,
) -> Classifier:
    """A classifier on a Coral.

    Args:
        path: of a model or of its compiled form; None is the default model.
        tpu: which Coral: ANY or AUTO, or a device of `edge.inference.edgetpu.device_option`.
        library: None is Google's.
        operating_point: see `edge.inference.classifier.Classifier`.

    Raises:
        RuntimeMissingError, ModelError: see `edge.inference.classifier.Classifier`.
        CoralError: something is missing, or does not work; with what to do.
    """
    path = path or default_path()
    device = "" if tpu in (ANY, AUTO) else device_option(tpu)
    assert device is not None  # the command line has seen to that
    accelerator = Accelerator(device, library or LIBRARY)
    model = load_compiled(path)
    return Classifier(model, threads, runtime, partial(accelerator.taken, model, runtime), operating_point)


def load_compiled(path: Path) -> Model:
    """The compiled form of a model, described by its own JSON or by that of the model that it was made of.

    Args:
        path: of either.

    Raises:
        CoralError: there is none.
        ModelError: see `edge.inference.model.load`.
    """
    compiled = compiled_path(path)
    if not compiled.exists():
        raise CoralError(f"{printable(compiled)}: there is no such file", _how_to_compile(path))
    model = load(compiled)
    if model.description or not description_path(plain_path(path)).exists():
        return model
    origin = load(plain_path(path)).description
    return replace(model, description=replace(origin, name=compiled.stem, sha256=model.sha256) if origin else None)


def _failure(done: Finished, runtime: str) -> tuple[str, str]:
    """(reason, fix) of a trial that failed."""
    try:
        reason, fix = json.loads(done.output.strip().rpartition("\n")[2])
    except ValueError:
        reason, fix = done.last_line or f"a trial ended with status {done.status}", ""
    return printable(" ".join(reason.split())), printable(fix) or edgetpu_fixes.running(reason, runtime)


def _how_to_compile(path: Path) -> str:
    name = printable(plain_path(path).name)
    return f"run `edgetpu_compiler {name}` on an x86-64 computer, and put what it writes beside {name}"
