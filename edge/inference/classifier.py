"""A model at work: pixels in, verdict out."""

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
from edge.inference.model import LOGIT, UNSURE, Fusion, Model, ModelDescription, Quantisation, is_compiled
from edge.inference.runtime import Interpreter, interpreter, probe
from edge.inference.tflite_check import require_whole
from edge.verdict import Answer, Failure, Verdict, ViewLogit

FLAT_LEVELS = 4  # of 255, the most by which a picture of one colour varies: what JPEG and rescaling add
CERTAIN = 1e-6  # a probability nearer to 0 or 1 is taken for this near where its logit is wanted


@dataclass(frozen=True)
class Judgement:
    """What a network says of a picture.

    Attributes:
        score: P(REAL).
        logits: of the views that it was shown, in order: the first views, and the further ones if it was not sure.
    """

    score: float
    logits: tuple[float, ...]

    @property
    def count(self) -> int:
        return len(self.logits)


class Classifier:
    """One interpreter and what surrounds it; not to be shared between threads.

    Attributes:
        size: (width, height) in pixels that the network takes.
        views: what of a picture it takes; None: the whole, scaled.
        point: between whose two thresholds a picture is UNSURE; None: `model.threshold` alone decides.
        threads: that one invocation takes.
        input, output: how the file itself quantises the two tensors.
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
            delegate: takes hold of what computes in the processor's place, see `edge.inference.runtime.load_delegate`.
            operating_point: its name, `edge.inference.model.NO_UNSURE`, or None for the description's default; see
                `edge.inference.model.Model.operating_point`.

        Raises:
            RuntimeMissingError: see `edge.inference.runtime.interpreter`.
            CoralError: there is no such delegate.
            ModelError: the model cannot be run, does not take one RGB image and return one probability, or has other
                operating points.
        """
        self.threads, self._runtime, self._delegate = threads, runtime, delegate
        self.model, self._operating_point = model, operating_point
        self.point = model.operating_point(operating_point)
        self._interpreter: Interpreter | None = None
        try:
            if not delegate:
                self._require_for_processor()
            opened = self._opened()
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
        """P(REAL) of one view by itself, within the limits that the description gives.

        Args:
            pixels: RGB, uint8, shape (height, width, 3), from `edge.imaging.preprocess.pixels`.

        Raises:
            ModelError: the network failed, or returned no probability.
            CoralError: the delegate failed; `reopen` may help.
        """
        value = self.run(pixels)
        score = _sigmoid(value) if self._returns_logit else value
        if not 0 <= score <= 1:
            raise ModelError(f"{printable(self.model.path)}: returned {score}, which is no probability")
        return self._limited(score)

    def judge(self, pixels: Pixels) -> Judgement:
        """P(REAL) of a picture: by its first views, and by the further ones too where those are not sure.

        Args:
            pixels: of all views, shape (views, height, width, 3), from `edge.imaging.views`; or of the first of them.

        Raises:
            ModelError, CoralError: see `score`.
        """
        if self.views is None and self._fusion is None and len(pixels) == 1:
            score = self.score(pixels[0])
            return Judgement(score, (_logit(score),))
        logits: list[float] = []
        if self.views is None:
            return self._judged(pixels, logits)
        judgement = self._judged(pixels[: self.views.first_count], logits)
        low, high = self.views.further_between
        if len(pixels) > self.views.first_count and low <= judgement.score <= high:
            judgement = self._judged(pixels[self.views.first_count :], logits)
        return judgement

    def _judged(self, pixels: Pixels, logits: list[float]) -> Judgement:
        """By these views, and by those whose logits are there already."""
        logits += [self.logit(view) for view in pixels]
        weights = self.views.weights[: len(logits)] if self.views else (1.0,) * len(logits)
        weighted = sum(weight * logit for weight, logit in zip(weights, logits, strict=True))
        fusion = self._fusion or Fusion()
        fused = fusion.scale * weighted / (sum(weights) or 1.0) + fusion.offset
        return Judgement(self._limited(_sigmoid(fused)), tuple(logits))

    def logit(self, pixels: Pixels) -> float:
        """Of one view: what `judge` takes the mean of.

        Raises:
            ModelError, CoralError: see `score`.
        """
        value = self.run(pixels)
        if not (math.isfinite(value) if self._returns_logit else 0 <= value <= 1):
            raise ModelError(f"{printable(self.model.path)}: returned {value}, which is no probability")
        return value if self._returns_logit else _logit(value)

    def _limited(self, score: float) -> float:
        return min(max(score, self._score_limit), 1 - self._score_limit)

    def run(self, pixels: Pixels) -> float:
        """What the network returns for one view: a logit or a probability, see the description's `output_is`.

        Raises:
            ModelError, CoralError: see `score`.
        """
        opened = self._interpreter
        if opened is None:
            raise CoralError(f"{printable(self.model.path)}: the Coral has gone")
        reason = ""
        try:
            opened.set_tensor(self._input_index, self._table.take(pixels)[None])
            opened.invoke()
        except RuntimeError as error:
            reason = f"{printable(self.model.path)}: {' '.join(str(error).split())}"
        if reason:  # raised here, free of the error's frames: they would hold the interpreter, and that the Coral
            raise CoralError(f"the Coral failed: {reason}") if self._delegate else ModelError(reason)
        value = opened.get_tensor(self._output_index)[0, 0]
        return (int(value) - self.output.zero_point) * self.output.scale if self.output.scale else float(value)

    @property
    def uses_delegate(self) -> bool:
        """Whether a delegate computes, which may have no other user."""
        return self._delegate is not None

    @property
    def is_open(self) -> bool:
        """Whether there is an interpreter; after `close`, or a `reopen` that failed, there is none."""
        return self._interpreter is not None

    def another(self) -> "Classifier | None":
        """One more of the same, for another thread; None if there can be no other, for a Coral has one user."""
        if self._delegate:
            return None
        return Classifier(self.model, self.threads, self._runtime, operating_point=self._operating_point)

    def reopen(self) -> None:
        """Take hold of the delegate anew, after it has failed.

        Raises:
            CoralError: it is not there (yet).
        """
        self.close()  # first: a Coral has one user at a time
        self._opened()

    def close(self) -> None:
        """Let go of the delegate, for others to take it; there are no scores any more."""
        self._interpreter = None

    def classify(self, path: str | os.PathLike[str], data: bytes | None = None, *, explain: bool = False) -> Verdict:
        """The verdict on one image file, whose content may be given if it was read already.

        Raises:
            ImageError: the file is unreadable or no acceptable image.
            ModelError, CoralError: see `score`.
        """
        began = time.perf_counter()
        pixels, own_size, _ = views.taken(path, data, self.views, self.size)
        return self.verdict(os.fspath(path), pixels, own_size, time.perf_counter() - began, explain=explain)

    def verdict(
        self, path: str, pixels: Pixels, own_size: tuple[int, int], seconds: float, *, explain: bool = False
    ) -> Verdict:
        """The verdict on an image that was read and decoded already, in so many seconds.

        Args:
            pixels: of its views, see `judge`; or of one view, shape (height, width, 3).
            own_size: the image's own upright (width, height).
            explain: tell of each view.

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
        """Like `classify`, with a bad image as a value: for work that goes on."""
        try:
            return self.classify(path, data, explain=explain)
        except ImageError as error:
            return Failure(os.fspath(path), error.reason)

    def _require_for_processor(self) -> None:
        if is_compiled(self.model.content):
            raise ModelError("compiled for the Edge TPU, and runs on a Coral alone: --tpu")
        if self.model.description is None:  # no checksum says that the file is whole
            require_whole(self.model.content)
            probe(self.model.content, self._runtime)

    def _opened(self) -> Interpreter:
        delegate = self._delegate() if self._delegate else None
        try:
            self._interpreter = interpreter(self.model.content, self.threads, self._runtime, delegate)
        except ModelError as error:
            if delegate is None:
                raise
            # It was tried just before, so the Coral has gone in between. Not `from error`: see `score`.
            reason = str(error)
            raise CoralError(f"the Coral failed: {printable(self.model.path)}: {reason}") from None
        return self._interpreter


def _is_flat(pixels: Pixels) -> bool:
    """Whether no view has any texture, as of a picture of one colour: there is nothing to judge it by."""
    views_ = pixels if pixels.ndim == 4 else pixels[None]
    return all(int(np.ptp(view, axis=(0, 1)).max()) <= FLAT_LEVELS for view in views_)  # most end at the first view


def signature(interpreter: Any) -> tuple[tuple[int, int], Quantisation, Quantisation]:
    """The (width, height) that a network takes, and how its file quantises input and output.

    Raises:
        ModelError: it does not take one RGB image and return one number, or in a type that no model of ours has.
    """
    tensors = (*interpreter.get_input_details(), *interpreter.get_output_details())
    shapes = [tuple(int(n) for n in tensor["shape"]) for tensor in tensors]
    if len(shapes) != 2 or len(shapes[0]) != 4 or shapes[0][::3] != (1, 3) or shapes[1] != (1, 1):
        raise ModelError(f"has the shapes {shapes}; an image classifier has (1, height, width, 3) and (1, 1)")
    return (shapes[0][2], shapes[0][1]), _quantisation(tensors[0]), _quantisation(tensors[1])


def _sigmoid(logit: float) -> float:
    """Of one number; written so that no exponential overflows."""
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
    """A file without description has to return P(REAL): one whose output can lie far outside of 0-1 does not."""
    if output.scale:
        limits = np.iinfo(output.dtype)
        least, greatest = ((int(end) - output.zero_point) * output.scale for end in (limits.min, limits.max))
        if least < -output.scale or greatest > 1 + output.scale:
            raise ModelError(f"its output, {least:.3g} to {greatest:.3g}, is no probability: its .json is missing")


def _quantisation(tensor: dict[str, Any]) -> Quantisation:
    """As the file has it."""
    dtype = np.dtype(tensor["dtype"])
    scale, zero_point = tensor["quantization"]
    if dtype not in (np.float32, np.int8, np.uint8) or (dtype != np.float32 and not scale):
        raise ModelError(f"has a {dtype} tensor with quantisation scale {scale}; float32, int8 and uint8 are supported")
    return Quantisation(dtype.name, 0.0 if dtype == np.float32 else float(scale), int(zero_point))


def input_of_pixel(input_: Quantisation) -> npt.NDArray[Any]:
    """What the network takes for each pixel value 0-255: float32 in [0, 1], or that quantised. Shape (256,).

    A table, because there are only 256 cases: one look-up a pixel replaces a
    conversion, a division, a rounding and a clip, and is the same for every dtype.
    """
    value = np.arange(256, dtype=np.float32) / np.float32(255)
    if not input_.scale:
        return value
    limits = np.iinfo(input_.dtype)
    stored = np.rint(value / np.float32(input_.scale)) + input_.zero_point
    quantised: npt.NDArray[Any] = np.clip(stored, limits.min, limits.max).astype(input_.dtype)
    return quantised
