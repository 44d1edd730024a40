"""A folder of photos and generated pictures, grouped by source, with an optional manifest.

    FOLDER/REAL/SOURCE/**   photographs, one folder for each camera, website or data set
    FOLDER/FAKE/SOURCE/**   generated pictures, one folder for each generator and gallery
    FOLDER/manifest.jsonl   optional: one JSON object a line; its `id` is the name of a file without its suffix

Pictures of one source resemble each other in ways that have nothing to do with
the label: camera, subject, JPEG quality. The pictures of a source that was
trained on are no test, so all pictures of a source are on one side of a split.
"""

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edge.errors import EdgeDetectError, ImageError
from edge.imaging import preprocess
from edge.inference.model import LABELS
from edge.sources.files import images
from train.files import write_whole

MANIFEST = "manifest.jsonl"
TRAINABLE = "train"  # value of `may` in the manifest that allows training; other pictures may only be measured on
HELD_OUT = 0.1  # share of each class's groups for validation, and the same share for the test, without a split file
HASHES = "hashes.json"
NEARLY = 3  # bits of 64 in which the hashes of near-duplicates differ at most
ART_SHARE = 0.1  # share of a class's draws for art: pictures without photo-like content
_ONES = np.array([value.bit_count() for value in range(256)])  # number of bits that are set in each byte


class CollectionError(EdgeDetectError):
    """A collection, its manifest or its split is missing something or damaged."""


@dataclass(frozen=True)
class Picture:
    """One image file of a collection.

    Attributes:
        label: 1 for REAL, 0 for FAKE.
        source: name of the folder in the label's folder; "" for a file directly in the latter.
        group: the pictures of a group are all on one side of a split: those of a repository if the manifest names one,
            else those of a source.
        row: the picture's object in the manifest; empty without one.
    """

    path: Path
    label: int
    source: str
    group: str
    row: dict[str, Any] = field(default_factory=dict, repr=False, hash=False, compare=False)

    @property
    def id(self) -> str:
        """The file's name without its suffix; the manifest's key."""
        return self.path.stem

    @property
    def generator(self) -> str:
        """The generator's name; the source's name if the manifest names no generator."""
        return str(self.row.get("generator") or self.source)

    @property
    def is_art(self) -> bool:
        """Whether the manifest calls the picture art: without photo-like content."""
        return bool(self.row.get("art"))

    @property
    def may_train(self) -> bool:
        """Whether the manifest allows training on the picture."""
        return bool(self.row.get("may", TRAINABLE) == TRAINABLE)


def read(folder: Path) -> list[Picture]:
    """All pictures of a collection, sorted by class and path.

    Raises:
        CollectionError: a class has no pictures, or the manifest is damaged.
    """
    rows = _manifest(folder / MANIFEST)
    pictures = []
    for label, name in enumerate(LABELS):
        top = folder / name
        found = sorted(Path(path) for path in images([str(top)], recursive=True) if isinstance(path, str))
        found = [path for path in found if path != top]  # `images` yields a missing folder itself
        if not found:
            raise CollectionError(f"{top}: no images; a collection has REAL/SOURCE and FAKE/SOURCE folders")
        for path in found:
            parts = path.relative_to(top).parts
            source, row = parts[0] if len(parts) > 1 else "", rows.get(path.stem, {})
            pictures.append(Picture(path, label, source, str(row.get("repository") or f"{name}/{source}"), row))
    return pictures


def _manifest(path: Path) -> dict[str, dict[str, Any]]:
    if not path.exists():
        return {}
    rows = {}
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise CollectionError(f"{path}: {error}") from error
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            rows[str(row["id"])] = row
        except (ValueError, KeyError, TypeError) as error:
            raise CollectionError(f"{path}: line {number}: not a JSON object with an id: {error}") from error
    return rows


@dataclass(frozen=True)
class Split:
    """The groups that are held out from training.

    Attributes:
        validation: groups whose pictures choose epochs, thresholds and other settings.
        test: groups whose pictures are only measured on.
        generators: generators of the test pictures; their pictures in other groups are not trained on.
        weights: factor on the share of draws of a source, by its name.
    """

    validation: frozenset[str]
    test: frozenset[str]
    generators: frozenset[str] = frozenset()
    weights: dict[str, float] = field(default_factory=dict)

    @classmethod
    def from_file(cls, path: Path) -> "Split":
        """Read a split from a JSON file with the names of the attributes.

        Raises:
            CollectionError: the file cannot be read, or is not a split.
        """
        try:
            data = json.loads(path.read_text("utf-8"))
            validation, test, generators = (
                frozenset(map(str, data.get(key, []))) for key in ("validation", "test", "generators")
            )
            weights = {str(key): float(value) for key, value in data.get("weights", {}).items()}
            return cls(validation, test, generators, weights)
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise CollectionError(f"{path}: not a split: {error}") from error

    @classmethod
    def at_random(cls, pictures: Sequence[Picture], fraction: float, seed: int) -> "Split":
        """Hold out random groups of each class; the result is the same on every machine.

        Args:
            fraction: share of the groups of each class for validation, and the same share for the test, 0-0.5. At least
                one group each, if a class has three groups; none otherwise.
        """
        chosen: list[set[str]] = [set(), set()]
        for label in range(len(LABELS)):
            groups = {picture.group for picture in pictures if picture.label == label}
            ranked = sorted(groups, key=lambda group: hashlib.sha256(f"{seed}:{group}".encode()).digest())
            count = max(1, round(len(ranked) * fraction)) if len(ranked) >= 3 else 0
            for side, names in enumerate(chosen):
                names.update(ranked[side * count : (side + 1) * count])
        return cls(frozenset(chosen[0]), frozenset(chosen[1]))

    def apply(self, pictures: Iterable[Picture]) -> "dict[str, list[Picture]]":
        """The pictures by side: "train", "validation" and "test"."""
        sides: dict[str, list[Picture]] = {"train": [], "validation": [], "test": []}
        for picture in pictures:
            if picture.group in self.test:
                sides["test"].append(picture)
            elif picture.group in self.validation:
                sides["validation"].append(picture)
            elif picture.may_train and picture.generator not in self.generators:
                sides["train"].append(picture)
        return sides


