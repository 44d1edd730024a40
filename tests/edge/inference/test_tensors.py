"""From pixels to a network's input, with the quantisations that models have."""

import numpy as np
import pytest

from edge.inference.description import Quantisation
from edge.inference.tensors import InputValues, input_of_pixel

SIZE = (16, 12)
PIXELS = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)


@pytest.mark.parametrize(
    "input_",
    [
        Quantisation("int8", 1 / 255, -128),
        Quantisation("uint8", 1 / 255, 0),
        Quantisation("int8", 0.0078125, 0),
        Quantisation("uint8", 1 / 200, 3),
        Quantisation("float32", 0.0, 0),
    ],
    ids=str,
)
def test_input_is_that_of_the_table(input_: Quantisation) -> None:
    inputs = InputValues(SIZE, input_)
    for pixels in (PIXELS, PIXELS[::-1], np.asfortranarray(PIXELS), np.arange(576).astype(np.uint8).reshape(12, 16, 3)):
        values = inputs.of(pixels)
        assert values.dtype == input_.dtype
        assert values.shape == (1, 12, 16, 3)
        assert values.flags.c_contiguous
        assert (values[0] == input_of_pixel(input_)[pixels]).all()


def test_usual_input_is_made_in_kept_memory_and_leaves_pixels_as_they_are() -> None:
    before, inputs = PIXELS.copy(), InputValues(SIZE, Quantisation("int8", 1 / 255, -128))
    assert inputs.of(PIXELS) is inputs.of(PIXELS)
    assert (before == PIXELS).all()


@pytest.mark.parametrize("shape", [(12, 1, 3), (1, 16, 3), (16, 12, 3), (12, 16, 1), (12, 16)])
def test_pixels_of_another_size_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="shape"):
        InputValues(SIZE, Quantisation("int8", 1 / 255, -128)).of(np.zeros(shape, np.uint8))
