"""One model and its interpreter: pixels in, verdict out."""

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edge.errors import CoralError, ImageError, ModelError, printable
from edge.imaging import views
from edge.imaging.preprocess import Pixels
from edge.inference.description import LOGIT, Fusion, ModelDescription, Quantisation
from edge.inference.model import Model, is_compiled
from edge.inference.runtime import Interpreter, interpreter, probe
from edge.inference.tflite_check import require_whole
from edge.verdict import UNSURE, Answer, Failure, Verdict, ViewLogit

FLAT_LEVELS = 4  # of 255: the greatest range within a picture of one colour, which JPEG and rescaling add
CERTAIN = 1e-6  # probabilities are clipped to [CERTAIN, 1 - CERTAIN] before their logit is taken


@dataclass(frozen=True)
class Judgement:
    """A network's result for a picture.

    Attributes:
        score: P(REAL), 0-1.
        logits: of the views that it judged, in order: the first views, and the further ones if these were not sure.
    """

    score: float
    logits: tuple[float, ...]

    @property
    def count(self) -> int:
        """The number of views that were judged."""
        return len(self.logits)


class Classifier:
    """A model, its interpreter, and the way from pixels to a verdict. For one thread at a time.

    Attributes:
        model: the model file and its description.
        size: (width, height) of the network's input in pixels.
        views: the crops that the network is shown; None: the whole picture, scaled.
        point: the operating point, between whose two thresholds a picture is UNSURE; None: `model.threshold` alone
            decides.
        threads: number of threads of one invocation.
        input, output: quantisation of the two tensors, as the file has it.
    """

    def __init__(
        self,
        model: Model,
        threads: int = 1,
        runtime: str | None = None,
        delegate: Callable[[], object] | None = None,
        operating_point: str | None = None,
    ) -> None:
        """
        Args:
            threads: number of threads of one invocation.
            runtime: a key of `edge.inference.runtime.RUNTIMES`; None: the first that is installed.
            delegate: opens what computes instead of the processor, see `edge.inference.runtime.load_delegate`.
            operating_point: its name, or `edge.inference.model.NO_UNSURE`; None: the description's default.

        Raises:
            RuntimeMissingError: see `edge.inference.runtime.interpreter`.
            CoralError: the delegate cannot be opened.
            ModelError: the model cannot be run, does not take one RGB image and return one probability, or has no
                such operating point.
        """
        self.threads, self._runtime, self._delegate = threads, runtime, delegate
        self.model, self._operating_point = model, operating_point
        self.point = model.operating_point(operating_point)
        self._interpreter: Interpreter | None = None
        try:
            if not delegate:
                self._require_for_processor()
            opened = self._open()
            self.size, self.input, self.output = signature(opened)
            if model.description:
                _require_as_described(self, model.description)
            else:
                _require_probability(self.output)
        except ModelError as error:
            raise ModelError(f"{printable(model.path)}: {error}") from error
        described = model.description
        self._returns_logit = described is not None and described.output_is == LOGIT
        self._score_limit = described.score_limit if described else 0.0
        self.views = described.views if described else None
        self._fusion = described.fusion if described else None
        self._table = input_of_pixel(self.input)
        self._input_index, self._output_index = (
            details[0]["index"] for details in (opened.get_input_details(), opened.get_output_details())
        )

    def score(self, pixels: Pixels) -> float:
        """P(REAL) of one view by itself, within the description's `score_limit`.

        Args:
            pixels: RGB, uint8, shape (height, width, 3), from `edge.imaging.preprocess.pixels`.

        Raises:
            ModelError: the network failed, or did not return a probability.
            CoralError: the delegate failed; `reopen` may help.
        """
        value = self.run(pixels)
        score = _sigmoid(value) if self._returns_logit else value
        if not 0 <= score <= 1:
            raise ModelError(f"{printable(self.model.path)}: returned {score}, which is not a probability")
        return self._limited(score)

    def judge(self, pixels: Pixels) -> Judgement:
        """P(REAL) of a picture: from its first views, and from the further ones too if the first are not sure.

        Args:
            pixels: RGB of all views, or of the first views alone, uint8, shape (views, height, width, 3), from
                `edge.imaging.views`.

        Raises:
            ModelError, CoralError: see `score`.
        """
        if self.views is None and self._fusion is None and len(pixels) == 1:
            score = self.score(pixels[0])
            return Judgement(score, (_logit(score),))
        logits: list[float] = []
        if self.views is None:
            return self._fuse(pixels, logits)
        judgement = self._fuse(pixels[: self.views.first_count], logits)
        low, high = self.views.further_between
        if len(pixels) > self.views.first_count and low <= judgement.score <= high:
            judgement = self._fuse(pixels[self.views.first_count :], logits)
        return judgement

    def _fuse(self, pixels: Pixels, logits: list[float]) -> Judgement:
        """Append the logits of these views to `logits`, and judge by all of them."""
        logits += [self.logit(view) for view in pixels]
        weights = self.views.weights[: len(logits)] if self.views else (1.0,) * len(logits)
        weighted = sum(weight * logit for weight, logit in zip(weights, logits, strict=True))
        fusion = self._fusion or Fusion()
        fused = fusion.scale * weighted / (sum(weights) or 1.0) + fusion.offset
        return Judgement(self._limited(_sigmoid(fused)), tuple(logits))

    def logit(self, pixels: Pixels) -> float:
        """The logit of one view; `judge` takes the mean of several.

        Args:
            pixels: RGB, uint8, shape (height, width, 3).

        Raises:
            ModelError, CoralError: see `score`.
        """
        value = self.run(pixels)
        if not (math.isfinite(value) if self._returns_logit else 0 <= value <= 1):
            raise ModelError(f"{printable(self.model.path)}: returned {value}, which is not a probability")
        return value if self._returns_logit else _logit(value)

    def _limited(self, score: float) -> float:
        return min(max(score, self._score_limit), 1 - self._score_limit)

    @property
    def interpreter(self) -> Interpreter:
        """The LiteRT interpreter, for measurements. A reference to it keeps the Coral in use, even after `close`.

        Raises:
            CoralError: the classifier is closed.
        """
        if self._interpreter is None:
            raise CoralError(f"{printable(self.model.path)}: the Coral is not open")
        return self._interpreter

    def run(self, pixels: Pixels) -> float:
        """Run the network on one view. Returns a logit or a probability, see the description's `output_is`.

        Args:
            pixels: RGB, uint8, shape (height, width, 3).

        Raises:
            ModelError, CoralError: see `score`.
        """
        opened, reason = self.interpreter, ""
        try:
            opened.set_tensor(self._input_index, self._table.take(pixels)[None])
            opened.invoke()
        except RuntimeError as error:
            reason = f"{printable(self.model.path)}: {' '.join(str(error).split())}"
        if reason:  # raised outside of `except`: the error's frames would hold the interpreter, and it the Coral
            raise CoralError(f"the Coral failed: {reason}") if self._delegate else ModelError(reason)
        value = opened.get_tensor(self._output_index)[0, 0]
        return (int(value) - self.output.zero_point) * self.output.scale if self.output.scale else float(value)

    @property
    def uses_delegate(self) -> bool:
        """Whether a delegate computes. It may have no second user."""
        return self._delegate is not None

    @property
    def is_open(self) -> bool:
        """Whether there is an interpreter: not after `close` or a failed `reopen`."""
        return self._interpreter is not None

    def another(self) -> "Classifier | None":
        """A second classifier of the same model, for another thread; None with a Coral, which has one user."""
        if self._delegate:
            return None
        return Classifier(self.model, self.threads, self._runtime, operating_point=self._operating_point)

    def reopen(self) -> None:
        """Open the delegate again after it has failed.

        Raises:
            CoralError: it cannot be opened (yet).
        """
        self.close()  # a Coral has one user at a time
        self._open()

    def close(self) -> None:
        """Release the delegate for other users. The classifier cannot score any more before `reopen`."""
        self._interpreter = None

    def classify(self, path: str | os.PathLike[str], data: bytes | None = None, *, explain: bool = False) -> Verdict:
        """The verdict on one image file.

        Args:
            path: the file; with `data` given it only names the image.
            data: the file's content, if it has been read already.
            explain: add the place and logit of each view.

        Raises:
            ImageError: the file cannot be read, or is not an acceptable image.
            ModelError, CoralError: see `score`.
        """
        began = time.perf_counter()
        pixels, own_size, _ = views.taken(path, data, self.views, self.size)
        return self.verdict(os.fspath(path), pixels, own_size, time.perf_counter() - began, explain=explain)

    def verdict(
        self, path: str, pixels: Pixels, own_size: tuple[int, int], seconds: float, *, explain: bool = False
    ) -> Verdict:
        """The verdict on an image that has been read and decoded already.

        Args:
            path: the image's name.
            pixels: of its views, see `judge`; or of one view, shape (height, width, 3).
            own_size: the image's own upright (width, height).
            seconds: that reading and decoding took.
            explain: add the place and logit of each view.

        Raises:
            ModelError, CoralError: see `score`.
        """
        began = time.perf_counter()
        judgement = self.judge(pixels if pixels.ndim == 4 else pixels[None])
        score, model, point = judgement.score, self.model, self.point
        is_real = score > model.threshold
        label = model.labels[is_real]
        if point is not None:
            is_sure = (score < point.fake_below or score > point.real_above) and not _is_flat(pixels)
            is_real = score > point.real_above if is_sure else is_real
            label = model.labels[is_real] if is_sure else UNSURE
        likelier = max(score, 1 - score)
        domain = model.description.domain if model.description else None
        explained = None
        if explain:
            places = views.places(own_size, self.views, self.size)
            explained = tuple(map(ViewLogit, places, judgement.logits))
        return Verdict(
            path=path,
            label=label,
            is_real=is_real,
            score=score,
            confidence=likelier if label == UNSURE else score if is_real else 1 - score,
            outside=domain.reason_outside(own_size) if domain else None,
            elapsed_seconds=seconds + time.perf_counter() - began,
            model=model.name,
            explain=explained,
        )

    def answer(self, path: str | os.PathLike[str], data: bytes | None = None, *, explain: bool = False) -> Answer:
        """Like `classify`, but returns a Failure for a bad image.

        Raises:
            ModelError, CoralError: see `score`.
        """
        try:
            return self.classify(path, data, explain=explain)
        except ImageError as error:
            return Failure(os.fspath(path), error.reason)

    def _require_for_processor(self) -> None:
        if is_compiled(self.model.content):
            raise ModelError("compiled for the Edge TPU, runs only on a Coral: use --tpu")
        if self.model.description is None:  # no checksum shows whether the file is intact
            require_whole(self.model.content)
            probe(self.model.content, self._runtime)

    def _open(self) -> Interpreter:
        delegate = self._delegate() if self._delegate else None
        try:
            self._interpreter = interpreter(self.model.content, self.threads, self._runtime, delegate)
        except ModelError as error:
            if delegate is None:
                raise
            # A trial just succeeded, so the Coral was unplugged since. Not `from error`: see `run`.
            reason = str(error)
            raise CoralError(f"the Coral failed: {printable(self.model.path)}: {reason}") from None
        return self._interpreter