def without_copies(sides: "dict[str, list[Picture]]", cache: Path | None = None) -> "dict[str, list[Picture]]":
    """The sides of a split without pictures that another side also has, identical or nearly so.

    A copy is removed from training if validation or test has it, and from validation if the test has it; the test keeps
    all pictures. Copies within one side stay.

    Args:
        cache: a folder that keeps the files' hashes between calls; None computes them in each call.
    """
    hashes = _hashes([picture.path for side in sides.values() for picture in side], cache)
    kept = dict(sides)
    for side, others in (("train", ("validation", "test")), ("validation", ("test",))):
        known = [hashes[picture.path] for other in others for picture in sides[other] if picture.path in hashes]
        contents = {one.content for one in known}
        looks = np.array([(one.across, one.down) for one in known], np.uint64).reshape(-1, 2)
        kept[side] = []
        for picture in sides[side]:
            hashed = hashes.get(picture.path)
            if hashed is None or not (hashed.content in contents or _looks_like_one(hashed, looks)):
                kept[side].append(picture)
    return kept


def _looks_like_one(hashed: "_Hashes", looks: "npt.NDArray[np.uint64]") -> bool:
    differing = looks ^ np.array([hashed.across, hashed.down], np.uint64)
    bits = _ONES[differing.view(np.uint8).reshape(-1, 2, 8)].sum(2)
    return bool((bits <= NEARLY).all(1).any())


class _Hashes(NamedTuple):
    """The hashes of one file.

    Attributes:
        content: the SHA-256 of its bytes, hexadecimal.
        across, down: difference hashes of 64 bits. A bit tells whether one of 8 x 8 cells of the grey picture is darker
            than the cell to its right (across) or below it (down). Both are compared, because all pictures with a
            bright middle have the same hash in one direction.
    """

    content: str
    across: int
    down: int


def _hashes(paths: Iterable[Path], cache: Path | None) -> dict[Path, _Hashes]:
    """The hashes of each file that can be decoded."""
    kept_in = cache / HASHES if cache else None
    kept: dict[str, list[Any]] = json.loads(kept_in.read_text("utf-8")) if kept_in and kept_in.exists() else {}
    keys = {path: (str(path.resolve()), *_state(path)) for path in paths}
    missing = [path for path, (name, *state) in keys.items() if kept.get(name, [])[:2] != state]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for path, hashed in zip(missing, pool.map(_hashed, missing), strict=True):
            name, *state = keys[path]
            kept[name] = [*state, hashed]
    if missing and kept_in:
        kept_in.parent.mkdir(parents=True, exist_ok=True)
        write_whole(kept_in, json.dumps(kept))
    found = {path: kept[name][2] for path, (name, *_) in keys.items()}
    return {path: _Hashes(*hashed) for path, hashed in found.items() if hashed}


def _state(path: Path) -> tuple[int, int]:
    """(size, time of modification) of a file, which differ after a change."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns


def _hashed(path: Path) -> _Hashes | None:
    """The hashes of a file; None if it cannot be decoded."""
    try:
        data = preprocess.read(path)
        cells = preprocess.pixels(path, (9, 9), data).sum(2, dtype=np.int32)
    except ImageError:
        return None
    darker = (cells[:8, 1:] > cells[:8, :-1], cells[1:, :8] > cells[:-1, :8])
    across, down = (int.from_bytes(np.packbits(bits).tobytes(), "big") for bits in darker)
    return _Hashes(hashlib.sha256(data).hexdigest(), across, down)


def shares(pictures: Sequence[Picture], weights: dict[str, float]) -> list[float]:
    """How often each picture is drawn, as a share of all draws.

    Each class gets half of the draws. Within a class, the share of a source
    grows with the square root of its size: a large source teaches more, but
    must not outweigh the others.

    Args:
        weights: factor on a source's share, by its name; 1 for other sources.

    Returns:
        One share for each picture; their sum is 1.
    """
    by_source: dict[tuple[int, bool, str], list[int]] = defaultdict(list)
    for index, picture in enumerate(pictures):
        by_source[picture.label, picture.is_art, picture.source].append(index)
    found = [0.0] * len(pictures)
    for label in range(len(LABELS)):
        for is_art in (False, True):
            of_class = {key: value for key, value in by_source.items() if key[:2] == (label, is_art)}
            has_other = any(key[:2] == (label, not is_art) for key in by_source)
            part = 0.5 * ((ART_SHARE if is_art else 1 - ART_SHARE) if has_other else 1.0)
            weight = {key: len(value) ** 0.5 * weights.get(key[2], 1.0) for key, value in of_class.items()}
            for key, indices in of_class.items():
                for index in indices:
                    found[index] = part * weight[key] / sum(weight.values()) / len(indices)
    return found
