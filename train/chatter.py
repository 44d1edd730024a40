"""Importing Keras without its backend's greeting."""

from edge.stderr import without_lines

with without_lines(b"I0000", b"WARNING: All log messages"):
    import keras  # noqa: F401
