"""The running average of a network's weights, which is better than the weights of any one step."""

from typing import Any

import numpy as np

from train.backend import keras

EVERY_STEPS = 8  # on a GPU each look at the weights costs a transfer, and the average hardly moves in one step


class EMA(keras.callbacks.Callback):  # type: ignore[misc]  # Keras ships no types
    """An exponential moving average, as Polyak & Juditsky 1992 have the idea, also of batch normalisation's statistics.

    Attributes:
        weights: the average, in the order of `network.get_weights()`.
        steps: how many training steps it has seen.
    """

    def __init__(self, decay: float, network: keras.Model, weights: list[Any], steps: int = 0) -> None:
        """
        Args:
            network: the one to follow; a part of the model that is trained.
            decay: what a step leaves of the average, 0-1; less in the beginning, when the average is of little worth.
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
        _ = self.model  # on JAX, asking for it is what brings the weights up to date
        for average, weight in zip(self.weights, self.network.get_weights(), strict=True):
            average += (1 - decay) * (weight - average)
