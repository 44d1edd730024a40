"""Probes that `edge.doctor.host.Host.ask` runs in a process of its own: the libraries may crash, hang or print.

The arguments are the name of a probe and its own; it prints one JSON object, {"answer": ...} or
{"error": "...", "fix": "..."}; an empty fix is unknown.
"""

import json
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge.errors import CoralError, EdgeDetectError

if TYPE_CHECKING:
    from edge.imaging.inputs import Domain
    from edge.imaging.preprocess import Pixels
    from edge.inference.classifier import Classifier
    from edge.inference.model import Model

SAMPLES = Path(__file__).parent  # real.jpg and fake.jpg: test images of CIFAKE
FORMATS = {"jpg": "JPEG", "zlib": "PNG", "webp": "WebP", "libtiff": "TIFF"}  # by the name of Pillow's feature
GENERATED_SIZE = 640, 480  # of the picture for a model that is not for thumbnails like the samples
INVOCATIONS = 9  # whose median time is reported


def module(name: str) -> str:
    """Import a module and return its version; empty if it has none."""
    return str(getattr(import_module(name), "__version__", ""))


def video() -> str:
    """Decode a frame of a generated GIF by PyAV, as `camera` does, and return PyAV's version."""
    from PIL import Image

    from edge.capture.libav import LibavCamera

    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "frames.gif")
        frames = [Image.new("RGB", (64, 64), colour) for colour in ("red", "blue")]
        frames[0].save(path, save_all=True, append_images=frames[1:])
        camera = LibavCamera(path)
        frame = camera.frame()
        size = frame.pixels.shape if frame else None
        camera.close()
    if size != (64, 64, 3):
        raise ValueError(f"a frame of 64 x 64 pixels is decoded to {size}")
    return module("av")


def inotify() -> str:
    """See that a new file in a folder is reported; the answer is empty."""
    from edge.sources.inotify import Inotify

    with tempfile.TemporaryDirectory() as folder, Inotify(folder) as watched:
        watched.add(folder)
        if list(watched.read()):
            raise ValueError("it reports a change where there was none")
        Path(folder, "new").touch()
        if not list(watched.read()):
            raise ValueError("it does not report a new file")
    return ""


def formats() -> dict[str, bool]:
    """Whether this Pillow reads each of FORMATS."""
    from PIL import Image, features

    Image.init()
    return {name: bool(features.check(feature)) for feature, name in FORMATS.items()}


def runtime(name: str) -> str:
    """Load a LiteRT runtime; the answer is empty. Fails if it does not load or does not fit numpy."""
    from edge.inference.runtime import require_loadable

    require_loadable(name)
    return ""


_OURS = "came with edge-detect"


def models(chosen: str) -> list[dict[str, Any]]:
    """A description of each model: of the chosen one, if any, of the installed ones in use, and of the bundled ones.

    `is_taken`: images go to it. `is_absent`: this installation came without it. `is_installed`: by `model pull`.
    """
    import numpy  # noqa: F401  # no model works without

    from edge.inference import model
    from edge.inference.chosen import chosen_paths

    folder, default = model.default_path().parent, model.DEFAULT
    models_found = [_of_model(Path(chosen), origin="chosen", is_taken=True)] if chosen else []
    installed: dict[str, Path] = {}
    try:
        installed = chosen_paths(model.BUNDLED)
    except EdgeDetectError as error:
        models_found.append(_described(Path(), error=str(error), is_taken=not chosen) | {"is_installed": True})
    for path in dict.fromkeys(installed.values()):
        models_found.append(_of_model(path, origin="installed", is_taken=not chosen) | {"is_installed": True})
    for name in model.BUNDLED:
        for path in (folder / name, folder / name.replace("int8", "float16")):
            is_taken = path.name == name and not chosen and name not in installed
            if name == default or any(map(os.path.lexists, (path, model.description_path(path)))):
                models_found.append(_of_model(path, origin=_OURS, is_taken=is_taken))
            elif path.name == name:
                models_found.append(_described(path, is_absent=True))
    return models_found


def _of_model(path: Path, *, origin: str, is_taken: bool) -> dict[str, Any]:
    from edge.inference import model

    try:
        loaded = model.load(path)
    except EdgeDetectError as error:
        return _described(path, error=str(error), is_taken=is_taken)
    if origin == _OURS and loaded.description is None:
        return _described(path, error=f"{path}: its description {path.stem}.json is missing", is_taken=is_taken)
    whole = "checksum right" if loaded.description else "no description beside it"
    found = f"{path.name}, {origin}, {len(loaded.content)} bytes, {whole}{_purpose(loaded)}"
    return _described(path, found=found, is_taken=is_taken)


