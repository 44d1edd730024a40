"""Questions that a process of its own answers, because what it has to load may crash, hang, or talk on its streams.

`python -m edge.doctor.probe QUESTION ARGUMENT...` prints one JSON object: {"answer": ...} or {"error": "..."}.
"""

import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge.errors import EdgeDetectError

if TYPE_CHECKING:
    from edge.classifier import Classifier

SAMPLES = Path(__file__).parent  # real.jpg and fake.jpg: test images of CIFAKE
FORMATS = {"jpg": "JPEG", "zlib": "PNG", "webp": "WebP", "libtiff": "TIFF"}  # Pillow's features, and what they read
TIMES = 9


def module(name: str) -> str:
    """The version of a module that loads."""
    return str(getattr(import_module(name), "__version__", ""))


def formats() -> dict[str, bool]:
    """Which formats Pillow reads here."""
    from PIL import Image, features

    Image.init()
    return {name: bool(features.check(feature)) for feature, name in FORMATS.items()}


def runtime(name: str) -> str:
    """Nothing, if a LiteRT runtime loads and fits numpy."""
    from edge.interpreter import require_loadable

    require_loadable(name)
    return ""


def models(chosen: str) -> list[dict[str, str]]:
    """What there is to say against each model: the chosen one, if any, and those that came with us."""
    from edge import model

    default = model.default_path()
    bundled = [default, default.with_name(default.name.replace("int8", "float16"))]
    told = []
    for path in ([Path(chosen)] if chosen else []) + bundled:
        try:
            loaded = model.load(path)
            what = f"{path.name}, {len(loaded.content)} bytes, " + (
                "checksum right" if loaded.description else "no description beside it"
            )
            told.append({"path": str(path), "found": what, "error": ""})
        except EdgeDetectError as error:
            told.append({"path": str(path), "found": "", "error": str(error)})
    return told


def inference(chosen: str, name: str) -> dict[str, Any]:
    """The labels that a model gives to the two samples, with the median of the network's milliseconds."""
    from edge.classifier import Classifier
    from edge.model import load

    return _answers(Classifier(load(Path(chosen) if chosen else None), 1, name or None))


def coral(chosen: str, name: str, library: str) -> dict[str, Any]:
    """The same of a model's compiled form, by a Coral."""
    from edge.accelerated import ANY, classifier

    path = Path(chosen) if chosen else None
    return _answers(classifier(path, 1, name or None, ANY, library, lambda line: None))


def _answers(classifier: "Classifier") -> dict[str, Any]:
    from edge import image

    labels = {label: classifier.classify(SAMPLES / f"{label.lower()}.jpg").label for label in ("REAL", "FAKE")}
    pixels = image.pixels(SAMPLES / "real.jpg", classifier.size)
    took = []
    for _ in range(TIMES):
        began = time.perf_counter()
        classifier.score(pixels)
        took.append(time.perf_counter() - began)
    return {"labels": labels, "milliseconds": statistics.median(took) * 1000}


def picamera2() -> list[str]:
    """The names of the cameras that libcamera finds."""
    library = import_module("picamera2")
    return [str(camera.get("Model", camera.get("Id", "?"))) for camera in library.Picamera2.global_camera_info()]


QUESTIONS: dict[str, Callable[..., Any]] = {
    question.__name__: question for question in (module, formats, runtime, models, inference, coral, picamera2)
}


def main() -> None:
    """Answer the question of the command line."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a crash is expected here, and its picture fills the card
    with os.fdopen(os.dup(1), "w", encoding="ascii") as answers:
        os.dup2(2, 1)  # what libraries have to say is not the answer
        question, *arguments = sys.argv[1:]
        try:
            told = {"answer": QUESTIONS[question](*arguments)}
        except (EdgeDetectError, ImportError, OSError, AttributeError, RuntimeError, ValueError) as error:
            cause: BaseException = error
            while isinstance(error, ImportError) and cause.__cause__ is not None:  # numpy wraps it in a page of advice
                cause = cause.__cause__
            told = {"error": str(cause).strip() or type(cause).__name__}
        json.dump(told, answers)


if __name__ == "__main__":
    main()
