"""The way in for other programs: `from edge import Classifier`.

It gives the verdicts that `edge-detect classify` gives, of files and of pictures in memory.

One lock guards the models, and there is one interpreter for each model, however many threads call. Reading and
decoding are done outside of the lock, so threads do them at the same time; only the networks take turns. An
interpreter a thread would cost memory for every thread that ever called, and a Coral has one user anyway.
"""

import os
import threading
import time
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from edge.errors import CoralError, UndecodableImageError, UnreadableFileError, printable
from edge.imaging import modes, preprocess, reasons, turning, views
from edge.imaging.inputs import Input, choose, take
from edge.inference.edgetpu import tpu_choice
from edge.inference.router import Router, router
from edge.provenance.read import evidence
from edge.verdict import Evidence, Verdict

# What can be classified: a file's path, a file's content, an opened picture, or RGB pixels of shape (height, width, 3).
# These are uint8, which is seen when they come: the types of most libraries of pictures do not tell.
Source = str | os.PathLike[str] | bytes | Image.Image | npt.NDArray[Any]


class Classifier:
    """The bundled models, or one of your own, ready to classify; any number of threads may use it."""

    def __init__(self, models: Router) -> None:
        """For `load`, which other programs call.

        Raises:
            ModelError, RuntimeMissingError, CoralError: see `load`.
        """
        models.classifier()  # a mistake shows at once, and not when the first image comes
        self._inputs = models.inputs
        self._models: Router | None = models
        self._lock = threading.Lock()

    @classmethod
    def load(cls, model: str | os.PathLike[str] | None = None, tpu: str | int | bool | None = None) -> "Classifier":
        """Read the models.

        Args:
            model: a .tflite file for every image; None: the bundled model for the image's size.
            tpu: which Coral runs them, as `--tpu` has it: "usb", "pci", "usb:1", a number from 0 on, True or "any" for
                any; "auto" falls back to the processor, and the logger "edge" warns then. None or False: the processor.

        Raises:
            ModelError: a model file is missing, damaged or no image classifier.
            RuntimeMissingError: no LiteRT runtime is installed.
            CoralError: `tpu` names no Coral, or that cannot be used.
            TypeError: an argument has another type.
        """
        path = None if model is None else Path(model)
        return cls(router(path, tpu=_device(tpu)))

    def classify(self, image: Source) -> Verdict:
        """The verdict on one image.

        Args:
            image: the path of a file; the content of a file; a Pillow image; or an RGB uint8 array of shape
                (height, width, 3). `Verdict.path` is the path, or else <bytes>, <image> or <array>.

        Raises:
            ImageError: it cannot be read, or is no acceptable image.
            ModelError, RuntimeMissingError: its model cannot be had, or has failed.
            CoralError: the Coral has failed; the next call opens it again.
            TypeError: it is none of these.
            ValueError: the classifier is closed.
        """
        self._require_open()
        began = time.perf_counter()
        name, (chosen, pixels, own_size), provenance = self._taken(image)
        seconds = time.perf_counter() - began
        with self._lock:
            models = self._require_open()
            try:
                verdict = models.verdict(name, pixels, own_size, seconds, model=chosen.model)
                return models.with_provenance(verdict, provenance, chosen.model)
            except CoralError:
                models.close()
                raise

    def close(self) -> None:
        """Let go of the models, and of the Coral for others to take it; closing once more does nothing."""
        with self._lock:
            if self._models is not None:
                self._models.close()
            self._models = None

    def __enter__(self) -> "Classifier":
        self._require_open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _require_open(self) -> Router:
        if self._models is None:
            raise ValueError("the classifier is closed")
        return self._models

    def _taken(self, image: Source) -> tuple[str, tuple[Input, preprocess.Pixels, views.Size], tuple[Evidence, ...]]:
        """The image's name, what its model takes of it, and what its file says of itself; needs no lock."""
        if isinstance(image, Image.Image):
            return "<image>", self._of_picture("<image>", image), ()
        if isinstance(image, np.ndarray):
            return "<array>", self._of_picture("<array>", _picture(image)), ()
        if isinstance(image, bytes):
            name, data = "<bytes>", image
        else:
            name = _name(image)
            data = preprocess.read(name)
        chosen, taken = take(name, data, partial(choose, inputs=self._inputs))
        return name, (chosen, taken.pixels, taken.own_size), evidence(data)

    def _of_picture(self, name: str, picture: Image.Image) -> tuple[Input, preprocess.Pixels, views.Size]:
        """What its model takes of a picture that is not decoded here."""
        if not all(picture.size):
            raise UndecodableImageError(name, "the picture has no pixels")
        try:
            picture.load()
            orientation = 1 if picture.format == "TIFF" else turning.of(picture)  # Pillow turns a TIFF
            own_size = turning.as_stored(picture.size, orientation)
            chosen = choose(own_size, self._inputs)
            if chosen.views is None:
                whole = preprocess.whole(preprocess.Loaded(picture, own_size, orientation), chosen.size)
                return chosen, np.asarray(whole)[None], own_size
            rgb = modes.rgb(modes.scalable(turning.turned(picture, orientation)))
            return chosen, views.of_frame(np.asarray(rgb), chosen.views, chosen.size).pixels, own_size
        except MemoryError as error:
            raise UnreadableFileError(name, "not enough memory to prepare it") from error
        except reasons.DECODER_ERRORS as error:
            reason = printable(" ".join(str(error).split()))
            raise UndecodableImageError(name, reason or "damaged image data") from error


def _name(image: object) -> str:
    name = os.fspath(image) if isinstance(image, str | os.PathLike) else None
    if not isinstance(name, str):
        raise TypeError(f"a path, bytes, a Pillow image or a uint8 array is wanted, not {_type(image)}")
    return name


def _picture(pixels: npt.NDArray[Any]) -> Image.Image:
    if pixels.dtype != np.uint8:
        raise TypeError(f"an array of uint8 is wanted, not of {pixels.dtype}")
    if pixels.ndim != 3 or pixels.shape[2] != 3:
        raise UndecodableImageError("<array>", f"has the shape {pixels.shape}; RGB has (height, width, 3)")
    if not pixels.size:
        raise UndecodableImageError("<array>", "the picture has no pixels")
    return Image.fromarray(np.ascontiguousarray(pixels))


def _device(tpu: object) -> str | None:
    """What `edge.inference.router.router` takes, of what the option `--tpu` takes."""
    if tpu is None:
        return None
    if not isinstance(tpu, str | int):
        raise TypeError(f"tpu is a text, a number, True, False or None, not {_type(tpu)}")
    try:
        return tpu_choice(tpu)
    except ValueError as error:
        raise CoralError(f"tpu={error}") from error


def _type(value: object) -> str:
    return type(value).__qualname__
