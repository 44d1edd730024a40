"""Pieces of pictures, cut once and kept decoded, so that a training never waits for a 12-megapixel JPEG.

Half of a picture's pieces are cut at its native resolution, the other half
after the picture was reduced, as websites and chat programs reduce it.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from edge.errors import ImageError
from edge.imaging import preprocess, reasons
from train.files import write_whole
from train.photos.collection import Picture

SIDE = 224  # longest side of a piece in pixels: room to move a crop of 128, or to reduce a crop to 0.57 of its size
PER_PICTURE = 8  # pieces of a large picture
CHECKED = 3  # pieces of a validation picture that an epoch is measured on, the first ones
WORKING_SIDE = 1024  # pictures are halved while their shorter side keeps this many pixels, see `edge.imaging.views`
LEAST_SIDE = 96  # shortest side of a picture, also after reduction, in pixels
FILTERS = (Image.Resampling.BOX, Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS)
STORE, INDEX = "pieces.u8", "pieces.json"

Array = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Pieces:
    """Decoded pieces in a file that is mapped into memory; n is their number.

    Attributes:
        path: the file. Each piece takes SIDE x SIDE x 3 bytes; a smaller one lies in the upper left corner.
        picture: for each piece, the index of its picture; shape (n,).
        sizes: (height, width) of each piece; shape (n, 2).
        lossless: whether the piece's picture never was a JPEG or a lossy WebP, as far as its file shows; shape (n,).
    """

    path: Path
    picture: npt.NDArray[np.int32]
    sizes: npt.NDArray[np.int16]
    lossless: npt.NDArray[np.bool_]

    def opened(self) -> Array:
        """The pixels of all pieces: uint8, shape (n, SIDE, SIDE, 3), read only."""
        return np.memmap(self.path, np.uint8, "r", shape=(len(self.picture), SIDE, SIDE, 3))


@dataclass(frozen=True)
class Side:
    """The pictures of one side of a split, and their pieces.

    Attributes:
        shares: how often each picture is drawn, as a share of all draws; their sum is 1.
    """

    pictures: Sequence[Picture]
    pieces: Pieces
    shares: npt.NDArray[np.float64]


def cut(pictures: Sequence[Picture], folder: Path, *, seed: int = 0, processes: int | None = None) -> Pieces:
    """Cut all pictures, or return the pieces that a former call has cut from the same pictures.

    A picture that cannot be decoded, or that is too small, gets no pieces; a line on stdout names it.

    Args:
        folder: folder for the pieces, on a disk with room for 1.2 MB a picture. Pieces of other pictures, or cut with
            other settings, are kept beside them: a training may be reading them.
        seed: seed of the places and scales.
        processes: number of processes that cut; None starts one for each core.
    """
    names = [picture.path.as_posix() for picture in pictures]
    made_of = {"names": names, "seed": seed, "per_picture": PER_PICTURE, "side": SIDE, "working": WORKING_SIDE}
    folder = folder / hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:12]
    folder.mkdir(parents=True, exist_ok=True)
    index = folder / INDEX
    if index.exists():
        return _pieces(folder, json.loads(index.read_text("utf-8")))
    found: dict[str, list[object]] = {"picture": [], "sizes": [], "lossless": []}
    context = get_context("spawn")
    with (folder / STORE).open("wb") as store, ProcessPoolExecutor(processes or os.cpu_count(), context) as pool:
        jobs = [(picture.path, seed * 1_000_003 + number) for number, picture in enumerate(pictures)]
        for number, made in enumerate(pool.map(_cut, jobs, chunksize=8)):
            if isinstance(made, str):
                print(f"left out: {made}", flush=True)
                continue
            pieces, lossless = made
            for piece in pieces:
                store.write(_padded(piece).tobytes())
                found["picture"].append(number)
                found["sizes"].append(piece.shape[:2])
                found["lossless"].append(lossless)
    data: dict[str, Any] = {"made_of": made_of, **found}
    write_whole(index, json.dumps(data))
    return _pieces(folder, data)


def _pieces(folder: Path, data: dict[str, Any]) -> Pieces:
    return Pieces(
        folder / STORE,
        np.array(data["picture"], np.int32),
        np.array(data["sizes"], np.int16).reshape(-1, 2),
        np.array(data["lossless"], bool),
    )


def _padded(piece: Array) -> Array:
    slot = np.zeros((SIDE, SIDE, 3), np.uint8)
    slot[: piece.shape[0], : piece.shape[1]] = piece
    return slot


def _cut(job: tuple[Path, int]) -> tuple[list[Array], bool] | str:
    """The pieces of one (path, seed), and whether the picture is lossless; or the reason why there are none."""
    path, seed = job
    random = np.random.default_rng(seed)
    try:
        whole, lossless = _working(path)
    except ImageError as error:
        return str(error)
    short = min(whole.size)
    if short < LEAST_SIDE:
        return f"{path}: {whole.width} x {whole.height} pixels are too small"
    count = 1 if short < SIDE else 2 if short < 1.3 * SIDE else PER_PICTURE
    pieces = []
    for number in range(count):
        reduced = whole
        if number % 2:  # every other piece is cut from the reduced picture
            least = LEAST_SIDE * 1.5 / short
            scale = float(np.exp(random.uniform(np.log(least), np.log(0.95)))) if least < 0.9 else 1.0
            reduced = _scaled(whole, scale, random)
        pieces.append(_crop(reduced, random))
    return pieces, lossless


def _working(path: Path) -> tuple[Image.Image, bool]:
    """A picture halved as a device halves it, and whether it is lossless.

    Raises:
        ImageError: the picture cannot be read or decoded.
    """
    data = preprocess.read(path)
    with contextlib.suppress(*reasons.DECODER_ERRORS), Image.open(BytesIO(data), formats=("JPEG",)) as jpeg:
        halvings = _halvings(jpeg.size)
        jpeg.draft("RGB", (jpeg.width >> halvings, jpeg.height >> halvings))
        whole = jpeg.convert("RGB")
        left = _halvings(whole.size)
        return whole.reduce(1 << left) if left else whole, False
    whole, lossless = preprocess.decoded(path, data)
    return whole.reduce(1 << _halvings(whole.size)), lossless


def _halvings(size: tuple[int, int]) -> int:
    return max(0, (min(size) // WORKING_SIDE).bit_length() - 1)


def _scaled(whole: Image.Image, scale: float, random: np.random.Generator) -> Image.Image:
    size = max(1, round(whole.width * scale)), max(1, round(whole.height * scale))
    return whole.resize(size, FILTERS[random.integers(len(FILTERS))], reducing_gap=3.0)


def _crop(whole: Image.Image, random: np.random.Generator) -> Array:
    width, height = min(SIDE, whole.width), min(SIDE, whole.height)
    x, y = int(random.integers(whole.width - width + 1)), int(random.integers(whole.height - height + 1))
    return np.asarray(whole.crop((x, y, x + width, y + height)))
