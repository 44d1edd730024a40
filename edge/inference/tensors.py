"""The input and the output of an image classifier's network: their quantisation, and from pixels to input values."""

from typing import TYPE_CHECKING, Any

import numpy as np

from edge.errors import ModelError
from edge.imaging.preprocess import Pixels
from edge.inference.description import Quantisation

if TYPE_CHECKING:  # it takes a millisecond to import
    import numpy.typing as npt


class InputValues:
    """Makes a network's input from pixels, in memory that is kept. For one thread at a time.

    Attributes:
        table: see `input_of_pixel`.
    """

    def __init__(self, size: tuple[int, int], input_: Quantisation) -> None:
        """
        Args:
            size: (width, height) of the input in pixels.
            input_: its quantisation.
        """
        self.table = input_of_pixel(input_)
        self._flipped_bits = _flipped_bits(self.table)
        self._values = np.empty((1, size[1], size[0], 3), self.table.dtype)
        self._bytes = self._values[0].view(np.uint8)

    def of(self, pixels: Pixels) -> "npt.NDArray[Any]":
        """The input of one view, shape (1, height, width, 3); the next call may overwrite it.

        Args:
            pixels: RGB, uint8, shape (height, width, 3).

        Raises:
            ValueError: the pixels are of another size.
        """
        if self._flipped_bits is None:
            return self.table.take(pixels)[None]
        if pixels.shape != self._bytes.shape:  # numpy would repeat a single row or column
            raise ValueError(f"pixels of the shape {pixels.shape} instead of {self._bytes.shape}")
        np.bitwise_xor(pixels, self._flipped_bits, self._bytes)
        return self._values


def signature(interpreter: Any) -> tuple[tuple[int, int], Quantisation, Quantisation]:
    """(width, height) of a network's input, and the quantisation of its input and output.

    Raises:
        ModelError: it does not take one RGB image and return one number, or a tensor's type is not supported.
    """
    tensors = (*interpreter.get_input_details(), *interpreter.get_output_details())
    shapes = [tuple(int(n) for n in tensor["shape"]) for tensor in tensors]
    if len(shapes) != 2 or len(shapes[0]) != 4 or shapes[0][::3] != (1, 3) or shapes[1] != (1, 1):
        raise ModelError(f"has the shapes {shapes}; an image classifier has (1, height, width, 3) and (1, 1)")
    return (shapes[0][2], shapes[0][1]), _quantisation(tensors[0]), _quantisation(tensors[1])


def input_of_pixel(input_: Quantisation) -> "npt.NDArray[Any]":
    """The input value of each pixel value 0-255: float32 in [0, 1], or quantised as the input is. Shape (256,).

    One look-up a pixel in this table replaces a conversion, a division, a
    rounding and a clip, and is the same for every dtype.
    """
    value = np.arange(256, dtype=np.float32) / np.float32(255)
    if not input_.scale:
        return value
    limits = np.iinfo(input_.dtype)
    stored = np.rint(value / np.float32(input_.scale)) + input_.zero_point
    quantised: npt.NDArray[Any] = np.clip(stored, limits.min, limits.max).astype(input_.dtype)
    return quantised


def _flipped_bits(table: "npt.NDArray[Any]") -> np.uint8 | None:
    """The bits of a pixel that a table flips, if it does nothing else; None if it does.

    That is so for the usual inputs: int8 with a scale of 1/255 flips the highest bit, uint8 none. To flip bits takes a
    tenth of the time of a look-up.
    """
    if table.itemsize > 1:
        return None
    stored = table.view(np.uint8)
    return stored[0] if np.array_equal(stored, np.arange(256, dtype=np.uint8) ^ stored[0]) else None


def _quantisation(tensor: dict[str, Any]) -> Quantisation:
    """The quantisation of a tensor by the interpreter's details."""
    dtype = np.dtype(tensor["dtype"])
    scale, zero_point = tensor["quantization"]
    if dtype not in (np.float32, np.int8, np.uint8) or (dtype != np.float32 and not scale):
        raise ModelError(f"has a {dtype} tensor with quantisation scale {scale}; float32, int8 and uint8 are supported")
    return Quantisation(dtype.name, 0.0 if dtype == np.float32 else float(scale), int(zero_point))


def require_probability(output: Quantisation) -> None:
    """Refuse a file without description whose output can lie far outside of 0-1: it is not P(REAL)."""
    if output.scale:
        limits = np.iinfo(output.dtype)
        least, greatest = ((int(end) - output.zero_point) * output.scale for end in (limits.min, limits.max))
        if least < -output.scale or greatest > 1 + output.scale:
            raise ModelError(f"its output of {least:.3g} to {greatest:.3g} is not a probability: is its .json missing?")
