"""From a Keras model to LiteRT files that a device runs: `python -m convert`."""
