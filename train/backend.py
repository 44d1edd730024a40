"""Keras without the messages that its backend prints at import; the modules of training import it from here."""

from edge.process.stderr import silenced

with silenced(b"I0000", b"WARNING: All log messages", b"To enable the following", b"failed call to cuInit"):
    import keras

    keras.ops.zeros(1)  # looks for a GPU now, while the message that there is none is silenced

__all__ = ["keras"]