def _is_flat(pixels: Pixels) -> bool:
    """Whether no view has any texture, as of a picture of one colour: there is nothing to judge it by."""
    views_ = pixels if pixels.ndim == 4 else pixels[None]
    return all(int(np.ptp(view, axis=(0, 1)).max()) <= FLAT_LEVELS for view in views_)  # most end at the first view


def signature(interpreter: Any) -> tuple[tuple[int, int], Quantisation, Quantisation]:
    """(width, height) of a network's input, and the quantisation of its input and output.

    Raises:
        ModelError: it does not take one RGB image and return one number, or a tensor's type is not supported.
    """
    tensors = (*interpreter.get_input_details(), *interpreter.get_output_details())
    shapes = [tuple(int(n) for n in tensor["shape"]) for tensor in tensors]
    if len(shapes) != 2 or len(shapes[0]) != 4 or shapes[0][::3] != (1, 3) or shapes[1] != (1, 1):
        raise ModelError(f"has the shapes {shapes}; an image classifier has (1, height, width, 3) and (1, 1)")
    return (shapes[0][2], shapes[0][1]), _quantisation(tensors[0]), _quantisation(tensors[1])


def _sigmoid(logit: float) -> float:
    """The logistic function, computed without overflow."""
    odds = math.exp(-abs(logit))
    return 1 / (1 + odds) if logit >= 0 else odds / (1 + odds)


