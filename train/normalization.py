"""Batch normalisation in one pass over the data, for training on TensorFlow.

Keras computes it from elementary operations, each of which passes over all of
the data. On a CPU, TensorFlow's fused kernel makes training faster.
"""

from typing import Any

from train.backend import keras


@keras.saving.register_keras_serializable(package="edge_detect")
class FusedBatchNormalization(keras.layers.BatchNormalization):  # type: ignore[misc]  # Keras ships no types
    """Keras's layer with TensorFlow's fused kernel: same weights, same result but for rounding.

    Inputs in 16 bits are averaged in 32 bits.
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        if not (training and self.trainable):
            return super().call(inputs, training=False)
        import tensorflow as tf

        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=tf.cast(self.gamma, tf.float32),
            offset=tf.cast(self.beta, tf.float32),
            mean=[],
            variance=[],
            epsilon=self.epsilon,
            is_training=True,
        )
        for moving, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + batch * (1 - self.momentum))
        return outputs


def fused(model: keras.Model) -> keras.Model:
    """A copy of a network, with its weights, that uses the fused kernel.

    Other backends than TensorFlow, and networks that contain a network, get `model` itself.
    """
    if keras.backend.backend() != "tensorflow" or any(isinstance(layer, keras.Model) for layer in model.layers):
        return model

    def copied(layer: Any) -> Any:
        kind = FusedBatchNormalization if type(layer) is keras.layers.BatchNormalization else type(layer)
        return kind.from_config(layer.get_config())

    copy = keras.models.clone_model(model, clone_function=copied)
    copy.set_weights(model.get_weights())
    return copy
