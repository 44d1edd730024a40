"""TensorFlow and Keras without the messages that they print; the modules of conversion import them from here."""

from edge.process.stderr import silenced

# Beginnings of the lines to silence at import, export and conversion; other lines are printed.
CHATTER = (
    b"I0000",
    b"W0000",
    b"WARNING: All log messages",
    b"To enable the following",
    b"failed call to cuInit",
    b"fully_quantize:",
    b"INFO: ",
)

with silenced(*CHATTER):
    import keras
    import tensorflow as tf
    from tensorflow.lite.python import schema_py_generated as schema
    from tensorflow.lite.tools import flatbuffer_utils

    tf.zeros(1)  # looks for a GPU now, while the message that there is none is silenced

__all__ = ["CHATTER", "flatbuffer_utils", "keras", "schema", "tf"]
