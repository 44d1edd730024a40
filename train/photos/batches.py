"""Batches of augmented crops, made by other processes while the network trains."""

import time
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import numpy as np
import numpy.typing as npt

from train.photos.augment import Augmentation, augmented
from train.photos.pieces import Pieces

AHEAD = 6  # batches that are made before they are asked for, at least

_pieces: Pieces
_opened: npt.NDArray[np.uint8]


def _begin(pieces: Pieces) -> None:
    global _pieces, _opened
    _pieces, _opened = pieces, pieces.opened()


def _made(chosen: npt.NDArray[np.intp], size: int, how: Augmentation, seed: Sequence[int]) -> npt.NDArray[np.uint8]:
    random = np.random.default_rng(seed)
    crops = np.empty((len(chosen), size, size, 3), np.uint8)
    for crop, index in zip(crops, chosen, strict=True):
        height, width = _pieces.sizes[index]
        crop[:] = augmented(_opened[index, :height, :width], bool(_pieces.lossless[index]), size, how, random)
    return crops


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
        self._size, self._batch_size, self._how, self._seed = size, batch_size, how, seed
        self.ahead = max(AHEAD, 2 * processes)
        self._pool = ProcessPoolExecutor(processes, get_context("spawn"), _begin, (pieces,))

    def epoch(self, number: int, steps: int) -> "Epoch":
        random = np.random.default_rng([self._seed, number])
        chosen = random.choice(len(self._weights), (steps, self._batch_size), p=self._weights)
        return Epoch(self, number, chosen)

    def begin(self, number: int, index: int, chosen: npt.NDArray[np.intp]) -> "Future[npt.NDArray[np.uint8]]":
        return self._pool.submit(_made, chosen, self._size, self._how, (self._seed, number, index))

    def labels(self, chosen: npt.NDArray[np.intp]) -> npt.NDArray[np.float32]:
        return self._labels[chosen].astype(np.float32)[:, None]

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)


class Epoch:
    """The batches of one epoch, in order: (uint8 crops, float32 labels of shape (n, 1)).

    Attributes:
        waited: seconds for which the training had nothing to do but wait for crops.
    """

    def __init__(self, crops: Crops, number: int, chosen: npt.NDArray[np.intp]) -> None:
        self._crops, self._number, self._chosen = crops, number, chosen
        self.waited = 0.0

    def __iter__(self) -> Any:
        futures, ahead = [], self._crops.ahead
        for index, chosen in enumerate(self._chosen):
            futures.append(self._crops.begin(self._number, index, chosen))
            if len(futures) > ahead:
                yield self._result(futures, index - ahead)
        for index in range(max(0, len(self._chosen) - ahead), len(self._chosen)):
            yield self._result(futures, index)

    def _result(self, futures: "list[Future[npt.NDArray[np.uint8]]]", index: int) -> tuple[Any, Any]:
        began = time.monotonic()
        crops = futures.pop(0).result()
        self.waited += time.monotonic() - began
        return crops, self._crops.labels(self._chosen[index])
