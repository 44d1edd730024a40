"""A running average of a network's weights, which classifies better than the weights of a single step."""

from typing import Any

import numpy as np

from train.backend import keras

EVERY_STEPS = 8  # between updates: on a GPU each update copies the weights, and the average hardly moves in one step


class EMA(keras.callbacks.Callback):  # type: ignore[misc]  # Keras ships no types
    """An exponential moving average of all weights, also of batch normalisation's statistics.

    The idea is that of Polyak & Juditsky 1992. Keras's own average leaves the
    statistics out.

    Attributes:
        weights: the average, in the order of `network.get_weights()`.
        steps: number of training steps so far.
    """

    def __init__(self, decay: float, network: keras.Model, weights: list[Any], steps: int = 0) -> None:
        """
        Args:
            decay: share of the average that is kept in each step, 0-1; smaller in the first steps.
            network: the network to follow: the model that is trained, or a part of it.
            weights: the average to start from.
            steps: number of training steps that `weights` are the average of.
        """
        super().__init__()
        self.network, self.decay = network, decay
        self.steps = self._averaged_at = steps
        self.weights = [np.array(weight, np.float32) for weight in weights]

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        self.steps += 1
        if self.steps % EVERY_STEPS == 0:
            self._update()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._update()

    def _update(self) -> None:
        steps, self._averaged_at = self.steps - self._averaged_at, self.steps
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps)) ** steps
        _ = self.model  # on JAX, reading this property copies the trained weights back
        for average, weight in zip(self.weights, self.network.get_weights(), strict=True):
            average += (1 - decay) * (weight - average)
