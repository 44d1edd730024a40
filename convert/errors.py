"""The errors of conversion; all derive from `edge.errors.EdgeDetectError`."""

from edge.errors import EdgeDetectError


class ConversionError(EdgeDetectError):
    """The model cannot be converted, or the result is not accurate enough."""


class SampleError(EdgeDetectError):
    """Images for calibration or verification are missing, or their list is damaged."""


class CompilerError(EdgeDetectError):
    """The Edge TPU compiler is missing, has failed, or has left operations to the CPU."""
