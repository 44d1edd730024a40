"""Batches of augmented crops, made by other processes while the network trains."""

import os
import time
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from train.photos.augment import Augmentation, augmented
from train.photos.pieces import Pieces

AHEAD = 6  # batches that are made before they are asked for, at least

_pieces: Pieces
_opened: npt.NDArray[np.uint8]
_slots: npt.NDArray[np.uint8]


def _begin(pieces: Pieces, memory: Path, shape: tuple[int, ...]) -> None:
    global _pieces, _opened, _slots
    _pieces, _opened = pieces, pieces.opened()
    _slots = np.memmap(memory, np.uint8, "r+", shape=shape)


def _make(slot: int, chosen: npt.NDArray[np.intp], how: Augmentation, seed: Sequence[int]) -> None:
    random = np.random.default_rng(seed)
    size = _slots.shape[2]
    for crop, index in zip(_slots[slot], chosen, strict=True):
        height, width = _pieces.sizes[index]
        crop[:] = augmented(_opened[index, :height, :width], bool(_pieces.lossless[index]), size, how, random)


class Crops:
    """Augmented crops of pieces, drawn by their pictures' shares.

    What an epoch shows depends on (seed, epoch) alone, so a resumed run sees what it would have seen.
    """

    def __init__(
        self,
        pieces: Pieces,
        labels: npt.NDArray[np.int8],
        shares: npt.NDArray[np.float64],
        *,
        size: int,
        batch_size: int,
        how: Augmentation,
        seed: int,
        processes: int,
    ) -> None:
        """
        Args:
            labels, shares: of each picture.
            size: of a crop, pixels a side.
            processes: that make crops.
        """
        counts = np.bincount(pieces.picture, minlength=len(labels))
        weights = shares[pieces.picture] / counts[pieces.picture]
        self._weights, self._labels = weights / weights.sum(), labels[pieces.picture]
        self._batch_size, self._how, self._seed = batch_size, how, seed
        self.ahead = max(AHEAD, 2 * processes)
        # Batches come in memory that the processes share: through a pipe one of 256 crops costs as long as a fast GPU
        # takes to train on it. It has no name that a killed training could leave behind.
        shape = (self.ahead + 1, batch_size, size, size, 3)
        self._memory = os.memfd_create("crops")
        os.truncate(self._memory, int(np.prod(shape)))
        memory = Path(f"/proc/{os.getpid()}/fd/{self._memory}")
        self._slots = np.memmap(memory, np.uint8, "r+", shape=shape)
        self._pool = ProcessPoolExecutor(processes, get_context("spawn"), _begin, (pieces, memory, shape))

    def epoch(self, number: int, steps: int) -> "Epoch":
        random = np.random.default_rng([self._seed, number])
        chosen = random.choice(len(self._weights), (steps, self._batch_size), p=self._weights)
        return Epoch(self, number, chosen)

    def begin(self, number: int, index: int, chosen: npt.NDArray[np.intp]) -> "Future[None]":
        return self._pool.submit(_make, index % len(self._slots), chosen, self._how, (self._seed, number, index))

    def batch(self, index: int) -> npt.NDArray[np.uint8]:
        """A copy: what it was made in is used again."""
        return np.array(self._slots[index % len(self._slots)])

    def labels(self, chosen: npt.NDArray[np.intp]) -> npt.NDArray[np.float32]:
        return self._labels[chosen].astype(np.float32)[:, None]

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)
        os.close(self._memory)


class Epoch:
    """The batches of one epoch, in order: (uint8 crops, float32 labels of shape (n, 1)).

    Attributes:
        waited: seconds for which the training had nothing to do but wait for crops.
    """

    def __init__(self, crops: Crops, number: int, chosen: npt.NDArray[np.intp]) -> None:
        self._crops, self._number, self._chosen = crops, number, chosen
        self.waited = 0.0

    def __iter__(self) -> Any:
        futures: list[Future[None]] = []
        ahead = self._crops.ahead
        try:
            for index, chosen in enumerate(self._chosen):
                futures.append(self._crops.begin(self._number, index, chosen))
                if len(futures) > ahead:
                    yield self._result(futures, index - ahead)
            for index in range(max(0, len(self._chosen) - ahead), len(self._chosen)):
                yield self._result(futures, index)
        finally:  # before another epoch's batches are made in the same memory
            wait([future for future in futures if not future.cancel()])

    def _result(self, futures: "list[Future[None]]", index: int) -> tuple[Any, Any]:
        began = time.monotonic()
        futures.pop(0).result()
        self.waited += time.monotonic() - began
        return self._crops.batch(index), self._crops.labels(self._chosen[index])
