"""Several models, each for its own images.

A model is read when the first image goes to it. Before that only its description
is read, and not even that while the models before it take every image.
"""

import contextlib
import hashlib
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from edge import requirements
from edge.errors import CoralError, ImageError, ModelError, UnreadableFileError, printable
from edge.imaging import preprocess
from edge.imaging.inputs import Input, choose, take_lazily
from edge.imaging.preprocess import Pixels
from edge.inference.description import ModelDescription
from edge.inference.model import bundled_paths, described, load
from edge.provenance.read import evidence
from edge.records import dataclass
from edge.verdict import GENERATED, Answer, Evidence, Failure, Verdict

if TYPE_CHECKING:  # it needs numpy, and a router may be used without a classifier, see `elsewhere`
    from edge.inference.classifier import Classifier, Further

_log = logging.getLogger(__name__)

# Makes the classifier of a model file; the description is given if it has been read already.
Make = Callable[[Path, ModelDescription | None], "Classifier"]


@dataclass()
class _Slot:
    """One of the models.

    Attributes:
        path: of the model file.
        description, input, classifier: None until they are needed.
    """

    path: Path
    description: ModelDescription | None = None
    input: Input | None = None
    classifier: "Classifier | None" = None


class Router:
    """An ordered list of models; each image goes to one of them. For one thread at a time.

    Attributes:
        trusts_provenance: whether a verified statement that an image was generated decides the label.
        threads: number of threads of each model.
        runtime: a key of `edge.inference.runtime.RUNTIMES`; None: the first that is installed.
    """

    trusts_provenance = False
    threads = 1
    runtime: str | None = None

    def __init__(
        self,
        paths: Sequence[Path],
        make: Make,
        make_elsewhere: Make | None = None,
        make_fallback: Make | None = None,
    ) -> None:
        """
        Args:
            paths: of the model files, at least one. A single one gets every image.
            make: makes the classifier of a model file when it is first needed.
            make_elsewhere: the same in other processes, without a Coral; can be pickled. None: there is none.
            make_fallback: makes the classifier that takes over, for good, when a Coral is missing or fails; None: a
                CoralError is raised.
        """
        self._slots = [_Slot(path) for path in paths]
        self._make, self._make_elsewhere, self._make_fallback = make, make_elsewhere, make_fallback
        self._latest = 0  # index of the model that was used last

    @classmethod
    def of(cls, *classifiers: "Classifier") -> "Router":
        """A router of existing classifiers."""
        router = cls([one.model.path for one in classifiers], _of_processor(1, None, None))
        for slot, classifier in zip(router._slots, classifiers, strict=True):
            slot.classifier = classifier
        return router

    @property
    def inputs(self) -> tuple[Input, ...]:
        """The inputs of all models, for `edge.imaging.inputs`; can be pickled.

        Raises:
            ModelError, RuntimeMissingError, CoralError: a description cannot be read, or a model without description.
        """
        return tuple(self._inputs())

    @property
    def labels(self) -> tuple[str, str]:
        """The labels of score 0 and of score 1 of the first model; a verdict may also be UNSURE.

        Raises:
            ModelError, RuntimeMissingError, CoralError: see `inputs`.
        """
        self._input(0)
        slot = self._slots[0]
        return slot.description.labels if slot.description else self.classifier(0).model.labels

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the model files, without their endings."""
        return tuple(slot.path.stem for slot in self._slots)

    def check(self) -> None:
        """Read the model files that no image has needed yet, and check them for damage.

        Raises:
            ModelError, RuntimeMissingError, CoralError: one is damaged; or see `inputs`.
        """
        for slot, _ in zip(self._slots, self._inputs(), strict=True):
            if slot.classifier is None and slot.path.exists():  # a compiled model may lie there without its plain form
                load(slot.path, slot.description)

    @property
    def digests(self) -> frozenset[str]:
        """SHA-256 of every model in use, and of its compiled or plain form if that lies beside it.

        Raises:
            ModelError, RuntimeMissingError, CoralError: see `inputs`.
        """
        from edge.inference.edgetpu import compiled_path, plain_path

        found = set(map(self.sha256, range(len(self._slots))))
        for slot in self._slots:
            for path in (plain_path(slot.path), compiled_path(slot.path)):
                with contextlib.suppress(UnreadableFileError):
                    found.add(hashlib.sha256(preprocess.read(path)).hexdigest())
        return frozenset(found)

    def sha256(self, model: int = 0) -> str:
        """SHA-256 of the file of a model; before the model is read, from its description.

        Raises:
            ModelError, RuntimeMissingError, CoralError: see `inputs`.
        """
        self._input(model)
        slot = self._slots[model]
        if slot.classifier is not None:
            return slot.classifier.model.sha256
        assert slot.description is not None  # `_input` has made the classifier of a model without description
        return slot.description.sha256

    def choose(self, own_size: tuple[int, int]) -> Input:
        """The input of the model for an image of this upright (width, height).

        Raises:
            ModelError, RuntimeMissingError, CoralError: see `inputs`.
        """
        return choose(own_size, self._inputs())

    def classifier(self, model: int = 0) -> "Classifier":
        """The classifier of a model, made at the first call.

        Raises:
            ModelError, RuntimeMissingError, CoralError: the model cannot be opened.
        """
        self._latest, slot = model, self._slots[model]
        if slot.classifier is not None and slot.classifier.is_open:
            return slot.classifier
        self._close_others(slot)
        if slot.classifier is not None:
            self.reopen()
            return slot.classifier
        try:
            slot.classifier = self._make(slot.path, slot.description)
        except CoralError as error:
            slot.classifier = self._fallback(slot, error)
        return slot.classifier

    def elsewhere(self) -> "Callable[[], Router] | None":
        """Makes a router of the same models in another process, can be pickled; None with a Coral, which has one user.

        None also for a router of existing classifiers; and, if a Coral was asked for, before the first model is made:
        only then it is known what computes.
        """
        make, made = self._make_elsewhere, self._slots[0].classifier
        if make is None or (make is not self._make and (made is None or made.uses_delegate)):
            return None
        return partial(_again, [slot.path for slot in self._slots], make, self.trusts_provenance)

    def reopen(self) -> None:
        """Open the delegate of the model that was used last again, after it has failed.

        Raises:
            CoralError: it cannot be opened (yet).
        """
        slot = self._slots[self._latest]
        if slot.classifier is None:  # `classifier` makes it
            return
        self._close_others(slot)
        try:
            slot.classifier.reopen()
        except CoralError as error:
            slot.classifier = self._fallback(slot, error)

    def close(self) -> None:
        """Release the delegates for other users."""
        for slot in self._slots:
            if slot.classifier is not None:
                slot.classifier.close()

    def classify(self, path: str | os.PathLike[str], data: bytes | None = None, *, explain: bool = False) -> Verdict:
        """The verdict on one image file.

        Args:
            path: the file; with `data` given it only names the image.
            data: the file's content, if it has been read already.
            explain: add the place and logit of each view.

        Raises:
            ImageError: the file cannot be read, or is not an acceptable image.
            ModelError, RuntimeMissingError, CoralError: its model cannot be opened, or has failed.
        """
        began = time.perf_counter()
        content = preprocess.read(path) if data is None else data
        chosen, picture = take_lazily(path, content, self.choose)
        pixels, own_size = picture.first(), picture.own_size
        seconds = time.perf_counter() - began
        verdict = self.verdict(
            os.fspath(path), pixels, own_size, seconds, model=chosen.model, explain=explain, further=picture.further
        )
        return self.with_provenance(verdict, evidence(content, explain=explain), chosen.model)

    def with_provenance(self, verdict: Verdict, provenance: Sequence[Evidence], model: int = 0) -> Verdict:
        """A verdict with what the image's file says of itself; the score stays as it is.

        With `trusts_provenance`, the label is FAKE if a verified statement says that the image was generated; the
        confidence is the score's then, and may be low.

        Args:
            model: index of the model that gave the verdict.
        """
        if not provenance:
            return verdict
        verdict = verdict._replace(provenance=tuple(provenance))
        if not (self.trusts_provenance and any(one.says == GENERATED and one.verified for one in provenance)):
            return verdict
        fake = self.classifier(model).model.labels[False]
        return verdict._replace(label=fake, is_real=False, confidence=1 - verdict.score)

    def verdict(
        self,
        path: str,
        pixels: Pixels,
        own_size: tuple[int, int],
        seconds: float,
        *,
        model: int = 0,
        explain: bool = False,
        further: "Further | None" = None,
    ) -> Verdict:
        """The verdict of a model on an image that has been read and decoded already.

        Args:
            path, own_size, seconds, explain, further: see `edge.inference.classifier.Classifier.verdict`.
            pixels: of the views of this model, see there.
            model: its index, `Input.model`.

        Raises:
            ModelError, RuntimeMissingError, CoralError: see `classify`.
        """
        classifier = self.classifier(model)
        try:
            return classifier.verdict(path, pixels, own_size, seconds, explain=explain, further=further)
        except CoralError as error:
            self._slots[model].classifier = fallback = self._fallback(self._slots[model], error)
        return fallback.verdict(path, pixels, own_size, seconds, explain=explain, further=further)

    def answer(self, path: str | os.PathLike[str], data: bytes | None = None, *, explain: bool = False) -> Answer:
        """Like `classify`, but returns a Failure for a bad image.

        Raises:
            ModelError, RuntimeMissingError, CoralError: see `classify`.
        """
        try:
            return self.classify(path, data, explain=explain)
        except ImageError as error:
            return Failure(os.fspath(path), error.reason)

    def _fallback(self, slot: _Slot, error: CoralError) -> "Classifier":
        """The classifier that takes over from a Coral. Raises the error if there is none."""
        if self._make_fallback is None:
            raise error
        _log.warning("%s; the processor does the work instead", error)
        if slot.classifier is not None:
            slot.classifier.close()
        fallback = self._make_fallback(slot.path, None)
        if slot.input is not None and fallback.size != slot.input.size:
            raise CoralError(
                f"{printable(fallback.model.path)}: takes another size of images than its compiled form"
            ) from error
        return fallback

    def _close_others(self, slot: _Slot) -> None:
        """Close the other models on a Coral, which has one user at a time."""
        for other in self._slots:
            if other is not slot and other.classifier is not None and other.classifier.uses_delegate:
                other.classifier.close()

    def _inputs(self) -> Iterator[Input]:
        return map(self._input, range(len(self._slots)))

    def _input(self, index: int) -> Input:
        slot = self._slots[index]
        if slot.input is None:
            if slot.classifier is None:
                slot.description = described(slot.path)
            if slot.description is not None:
                size = slot.description.width, slot.description.height
            else:  # the interpreter knows its size; a compiled model gets its plain form's description
                classifier = self.classifier(index)
                slot.description, size = classifier.model.description, classifier.size
            views, domain = (slot.description.views, slot.description.domain) if slot.description else (None, None)
            slot.input = Input(index, size, views, domain)
        return slot.input


def router(
    model: Path | None = None,
    threads: int = 1,
    runtime: str | None = None,
    operating_point: str | None = None,
    tpu: str | None = None,
    library: str | None = None,
) -> Router:
    """A router over the bundled models, or over one model that gets every image.

    Args:
        model: the file of the one model; None: the bundled ones.
        threads, runtime, operating_point: see `edge.inference.classifier.Classifier`.
        tpu, library: see `edge.inference.failover.classifier`; a model is tried on the Coral when it is first
            needed. "auto": the processor takes over if there is no Coral, or none any more. None: the processor.

    Raises:
        ModelError: no model has the operating point, or a description cannot be read.
    """
    paths = bundled_paths() if model is None else (model,)
    if operating_point:  # checked here, not at the first photo
        _require_point(paths, operating_point)
    plain = _of_processor(threads, runtime, operating_point)
    if tpu is None:
        made = Router(paths, plain, plain)
    else:
        from edge.inference import failover

        def on_coral(path: Path, _: ModelDescription | None) -> "Classifier":
            return failover.classifier(path, threads, runtime, tpu, library, operating_point)

        instead = partial(_instead, plain)
        made = Router(paths, on_coral, instead, instead if tpu == failover.AUTO else None)
    made.threads, made.runtime = threads, runtime
    return made


def _again(paths: Sequence[Path], make: Make, trusts_provenance: bool) -> Router:
    made = Router(paths, make)
    made.trusts_provenance = trusts_provenance
    return made


def _instead(plain: Make, path: Path, _: ModelDescription | None) -> "Classifier":
    """The classifier of the processor for a model that was meant for a Coral."""
    from edge.inference.edgetpu import plain_path

    return plain(plain_path(path), None)


def _of_processor(threads: int, runtime: str | None, operating_point: str | None) -> Make:
    return partial(_made, threads, runtime, operating_point)


def _made(
    threads: int,
    runtime: str | None,
    operating_point: str | None,
    path: Path,
    description: ModelDescription | None,
) -> "Classifier":
    requirements.load("numpy")
    from edge.inference.classifier import Classifier

    return Classifier(load(path, description), threads, runtime, operating_point=operating_point)


def _require_point(paths: Sequence[Path], name: str) -> None:
    known = [point.name for path in paths if (found := described(path)) for point in found.operating_points]
    if known and name not in known:
        raise ModelError(printable(f"no operating point {name}; there are {', '.join(dict.fromkeys(known))}"))
