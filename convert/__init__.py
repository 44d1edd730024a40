"""Convert a Keras model to LiteRT files for a device: `python -m convert`."""
