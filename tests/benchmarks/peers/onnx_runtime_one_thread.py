"""ONNX Runtime with the same network, one thread, and Pillow."""

from functools import partial

from onnx_runtime import load, network
from protocol import run

run(partial(load, threads=1), partial(network, threads=1))
