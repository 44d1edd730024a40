"""Imported by the fork server, so that the decoding processes share it."""

import contextlib
import os

# Nothing here multiplies matrices. With too little memory, OpenBLAS's other threads would try forever to get some.
os.environ["OPENBLAS_NUM_THREADS"] = "1"
with contextlib.suppress(Exception):  # it occurs again in a process, which reports it
    import ctypes  # noqa: F401

    import numpy  # noqa: F401

import edge.process.heap
import edge.watch.decode_worker  # noqa: F401
