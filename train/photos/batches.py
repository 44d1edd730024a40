"""Batches of augmented crops, made by other processes while the network trains."""

import os
import time
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from train.photos.augment import Augmentation, augmented
from train.photos.pieces import Pieces, Side

AHEAD = 6  # least number of batches that are made before the training asks for them

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


@dataclass(frozen=True)
class CropSettings:
    """How crops are made.

    Attributes:
        size: side of a crop in pixels.
        batch_size: crops of a batch.
        seed: seed of the choice of pieces and of their augmentation.
    """

    size: int
    batch_size: int
    seed: int
    augmentation: Augmentation = field(default_factory=Augmentation)


class Crops:
    """Augmented crops of the pieces of a side; each picture is drawn by its share.

    The crops of an epoch depend on (seed, epoch) alone, so a resumed run sees the crops that it would have seen.
    """

    def __init__(self, side: Side, settings: CropSettings, processes: int) -> None:
        """
        Args:
            processes: number of processes that make crops.
        """
        pieces = side.pieces
        labels = np.array([picture.label for picture in side.pictures], np.int8)
        counts = np.bincount(pieces.picture, minlength=len(labels))
        weights = side.shares[pieces.picture] / counts[pieces.picture]
        self._weights, self._labels = weights / weights.sum(), labels[pieces.picture]
        self._settings = settings
        self.ahead = max(AHEAD, 2 * processes)
        # Batches come in shared memory: through a pipe, a batch of 256 crops takes as long as a fast GPU takes to train
        # on it. The memory has no name, so a killed training leaves nothing behind.
        shape = (self.ahead + 1, settings.batch_size, settings.size, settings.size, 3)
        self._memory = os.memfd_create("crops")
        os.truncate(self._memory, int(np.prod(shape)))
        memory = Path(f"/proc/{os.getpid()}/fd/{self._memory}")
        self._slots = np.memmap(memory, np.uint8, "r+", shape=shape)
        self._pool = ProcessPoolExecutor(processes, get_context("spawn"), _begin, (pieces, memory, shape))

    def epoch(self, number: int, steps: int) -> "Epoch":
        """The batches of one epoch."""
        random = np.random.default_rng([self._settings.seed, number])
        chosen = random.choice(len(self._weights), (steps, self._settings.batch_size), p=self._weights)
        return Epoch(self, number, chosen)

    def submit(self, number: int, index: int, chosen: npt.NDArray[np.intp]) -> "Future[None]":
        """Let a process make batch `index` of epoch `number` from the chosen pieces."""
        slot, seed = index % len(self._slots), (self._settings.seed, number, index)
        return self._pool.submit(_make, slot, chosen, self._settings.augmentation, seed)

    def batch(self, index: int) -> npt.NDArray[np.uint8]:
        """A copy of a finished batch; its slot in the shared memory is used again."""
        return np.array(self._slots[index % len(self._slots)])

    def labels(self, chosen: npt.NDArray[np.intp]) -> npt.NDArray[np.float32]:
        """Labels of the chosen pieces, shape (n, 1)."""
        return self._labels[chosen].astype(np.float32)[:, None]

    def close(self) -> None:
        """End the processes and free the shared memory."""
        self._pool.shutdown(cancel_futures=True)
        os.close(self._memory)


class Epoch:
    """The batches of one epoch, in order: (uint8 crops, float32 labels of shape (n, 1)).

    Attributes:
        waited: seconds that the training has waited for crops.
    """

    def __init__(self, crops: Crops, number: int, chosen: npt.NDArray[np.intp]) -> None:
        self._crops, self._number, self._chosen = crops, number, chosen
        self.waited = 0.0

    def __iter__(self) -> Any:
        futures: list[Future[None]] = []
        ahead = self._crops.ahead
        try:
            for index, chosen in enumerate(self._chosen):
                futures.append(self._crops.submit(self._number, index, chosen))
                if len(futures) > ahead:
                    yield self._result(futures, index - ahead)
            for index in range(max(0, len(self._chosen) - ahead), len(self._chosen)):
                yield self._result(futures, index)
        finally:  # the next epoch uses the same slots
            wait([future for future in futures if not future.cancel()])

    def _result(self, futures: "list[Future[None]]", index: int) -> tuple[Any, Any]:
        began = time.monotonic()
        futures.pop(0).result()
        self.waited += time.monotonic() - began
        return self._crops.batch(index), self._crops.labels(self._chosen[index])
