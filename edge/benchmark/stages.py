"""The way of an image through the product, step by step and as a whole, each step called as the product calls it."""

import hashlib
import os
import time
from collections.abc import Sequence
from itertools import count
from typing import Any

from edge import image
from edge.classifier import Classifier, input_of_pixel
from edge.record.ledger import Entry, Ledger
from edge.record.stamp import Stamp
from edge.verdict import Answer
from edge.watch.pending import GROUP_SIZE

READ, DECODE, QUANTISE, INVOKE = "read", "decode", "quantise", "invoke"
RECORD, TOGETHER = "digest and record", "all of these"


class Stages:
    """Each method is one step for the next image and returns how many images that were."""

    def __init__(self, paths: Sequence[str], network: Classifier, ledger: Ledger) -> None:
        self._paths, self._network, self._ledger = paths, network, ledger
        self._contents = [image.read(path) for path in paths]
        self._pixels = [
            image.pixels(path, network.size, data) for path, data in zip(paths, self._contents, strict=True)
        ]
        self._model = network.model.sha256
        self._table = input_of_pixel(network.input)
        self._inputs = [self._table.take(pixels)[None] for pixels in self._pixels]
        self._answers = [network.answer(path) for path in paths]
        self._bare = Bare(network)
        self._place, self._number = count(), count()
        self._group: list[Entry] = []

    def read(self) -> int:
        image.read(self._paths[self._next()])
        return 1

    def decode(self) -> int:
        place = self._next()
        image.pixels_and_size(self._paths[place], self._network.size, self._contents[place])
        return 1

    def quantise(self) -> int:
        self._table.take(self._pixels[self._next()])[None]
        return 1

    def invoke(self) -> int:
        self._bare.score(self._inputs[self._next()])
        return 1

    def record(self) -> int:
        """A group's digests and its commit, as the watcher does it."""
        places = [self._next() for _ in range(GROUP_SIZE)]
        self._commit([self._entry(place, self._contents[place], self._answers[place]) for place in places])
        return GROUP_SIZE

    def together(self) -> int:
        """From the file to the ledger, in one process."""
        place = self._next()
        data = image.read(self._paths[place])
        self._group.append(self._entry(place, data, self._network.answer(self._paths[place], data)))
        if len(self._group) == GROUP_SIZE:
            self._commit(self._group)
            self._group = []
        return 1

    def _next(self) -> int:
        return next(self._place) % len(self._paths)

    def _entry(self, place: int, data: bytes, answer: Answer) -> Entry:
        path = self._paths[place]
        name = f"{os.path.abspath(path)}#{next(self._number)}"  # a file of its own each time, for the ledger
        return Entry(name, Stamp.of(os.stat(path)), time.time_ns(), hashlib.sha256(data).digest(), answer, self._model)

    def _commit(self, entries: list[Entry]) -> None:
        self._ledger.record(entries, os.path.dirname(os.path.abspath(self._paths[0])))


class Bare:
    """A classifier's interpreter and nothing around it."""

    def __init__(self, network: Classifier) -> None:
        # The very one that answers, however it was built: with threads, with a delegate.
        opened = network._interpreter
        assert opened is not None  # nobody has closed it
        self._interpreter = opened
        self._input = self._interpreter.get_input_details()[0]
        self._output = self._interpreter.get_output_details()[0]["index"]

    def score(self, value: Any) -> int:
        """An invocation with what must be around it."""
        self._interpreter.set_tensor(self._input["index"], value)
        self._interpreter.invoke()
        self._interpreter.get_tensor(self._output)
        return 1

    def invoke(self) -> int:
        """An invocation alone."""
        self._interpreter.invoke()
        return 1
