"""The optimizers that a recipe may name, and the schedule of their learning rate."""

from collections.abc import Callable
from typing import Any

from train.backend import keras
from train.checkpoint import Settings


@keras.saving.register_keras_serializable(package="edge_detect")
class ConvolutionalMuon(keras.optimizers.Muon):  # type: ignore[misc]  # Keras ships no types
    """Keras's Muon for convolution kernels: it orthogonalises their updates.

    A kernel of shape (height, width, in, out) is treated as one matrix,
    (height * width * in, out), as in Jordan et al. 2024
    (https://kellerjordan.github.io/posts/muon/). Keras's own class updates
    plain matrices alone with Muon. The last layer, biases and normalisation
    are updated with AdamW here as well.
    """

    def _should_use_adamw(self, variable: Any) -> bool:
        return len(variable.shape) != 4

    def _muon_update_step(self, gradient: Any, variable: Any, lr: Any, m: Any) -> None:
        shape = gradient.shape
        self.assign(m, m * self.momentum + gradient)
        update = gradient + self.momentum * m if self.nesterov else m
        update = self.zeropower_via_newtonschulz5(keras.ops.reshape(update, (-1, shape[-1])), self.ns_steps)
        self.assign_sub(variable, keras.ops.reshape(self.lr_adjust(lr * update), shape))


# By name in a recipe: a function of (learning rate or schedule, decoupled weight decay).
OPTIMIZERS: dict[str, Callable[[Any, float], keras.optimizers.Optimizer]] = {
    "adamw": lambda rate, decay: keras.optimizers.AdamW(rate, weight_decay=decay),
    "muon": lambda rate, decay: ConvolutionalMuon(rate, weight_decay=decay, adam_weight_decay=decay),
}


def spare_from_decay(optimizer: keras.optimizers.Optimizer) -> None:
    """Exclude biases and normalisation from weight decay; to be repeated after loading, as no file keeps it."""
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)  # float16 wraps it in a LossScaleOptimizer
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])


def cosine_schedule(settings: Settings, steps_per_epoch: int, warmup_epochs: float, last: float = 0.0) -> Any:
    """A learning rate that rises linearly to `settings.learning_rate` and falls as a cosine until the last epoch ends.

    Args:
        warmup_epochs: length of the rise; at most half of the epochs.
        last: the rate at the end, as a share of the highest.
    """
    warmup = round(min(warmup_epochs, settings.epochs / 2) * steps_per_epoch)
    return keras.optimizers.schedules.CosineDecay(
        0.0,
        decay_steps=max(1, settings.epochs * steps_per_epoch - warmup),
        warmup_target=settings.learning_rate,
        warmup_steps=warmup,
        alpha=last,
    )
