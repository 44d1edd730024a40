"""Several models, each for its own images: which one an image goes to, and the verdict of that one.

A model is read when the first image needs it. Until then no more than its
description is, and not even that while the models before it take every image.
"""

import contextlib
import hashlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from edge.errors import ImageError, ModelError, UnreadableFileError, printable
from edge.imaging import preprocess
from edge.imaging.inputs import Input, choose, take
from edge.imaging.preprocess import Pixels
from edge.inference.classifier import Classifier
from edge.inference.model import ModelDescription, bundled_paths, described, load
from edge.verdict import Answer, Failure, Verdict

# Makes the classifier of a model file, with its description where that was read already.
Make = Callable[[Path, ModelDescription | None], Classifier]


@dataclass
class _Slot:
    """One of the models, and what is known of it so far.

    Attributes:
        source: of another router, whose model need not be read once more.
    """

    path: Path
    description: ModelDescription | None = None
    input: Input | None = None
    classifier: Classifier | None = None
    source: "_Slot | None" = None


class Router:
    """The models that an image may go to, in order; not to be shared between threads."""

    def __init__(self, paths: Sequence[Path], make: Make, make_another: Make | None = None) -> None:
        """
        Args:
            paths: of the model files, at least one. One alone gets every image.
            make: is called for each when it is first needed.
            make_another: the same for routers of other threads; None: `make`.
        """
        self._slots = [_Slot(path) for path in paths]
        self._make, self._make_another = make, make_another or make
        self._latest = 0  # of the models, the one that was asked last

    @classmethod
    def of(cls, *classifiers: Classifier) -> "Router":
        """Of classifiers that are there already."""
        router = cls([one.model.path for one in classifiers], _of_processor(1, None, None))
        for slot, classifier in zip(router._slots, classifiers, strict=True):
            slot.classifier = classifier
        return router

    @property
    def inputs(self) -> tuple[Input, ...]:
        """What the models take, for `edge.imaging.inputs`; can be pickled.

        Raises:
            ModelError, RuntimeMissingError, CoralError: a description cannot be read; or, where a model has none, the
                model.
        """
        return tuple(self._inputs())

    @property
    def labels(self) -> tuple[str, str]:
        """Of score 0 and of score 1, by the first model; others may add UNSURE.

        Raises:
            ModelError, RuntimeMissingError, CoralError: see `inputs`.
        """
        self._input(0)
        slot = self._slots[0]
        return slot.description.labels if slot.description else self.classifier(0).model.labels

    def check(self) -> None:
        """Read the files of the models that no image has needed yet, to see that they are whole.

        Raises:
            ModelError, RuntimeMissingError, CoralError: one is damaged; or see `inputs`.
        """
        for slot, _ in zip(self._slots, self._inputs(), strict=True):
            if slot.classifier is None and slot.path.exists():  # of a compiled one there may be no other form
                load(slot.path, slot.description)

    @property
    def digests(self) -> frozenset[str]:
        """SHA-256 of each model at work, and of the other form of its file, compiled or not, if that lies beside it.

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
        """Of the model file at work; of a model that was not needed yet, of the one that its description is of.

        Raises:
            ModelError, RuntimeMissingError, CoralError: see `inputs`.
        """
        self._input(model)
        slot = self._slots[model]
        if slot.classifier is not None:
            return slot.classifier.model.sha256
        assert slot.description is not None  # what has none was made for its `Input`
        return slot.description.sha256

    def choose(self, own_size: tuple[int, int]) -> Input:
        """What is to be taken of an image of this upright (width, height), and for which model.

        Raises:
            ModelError, RuntimeMissingError, CoralError: see `inputs`.
        """
        return choose(own_size, self._inputs())

    def classifier(self, model: int = 0) -> Classifier:
        """One of the models, made if it was not needed before.

        Raises:
            ModelError, RuntimeMissingError, CoralError: it cannot be had.
        """
        self._latest, slot = model, self._slots[model]
        if slot.classifier is not None and slot.classifier.is_open:
            return slot.classifier
        self._close_others(slot)
        if slot.classifier is not None:
            slot.classifier.reopen()
            return slot.classifier
        origin = slot.source.classifier if slot.source else None
        slot.classifier = (origin and origin.another()) or self._make(slot.path, slot.description)
        return slot.classifier

    def another(self) -> "Router | None":
        """One more of the same, for another thread; None if there can be no other, for a Coral has one user.

        The first model must be at work, so that it is known what computes.
        """
        at_work = [slot.classifier for slot in self._slots if slot.classifier is not None]
        if self._slots[0].classifier is None or any(classifier.uses_delegate for classifier in at_work):
            return None
        other = Router([slot.path for slot in self._slots], self._make_another)
        for slot, theirs in zip(self._slots, other._slots, strict=True):
            theirs.description, theirs.input, theirs.source = slot.description, slot.input, slot
        return other

    def reopen(self) -> None:
        """Open the delegate again after the model that was asked last has failed.

        Raises:
            CoralError: it is not there (yet).
        """
        slot = self._slots[self._latest]
        if slot.classifier is not None:  # else it is made when it is asked again
            self._close_others(slot)
            slot.classifier.reopen()

    def close(self) -> None:
        """Let go of the delegates, for others to take them."""
        for slot in self._slots:
            if slot.classifier is not None:
                slot.classifier.close()

    def classify(self, path: str | os.PathLike[str], data: bytes | None = None, *, explain: bool = False) -> Verdict:
        """The verdict on one image file, whose content may be given if it was read already.

        Args:
            explain: tell of each view.

        Raises:
            ImageError: the file is unreadable or no acceptable image.
            ModelError, RuntimeMissingError, CoralError: its model cannot be had, or has failed.
        """
        began = time.perf_counter()
        chosen, (pixels, own_size, _) = take(path, data, self.choose)
        seconds = time.perf_counter() - began
        return self.verdict(os.fspath(path), pixels, own_size, seconds, model=chosen.model, explain=explain)

    def verdict(
        self,
        path: str,
        pixels: Pixels,
        own_size: tuple[int, int],
        seconds: float,
        *,
        model: int = 0,
        explain: bool = False,
    ) -> Verdict:
        """The verdict on an image that was read and decoded already, in so many seconds, for one of the models.

        Args:
            pixels: of the views that this model takes, see `edge.inference.classifier.Classifier.verdict`.
            model: `Input.model` of what was taken.

        Raises:
            ModelError, RuntimeMissingError, CoralError: see `classify`.
        """
        return self.classifier(model).verdict(path, pixels, own_size, seconds, explain=explain)

    def answer(self, path: str | os.PathLike[str], data: bytes | None = None, *, explain: bool = False) -> Answer:
        """Like `classify`, with a bad image as a value: for work that goes on."""
        try:
            return self.classify(path, data, explain=explain)
        except ImageError as error:
            return Failure(os.fspath(path), error.reason)

    def _close_others(self, slot: _Slot) -> None:
        """A Coral has one user at a time."""
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
            else:  # only the model itself knows; or it is compiled, and described by what it was made of
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
    say: Callable[[str], None] = lambda _: None,
) -> Router:
    """A router over the models that travel with the package, or over one that gets every image.

    Args:
        model: the one file; None: those of the package.
        operating_point: see `edge.inference.classifier.Classifier`.
        tpu, library, say: see `edge.inference.failover.classifier`; each model is tried on the Coral when it is
            first needed.

    Raises:
        ModelError: no model has the operating point, or a description cannot be read.
    """
    paths = bundled_paths() if model is None else (model,)
    if operating_point:  # fail at once, not at the first photo
        _require_point(paths, operating_point)
    plain = _of_processor(threads, runtime, operating_point)
    if tpu is None:
        return Router(paths, plain)
    from edge.inference import failover

    def on_coral(path: Path, _: ModelDescription | None) -> Classifier:
        return failover.classifier(path, threads, runtime, tpu, library, say, operating_point)

    return Router(paths, on_coral, plain)


def _of_processor(threads: int, runtime: str | None, operating_point: str | None) -> Make:
    return partial(_made, threads, runtime, operating_point)


def _made(
    threads: int,
    runtime: str | None,
    operating_point: str | None,
    path: Path,
    description: ModelDescription | None,
) -> Classifier:
    return Classifier(load(path, description), threads, runtime, operating_point=operating_point)


def _require_point(paths: Sequence[Path], name: str) -> None:
    known = [point.name for path in paths if (found := described(path)) for point in found.operating_points]
    if known and name not in known:
        raise ModelError(printable(f"no operating point {name}; there are {', '.join(dict.fromkeys(known))}"))