def _described(
    path: Path, *, found: str = "", error: str = "", is_taken: bool = False, is_absent: bool = False
) -> dict[str, Any]:
    described = {"path": str(path), "found": found, "error": error, "is_taken": is_taken, "is_absent": is_absent}
    return described | {"is_installed": False}


def _purpose(model: "Model") -> str:
    domain = model.description.domain if model.description else None
    if domain is None:
        return ""
    sides = (str(least) if least == most else f"{least}-{most}" for least, most in (domain.width, domain.height))
    return f", for pictures of {' x '.join(sides)} pixels"


def inference(path: str, name: str) -> dict[str, Any]:
    """Run a model on pictures, see `_answers`."""
    from edge.inference.classifier import Classifier
    from edge.inference.model import load

    return _answers(Classifier(load(Path(path)), 1, name or None))


def coral(path: str, name: str, library: str) -> dict[str, Any]:
    """Run the compiled form of a model on a Coral, see `_answers`."""
    from edge.inference.failover import ANY, classifier

    return _answers(classifier(Path(path), 1, name or None, ANY, library))


def _answers(classifier: "Classifier") -> dict[str, Any]:
    """The labels of the sample images, the number of views of one, and the median milliseconds of an invocation.

    There are no labels if the model is not for such thumbnails: it runs on a generated picture then, whose right label
    nobody knows.
    """
    from edge.imaging import preprocess, views

    samples = {label: SAMPLES / f"{label.lower()}.jpg" for label in ("REAL", "FAKE")}
    domain = classifier.model.description.domain if classifier.model.description else None
    labels = {}
    if domain is None or domain.reason_outside(preprocess.pixels_and_size(samples["REAL"], (1, 1))[1]) is None:
        labels = {label: classifier.classify(path).label for label, path in samples.items()}
        taken = views.taken(samples["REAL"], None, classifier.views, classifier.size)
    else:
        taken = views.of_frame(_generated(domain), classifier.views, classifier.size)
    judgement, seconds = classifier.judge(taken.pixels), []
    for _ in range(INVOCATIONS):
        began = time.perf_counter()
        classifier.run(taken.pixels[0])
        seconds.append(time.perf_counter() - began)
    return {"labels": labels, "views": judgement.count, "milliseconds": statistics.median(seconds) * 1000}


def _generated(domain: "Domain") -> "Pixels":
    """A colour gradient in a size of the model's domain: RGB, uint8, shape (height, width, 3)."""
    import numpy as np

    width, height = (
        min(max(usual, least), greatest)
        for usual, (least, greatest) in zip(GENERATED_SIZE, (domain.width, domain.height), strict=True)
    )
    across, down = np.linspace(0, 255, width), np.linspace(0, 255, height)[:, None]
    return np.dstack(np.broadcast_arrays(across, down, (across + down) / 2)).astype(np.uint8)


def picamera2() -> list[str]:
    """The names of the cameras that libcamera lists."""
    library = import_module("picamera2")
    return [str(camera.get("Model", camera.get("Id", "?"))) for camera in library.Picamera2.global_camera_info()]


PROBES: dict[str, Callable[..., Any]] = {
    probe.__name__: probe for probe in (module, video, inotify, formats, runtime, models, inference, coral, picamera2)
}


def main() -> None:
    """Run the probe that the command line names."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a crash is expected; its core dump would fill the card
    with os.fdopen(os.dup(1), "w", encoding="ascii") as answers:
        os.dup2(2, 1)  # what libraries print must not mix with the answer
        name, *arguments = sys.argv[1:]
        try:
            reply = {"answer": PROBES[name](*arguments)}
        except (
            EdgeDetectError,
            ImportError,
            OSError,
            AttributeError,
            RuntimeError,
            ValueError,
            MemoryError,
        ) as error:
            cause: BaseException = error
            fix = error.fix if isinstance(error, CoralError) else ""
            while isinstance(error, ImportError) and cause.__cause__ is not None:  # numpy wraps it in advice
                cause = cause.__cause__
            text = error.reason if isinstance(error, CoralError) else str(cause).strip()
            reply = {"error": text or type(cause).__name__, "fix": fix}
        json.dump(reply, answers)
    os._exit(0)  # a library that did not load completely may hang at the exit of the interpreter
