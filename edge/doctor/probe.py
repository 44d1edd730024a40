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
    from edge.imaging.preprocess import Pixels
    from edge.inference.classifier import Classifier
    from edge.inference.model import Domain, Model

SAMPLES = Path(__file__).parent  # real.jpg and fake.jpg: test images of CIFAKE
FORMATS = {"jpg": "JPEG", "zlib": "PNG", "webp": "WebP", "libtiff": "TIFF"}  # Pillow's features, and what they read
GENERATED_SIZE = 640, 480  # of a picture that shows whether a model runs that is not for such samples
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
    from edge.inference.runtime import require_loadable

    require_loadable(name)
    return ""


def models(chosen: str) -> list[dict[str, Any]]:
    """What there is to say of each model: the chosen one, if any, and those that travel with us.

    `is_taken`: whether images go to it; `is_absent`: whether it did not come with this installation.
    """
    from edge.inference import model

    folder, default = model.default_path().parent, model.DEFAULT
    told = [_of_model(Path(chosen), is_ours=False, is_taken=True)] if chosen else []
    for name in model.BUNDLED:
        for path in (folder / name, folder / name.replace("int8", "float16")):
            is_taken = path.name == name and not chosen
            if name == default or any(map(os.path.lexists, (path, model.description_path(path)))):
                told.append(_of_model(path, is_ours=True, is_taken=is_taken))
            elif path.name == name:
                told.append(_told(path, is_absent=True))
    return told


def _of_model(path: Path, *, is_ours: bool, is_taken: bool) -> dict[str, Any]:
    from edge.inference import model

    try:
        loaded = model.load(path)
    except EdgeDetectError as error:
        return _told(path, error=str(error), is_taken=is_taken)
    if is_ours and loaded.description is None:
        return _told(path, error=f"{path}: its description {path.stem}.json is missing", is_taken=is_taken)
    whole = "checksum right" if loaded.description else "no description beside it"
    origin = "came with edge-detect" if is_ours else "chosen"
    found = f"{path.name}, {origin}, {len(loaded.content)} bytes, {whole}{_purpose(loaded)}"
    return _told(path, found=found, is_taken=is_taken)


def _told(
    path: Path, *, found: str = "", error: str = "", is_taken: bool = False, is_absent: bool = False
) -> dict[str, Any]:
    return {"path": str(path), "found": found, "error": error, "is_taken": is_taken, "is_absent": is_absent}


def _purpose(model: "Model") -> str:
    domain = model.description.domain if model.description else None
    if domain is None:
        return ""
    sides = (str(least) if least == most else f"{least}-{most}" for least, most in (domain.width, domain.height))
    return f", for pictures of {' x '.join(sides)} pixels"


def inference(path: str, name: str) -> dict[str, Any]:
    """What a model makes of pictures, see `_answers`."""
    from edge.inference.classifier import Classifier
    from edge.inference.model import load

    return _answers(Classifier(load(Path(path)), 1, name or None))


def coral(path: str, name: str, library: str) -> dict[str, Any]:
    """The same of a model's compiled form, by a Coral."""
    from edge.inference.failover import ANY, classifier

    return _answers(classifier(Path(path), 1, name or None, ANY, library, lambda line: None))


def _answers(classifier: "Classifier") -> dict[str, Any]:
    """The labels that a model gives to the samples, if it is for such thumbnails; else it is shown a generated picture,
    of which nobody can say what it is. With how many views it took of one, and the median of the network's milliseconds
    for a view.
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
    judgement, took = classifier.judge(taken.pixels), []
    for _ in range(TIMES):
        began = time.perf_counter()
        classifier.run(taken.pixels[0])
        took.append(time.perf_counter() - began)
    return {"labels": labels, "views": judgement.count, "milliseconds": statistics.median(took) * 1000}


def _generated(domain: "Domain") -> "Pixels":
    """A gradient of a size that a model was measured on."""
    import numpy as np

    width, height = (
        min(max(usual, least), greatest)
        for usual, (least, greatest) in zip(GENERATED_SIZE, (domain.width, domain.height), strict=True)
    )
    across, down = np.linspace(0, 255, width), np.linspace(0, 255, height)[:, None]
    return np.dstack(np.broadcast_arrays(across, down, (across + down) / 2)).astype(np.uint8)


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