def _logit(probability: float) -> float:
    clipped = min(max(probability, CERTAIN), 1 - CERTAIN)
    return math.log(clipped / (1 - clipped))


def _require_as_described(classifier: Classifier, description: ModelDescription) -> None:
    described = ((description.width, description.height), description.input, description.output)
    if (classifier.size, classifier.input, classifier.output) != described:
        raise ModelError("its description gives another size or quantisation than the file has")


def _require_probability(output: Quantisation) -> None:
    """Refuse a file without description whose output can lie far outside of 0-1: it is not P(REAL)."""
    if output.scale:
        limits = np.iinfo(output.dtype)
        least, greatest = ((int(end) - output.zero_point) * output.scale for end in (limits.min, limits.max))
        if least < -output.scale or greatest > 1 + output.scale:
            raise ModelError(f"its output of {least:.3g} to {greatest:.3g} is not a probability: is its .json missing?")


def _quantisation(tensor: dict[str, Any]) -> Quantisation:
    """The quantisation of a tensor by the interpreter's details."""
    dtype = np.dtype(tensor["dtype"])
    scale, zero_point = tensor["quantization"]
    if dtype not in (np.float32, np.int8, np.uint8) or (dtype != np.float32 and not scale):
        raise ModelError(f"has a {dtype} tensor with quantisation scale {scale}; float32, int8 and uint8 are supported")
    return Quantisation(dtype.name, 0.0 if dtype == np.float32 else float(scale), int(zero_point))


def input_of_pixel(input_: Quantisation) -> npt.NDArray[Any]:
    """The input value of each pixel value 0-255: float32 in [0, 1], or quantised as the input is. Shape (256,).

    One look-up a pixel in this table replaces a conversion, a division, a
    rounding and a clip, and is the same for every dtype.
    """
    value = np.arange(256, dtype=np.float32) / np.float32(255)
    if not input_.scale:
        return value
    limits = np.iinfo(input_.dtype)
    stored = np.rint(value / np.float32(input_.scale)) + input_.zero_point
    quantised: npt.NDArray[Any] = np.clip(stored, limits.min, limits.max).astype(input_.dtype)
    return quantised
