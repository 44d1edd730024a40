"""The optimizers that a recipe may name."""

from collections.abc import Callable
from typing import Any

from train.backend import keras


@keras.saving.register_keras_serializable(package="edge_detect")
class ConvolutionalMuon(keras.optimizers.Muon):  # type: ignore[misc]  # Keras ships no types
    """Keras's Muon, which orthogonalises the updates of matrices, on convolution kernels too.

    A kernel of shape (height, width, in, out) is one matrix, (height * width *
    in, out), as in Jordan et al. 2024 (https://kellerjordan.github.io/posts/muon/);
    Keras itself leaves anything but plain matrices to AdamW. The last layer,
    biases and normalisation stay with AdamW here as well.
    """

    def _should_use_adamw(self, variable: Any) -> bool:
        return len(variable.shape) != 4

    def _muon_update_step(self, gradient: Any, variable: Any, lr: Any, m: Any) -> None:
        shape = gradient.shape
        self.assign(m, m * self.momentum + gradient)
        update = gradient + self.momentum * m if self.nesterov else m
        update = self.zeropower_via_newtonschulz5(keras.ops.reshape(update, (-1, shape[-1])), self.ns_steps)
        self.assign_sub(variable, keras.ops.reshape(self.lr_adjust(lr * update), shape))


# By the names that a recipe has for them, from (learning rate or schedule, decoupled weight decay).
OPTIMIZERS: dict[str, Callable[[Any, float], keras.optimizers.Optimizer]] = {
    "adamw": lambda rate, decay: keras.optimizers.AdamW(rate, weight_decay=decay),
    "muon": lambda rate, decay: ConvolutionalMuon(rate, weight_decay=decay, adam_weight_decay=decay),
}


def spare_from_decay(optimizer: keras.optimizers.Optimizer) -> None:
    """Exclude biases and normalisation from weight decay; no file keeps that, so it is done after loading too."""
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)  # within the one that scales the loss of 16-bit floats
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
