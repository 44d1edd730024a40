"""Choose the views of photos that calibrate and verify a model of crops."""

import json
from pathlib import Path

import numpy as np

from convert.calibration_data import Sample
from convert.errors import SampleError
from edge.errors import ImageError, UndecodableImageError
from edge.imaging.preprocess import Pixels
from edge.imaging.views import taken
from edge.inference.model import LABELS, Views, views_of
from edge.sources.files import images

VIEWS = "views.json"  # beside a model, written by its training
HELD_OUT = ("validation.json", "test.json")  # likewise: names of the validation pictures and of those not to be used
LEAST_SIDE = 200  # shortest side of the pictures that such a model is for, in pixels


def views_beside(model: Path) -> Views | None:
    """The views that a model takes of a picture; None if it has no views.json beside it and takes whole images.

    Raises:
        SampleError: views.json is damaged.
    """
    path = model.with_name(VIEWS)
    if not path.exists():
        return None
    try:
        return views_of(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SampleError(f"{path}: not a description of views: {error}") from error


def held_out(model: Path) -> tuple[list[str], list[str]]:
    """(names of the validation pictures, names of the pictures that may not be used).

    Raises:
        SampleError: a list is missing or damaged.
    """
    found = []
    for name in HELD_OUT:
        path = model.with_name(name)
        try:
            names = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise SampleError(f"{path}: no list of pictures that the training has held out: {error}") from error
        if not isinstance(names, list) or not all(
            isinstance(one, str) and one.split("/")[0] in LABELS and ".." not in one.split("/") for one in names
        ):
            raise SampleError(f"{path}: not a list of paths such as REAL/SOURCE/x.jpg")
        found.append(names)
    return found[0], found[1]


def calibration(data: Path, size: tuple[int, int], views: Views, count: int, seed: int, exclude: set[str]) -> Sample:
    """`count` views, each of another picture: half of each class, from the sources of a class in turns.

    Args:
        size: (width, height) of a view in pixels.
        seed: seed of the choice.
        exclude: names of pictures that are not used.

    Raises:
        SampleError: a class has no readable picture.
    """
    random = np.random.default_rng(seed)
    chosen: dict[str, tuple[Pixels, tuple[int, int]]] = {}
    for label in LABELS:
        top = data / label
        by_source: dict[str, list[str]] = {}
        for path in sorted(str(path) for path in images([str(top)], recursive=True) if isinstance(path, str)):
            name = Path(path).relative_to(data).as_posix() if Path(path) != top else ""
            if name and name not in exclude:
                by_source.setdefault(name.split("/")[1], []).append(name)
        queues = [list(random.permutation(names)) for names in by_source.values()]
        wanted = len(chosen) + max(1, count // 2)
        while len(chosen) < wanted and any(queues):
            for queue in filter(None, queues):
                name = str(queue.pop())
                try:
                    found = taken(data / name, None, views, size)
                except ImageError:
                    continue
                chosen[name] = found.pixels[random.integers(len(found.pixels))].copy(), found.own_size
                if len(chosen) == wanted:
                    break
        if not any(name.startswith(f"{label}/") for name in chosen):
            raise SampleError(f"{top}: no readable picture that the training did not hold out")
    pixels, sizes = zip(*chosen.values(), strict=True)
    is_real = np.array([name.startswith(LABELS[1]) for name in chosen], bool)
    origin = f"{len(chosen)} views of pictures that were trained on, balanced by class and source, seed {seed}"
    return Sample(origin, tuple(chosen), np.stack(pixels), is_real, sizes)


def verification(data: Path, size: tuple[int, int], views: Views, names: list[str]) -> Sample:
    """All views of the validation pictures; pictures that cannot be decoded are left out, as in training.

    Args:
        size: (width, height) of a view in pixels.
        names: the validation pictures, as paths relative to `data`.

    Raises:
        SampleError: a picture is missing, or none can be decoded.
    """
    pixels, is_real, sizes, picture = [], [], [], []
    kept: list[str] = []
    for name in names:
        try:
            found = taken(data / name, None, views, size)
        except UndecodableImageError:
            continue
        except ImageError as error:
            raise SampleError(
                f"{error}; the model's training has held it out: is {data} the folder of that training?"
            ) from error
        pixels.append(found.pixels)
        is_real += [name.startswith(LABELS[1])] * len(found.pixels)
        sizes += [found.own_size] * len(found.pixels)
        picture += [len(kept)] * len(found.pixels)
        kept.append(name)
    if not kept:
        raise SampleError(f"{data}: none of the validation pictures can be decoded")
    origin = f"the {len(kept)} validation pictures, by the mean of all views of each"
    return Sample(
        origin, tuple(kept), np.concatenate(pixels), np.array(is_real, bool), tuple(sizes), np.array(picture, np.intp)
    )
