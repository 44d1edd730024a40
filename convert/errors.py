"""The errors of conversion, in the tree of `edge.errors`."""

from edge.errors import EdgeDetectError


class ConversionError(EdgeDetectError):
    """The model cannot be converted, or the result is not good enough to hand out."""


class SampleError(EdgeDetectError):
    """The images to calibrate or to verify with are not there."""


class CompilerError(EdgeDetectError):
    """The Edge TPU compiler is missing, has failed, or left work to the CPU."""
