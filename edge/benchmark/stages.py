"""The stages of an image from its file to the ledger, one by one and together, called as the product calls them."""

import hashlib
import os
import statistics
import time
from itertools import count
from typing import Any

from edge.benchmark.workload import Workload
from edge.files import FileId
from edge.imaging import preprocess, views
from edge.inference.classifier import Classifier
from edge.inference.router import Router
from edge.inference.tensors import InputValues
from edge.store.ledger import Entry, Ledger
from edge.verdict import Answer
from edge.watch.batch import GROUP_SIZE

READ, DECODE, QUANTISE, INVOKE = "read", "decode", "quantise", "invoke"
RECORD, TOGETHER = "digest and record", "all of these"


class Stages:
    """Each method does one stage for the next image, or a group of them, and returns the number of images.

    Attributes:
        views: average number of views of an image that the model judges; more are decoded if it may ask for more.
    """

    def __init__(self, workload: Workload, router: Router, ledger: Ledger) -> None:
        self._paths, self._router, self._ledger, self._input = workload.paths, router, ledger, workload.input
        network = router.classifier(workload.input.model)
        self._contents = [preprocess.read(path) for path in self._paths]
        self._model = network.model.sha256
        self._values = InputValues(network.size, network.input)
        self._views, counts = [], []
        for place, path in enumerate(self._paths):
            pixels = self._taken(path, self._contents[place]).pixels
            counts.append(network.judge(pixels).count)
            self._views.append(pixels[0].copy())  # a copy: the array of all views would stay in memory
        self.views = statistics.mean(counts)
        self._inputs = [self._values.of(view).copy() for view in self._views]
        self._answers = [router.answer(path) for path in self._paths]
        self._bare = BareInterpreter(network)
        self._place, self._number = count(), count()
        self._group: list[Entry] = []

    def read(self) -> int:
        preprocess.read(self._paths[self._next()])
        return 1

    def decode(self) -> int:
        """Decode all views that the model may ask for."""
        place = self._next()
        self._taken(self._paths[place], self._contents[place])
        return 1

    def quantise(self) -> int:
        """Quantise one view."""
        self._values.of(self._views[self._next()])
        return 1

    def invoke(self) -> int:
        """Run the network on one view."""
        self._bare.score(self._inputs[self._next()])
        return 1

    def record(self) -> int:
        """Compute the digests of a group of images and commit it, as the watcher does."""
        places = [self._next() for _ in range(GROUP_SIZE)]
        self._commit([self._entry(place, self._contents[place], self._answers[place]) for place in places])
        return GROUP_SIZE

    def together(self) -> int:
        """All stages in one process, from the file to the ledger."""
        place = self._next()
        data = preprocess.read(self._paths[place])
        self._group.append(self._entry(place, data, self._router.answer(self._paths[place], data)))
        if len(self._group) == GROUP_SIZE:
            self._commit(self._group)
            self._group = []
        return 1

    def _taken(self, path: str, data: bytes) -> views.Taken:
        return views.taken(path, data, self._input.views, self._input.size)

    def _next(self) -> int:
        return next(self._place) % len(self._paths)

    def _entry(self, place: int, data: bytes, answer: Answer) -> Entry:
        path = self._paths[place]
        name = f"{os.path.abspath(path)}#{next(self._number)}"  # the ledger sees a new file each time
        return Entry(name, FileId.of(os.stat(path)), time.time_ns(), hashlib.sha256(data).digest(), answer, self._model)

    def _commit(self, entries: list[Entry]) -> None:
        self._ledger.record(entries, os.path.dirname(os.path.abspath(self._paths[0])))


class BareInterpreter:
    """A classifier's interpreter without the classifier's work."""

    def __init__(self, network: Classifier) -> None:
        self._interpreter = network.interpreter
        self._input = self._interpreter.get_input_details()[0]
        self._output = self._interpreter.get_output_details()[0]["index"]

    def score(self, value: Any) -> int:
        """Set the input, invoke, read the output."""
        self._interpreter.set_tensor(self._input["index"], value)
        self._interpreter.invoke()
        self._interpreter.get_tensor(self._output)
        return 1

    def invoke(self) -> int:
        """Invoke, and nothing else."""
        self._interpreter.invoke()
        return 1
