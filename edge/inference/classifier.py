"""One model and its interpreter: pixels in, verdict out."""

import math
import os
import time
from collections.abc import Callable

from edge.errors import CoralError, ImageError, ModelError, printable
from edge.imaging import views
from edge.imaging.preprocess import Pixels
from edge.inference.description import LOGIT, Fusion, ModelDescription
from edge.inference.model import Model, is_compiled
from edge.inference.runtime import Interpreter, interpreter, probe
from edge.inference.tensors import InputValues, require_probability, signature
from edge.inference.tflite_check import require_whole
from edge.records import dataclass
from edge.verdict import UNSURE, Answer, Failure, Verdict, ViewLogit

FLAT_LEVELS = 4  # of 255: the greatest range within a picture of one colour, which JPEG and rescaling add
CERTAIN = 1e-6  # probabilities are clipped to [CERTAIN, 1 - CERTAIN] before their logit is taken


Further = Callable[[], Pixels]  # cuts the further views of a picture, which few pictures need


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
        self.model = model
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
                require_probability(self.output)
        except ModelError as error:
            raise ModelError(f"{printable(model.path)}: {error}") from error
        described = model.description
        self._returns_logit = described is not None and described.output_is == LOGIT
        self._score_limit = described.score_limit if described else 0.0
        self._domain = described.domain if described else None
        self._name, self._labels, self._threshold = model.name, model.labels, model.threshold
        self.views = described.views if described else None
        self._first_count, self._weights = (self.views.first_count, self.views.weights) if self.views else (0, ())
        self._fusion = described.fusion if described else None
        self._inputs = InputValues(self.size, self.input)
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

    def judge(self, pixels: Pixels, further: Further | None = None) -> Judgement:
        """P(REAL) of a picture: from its first views, and from the further ones too if the first are not sure.

        Args:
            pixels: RGB of all views, or of the first views alone, uint8, shape (views, height, width, 3), from
                `edge.imaging.views`.
            further: returns the further views, if `pixels` are the first ones alone; called only if they are needed,
                and again if the picture is judged again.

        Raises:
            ModelError, CoralError: see `score`.
            Exception: whatever `further` raises.
        """
        if self.views is None:
            if self._fusion is None and len(pixels) == 1:
                score = self.score(pixels[0])
                return Judgement(score, (_logit(score),))
            return self._fused(list(map(self.logit, pixels)), (1.0,) * len(pixels))
        count = self._first_count
        logits = list(map(self.logit, pixels[:count]))
        judgement = self._fused(logits, self._weights[: len(logits)])
        low, high = self.views.further_between
        if low <= judgement.score <= high:
            if len(pixels) > count:
                logits += map(self.logit, pixels[count:])
            elif further is not None and self.views.further:
                logits += map(self.logit, further())
            else:
                return judgement
            judgement = self._fused(logits, self._weights[: len(logits)])
        return judgement

    def _fused(self, logits: list[float], weights: tuple[float, ...]) -> Judgement:
        """Judge by the logits of some views."""
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
            opened.set_tensor(self._input_index, self._inputs.of(pixels))
            opened.invoke()
        except RuntimeError as error:
            reason = f"{printable(self.model.path)}: {' '.join(str(error).split())}"
        if reason:  # raised outside of `except`: the error's frames would hold the interpreter, and it the Coral
            raise CoralError(f"the Coral failed: {reason}") if self._delegate else ModelError(reason)
        value: float = opened.get_tensor(self._output_index).item()
        return (value - self.output.zero_point) * self.output.scale if self.output.scale else value

    @property
    def uses_delegate(self) -> bool:
        """Whether a delegate computes. It may have no second user."""
        return self._delegate is not None

    @property
    def is_open(self) -> bool:
        """Whether there is an interpreter: not after `close` or a failed `reopen`."""
        return self._interpreter is not None

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
        picture = views.taken_lazily(path, data, lambda _: (self.views, self.size))
        pixels, seconds = picture.first(), time.perf_counter() - began
        return self.verdict(
            os.fspath(path), pixels, picture.own_size, seconds, explain=explain, further=picture.further
        )

    def verdict(
        self,
        path: str,
        pixels: Pixels,
        own_size: tuple[int, int],
        seconds: float,
        *,
        explain: bool = False,
        further: Further | None = None,
    ) -> Verdict:
        """The verdict on an image that has been read and decoded already.

        Args:
            path: the image's name.
            pixels: of its views, see `judge`; or of one view, shape (height, width, 3).
            own_size: the image's own upright (width, height).
            seconds: that reading and decoding took.
            explain: add the place and logit of each view.
            further: see `judge`; also called if the first views have no texture.

        Raises:
            ModelError, CoralError: see `score`.
            Exception: whatever `further` raises.
        """
        began = time.perf_counter()
        shown = pixels if pixels.ndim == 4 else pixels[None]
        judgement = self.judge(shown, further)
        score, point = judgement.score, self.point
        is_real = score > self._threshold
        label = self._labels[is_real]
        if point is not None:
            is_sure = score < point.fake_below or score > point.real_above
            is_sure = is_sure and not (_is_flat(shown) and self._is_rest_flat(shown, further))
            is_real = score > point.real_above if is_sure else is_real
            label = self._labels[is_real] if is_sure else UNSURE
        explained = None
        if explain:
            places = views.places(own_size, self.views, self.size)
            explained = tuple(map(ViewLogit, places, judgement.logits))
        return Verdict(
            path=path,
            label=label,
            is_real=is_real,
            score=score,
            confidence=max(score, 1 - score) if label == UNSURE else score if is_real else 1 - score,
            outside=self._domain.reason_outside(own_size) if self._domain else None,
            elapsed_seconds=seconds + time.perf_counter() - began,
            model=self._name,
            explain=explained,
        )

    def _is_rest_flat(self, pixels: Pixels, further: Further | None) -> bool:
        """Whether the further views, if these pixels are the first ones alone, have no texture either."""
        has_more = self.views is not None and self.views.further and len(pixels) == self._first_count
        return not has_more or further is None or _is_flat(further())

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
    """Whether no view has any texture, as of a picture of one colour: there is nothing to judge it by.

    Args:
        pixels: shape (views, height, width, 3).
    """
    return all(map(_is_flat_view, pixels))  # most end at the first view


def _is_flat_view(pixels: Pixels) -> bool:
    height, width, _ = pixels.shape
    if (
        abs(pixels.item(0) - pixels.item((height // 2, width // 2, 0))) > FLAT_LEVELS
    ):  # of nearly all: a corner, the middle
        return False
    rows = pixels.reshape(height, -1)  # rows before channels: numpy compares long rows much faster than short ones
    most, least = rows.max(axis=0).reshape(width, 3).max(axis=0), rows.min(axis=0).reshape(width, 3).min(axis=0)
    return int((most - least).max()) <= FLAT_LEVELS


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
