"""Colour modes: what an image is converted to before it is scaled, and after."""

from typing import TYPE_CHECKING, Any

from PIL import Image

if TYPE_CHECKING:  # see edge.imaging.preprocess
    import numpy.typing as npt


def is_scalable(image: Image.Image) -> bool:
    """Whether `scalable` returns an image as it is."""
    return image.mode in ("RGB", "I", "F") and "transparency" not in image.info


def scalable(image: Image.Image) -> Image.Image:
    """The image in a mode that can be scaled without loss: RGB, RGBA, I (32-bit integers) or F."""
    mode = image.mode
    if is_scalable(image):
        return image
    if mode.startswith("I;16"):
        return _without_colour_key(image) if "transparency" in image.info else image.convert("I")
    if mode == "LAB":
        from PIL import ImageCms

        profiles = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, *profiles, outputMode="RGB")
        assert converted is not None  # only an in-place conversion returns None
        return converted
    if mode == "La":  # Pillow converts it to nothing else
        return image.convert("LA").convert("RGBA")
    if mode in ("RGBA", "RGBa", "LA", "PA") or "transparency" in image.info:
        return image.convert("RGBA")
    return image.convert("RGB")


def _without_colour_key(image: Image.Image) -> Image.Image:
    """A greyscale image of 16 bits with one transparent value, as RGBA; Pillow's conversion loses the transparency."""
    import numpy as np

    samples = np.asarray(image)
    opaque = Image.fromarray(np.where(samples == image.info["transparency"], 0, 255).astype(np.uint8))
    grey = Image.fromarray((samples >> 8).astype(np.uint8))
    return Image.merge("LA", (grey, opaque)).convert("RGBA")


def rgb(scaled: Image.Image) -> Image.Image:
    """An image of `scalable` in RGB, transparency over white."""
    if scaled.mode == "RGBA":
        white = Image.new("RGBA", scaled.size, "white")
        return Image.alpha_composite(white, scaled).convert("RGB")
    if scaled.mode not in ("I", "F"):
        return scaled
    import numpy as np

    if scaled.mode == "I":
        return _greyscale(np.clip(np.asarray(scaled), 0, 65535) >> 8)
    return _greyscale(np.rint(np.clip(np.nan_to_num(np.asarray(scaled)), 0, 1) * 255))


def _greyscale(values: "npt.NDArray[Any]") -> Image.Image:
    return Image.fromarray(values.astype("uint8")).convert("RGB")
