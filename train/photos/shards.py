"""Pieces of pictures as files that are small enough to be copied one by one, each of use without the next.

A shard is a tar file: `index.json`, then JPEGs. Pieces are dealt so that the
first shard has something of every source, and so that as many of a source's
pieces have arrived at any time as its share of the draws asks for.

The JPEGs are of quality 97 without chroma subsampling: 27 KB a piece and
47 dB, where lossless WebP takes 46 KB. train/gpu.md has what other qualities
do to a network's answers.
"""

import hashlib
import json
import os
import tarfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from io import BytesIO
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile

from edge.errors import EdgeDetectError
from train.photos.collection import Picture
from train.photos.pieces import INDEX as STORE_INDEX
from train.photos.pieces import SIDE, STORE, Pieces

FORMAT = 1
QUALITY = 97
INDEX = "index.json"
ROW_BYTES = 24  # of the index for a piece, at most, beside what its picture takes
BLOCK = tarfile.BLOCKSIZE  # of a tar; each member has one before it, and is padded to whole ones
PER_JOB = 64  # pieces that a process decodes at a time

Array = npt.NDArray[np.uint8]
Source = tuple[
    int, str, bool
]  # label, name, and whether it is art: as `train.photos.collection.shares` tells them apart


class ShardError(EdgeDetectError):
    """A shard, or a folder of unpacked ones, is damaged or does not belong to the others."""


def dealt(
    pictures: Sequence[Picture], shares: npt.NDArray[np.float64], pieces: Pieces, *, seed: int, together: int = 0
) -> list[list[int]]:
    """The order in which pieces are packed: each source keeps pace with its share of the draws.

    A source's pictures come in a random order, first one piece of each, then a second one.

    Args:
        shares: of each picture.
        together: so many first pieces of a picture are dealt at once, and the others never; 0 deals each by itself.

    Returns:
        Numbers of pieces; what stands together is of one picture.
    """
    of_picture: dict[int, list[int]] = defaultdict(list)
    for number, picture in enumerate(pieces.picture):
        of_picture[int(picture)].append(number)
    by_source: dict[Source, list[int]] = defaultdict(list)
    for picture in of_picture:
        by_source[_source(pictures[picture])].append(picture)
    random, timed = np.random.default_rng(seed), []
    for of_source in by_source.values():
        pace = sum(shares[picture] for picture in of_source)
        shuffled = [of_source[index] for index in random.permutation(len(of_source))]
        if together:
            units = [of_picture[picture][:together] for picture in shuffled]
        else:
            # Pieces are by turns at native resolution and reduced; every other picture begins with a reduced one.
            turned = [
                of_picture[picture][turn % 2 :] + of_picture[picture][: turn % 2]
                for turn, picture in enumerate(shuffled)
            ]
            rounds = max(len(its) for its in turned)
            units = [[its[number]] for number in range(rounds) for its in turned if number < len(its)]
        begun = 0
        for unit in units:
            timed.append((begun / pace, random.random(), unit))
            begun += len(unit)
    return [unit for *_, unit in sorted(timed)]


def pack(
    side: str,
    pictures: Sequence[Picture],
    shares: npt.NDArray[np.float64],
    pieces: Pieces,
    out: Path,
    *,
    root: Path,
    shard_bytes: int,
    most: int,
    seed: int = 0,
    together: int = 0,
    held_out: dict[str, list[str]] | None = None,
) -> Iterator[tuple[Path, int, int]]:
    """Write a side's shards, `out/SIDE-000.tar` and so on; those that a former call has written are left as they are.

    Args:
        root: the collection's folder, which paths in the index are relative to.
        shard_bytes: size of a shard at most.
        most: shards at most; what does not fit is left out.
        together: see `dealt`.
        held_out: kept in the index, see `train.photos.material.Material`.

    Yields:
        Each shard, once it is whole; how many pieces it has, and how many are in no shard yet.
    """
    units = dealt(pictures, shares, pieces, seed=seed, together=together)
    names = [picture.path.relative_to(root).as_posix() for picture in pictures]
    by_source: dict[Source, float] = defaultdict(float)
    for picture, share in zip(pictures, shares, strict=True):
        by_source[_source(picture)] += float(share)
    common: dict[str, Any] = {
        "format": FORMAT,
        "side": side,
        "sources": [[label, source, share] for (label, source, _), share in by_source.items()],
        "held_out": held_out or {},
    }
    numbers = {source: number for number, source in enumerate(by_source)}
    room = shard_bytes - len(json.dumps(common)) - 32 * BLOCK
    packed = json.dumps([common, names, units, QUALITY, shard_bytes, pieces.sizes.tolist()])
    common["made_of"] = hashlib.sha256(packed.encode()).hexdigest()
    opened, position = pieces.opened(), 0
    for number in range(most):
        if position == len(units):
            return
        path = out / f"{side}-{number:03}.tar"
        index = _written(path)
        if index is None or index["made_of"] != common["made_of"] or index["first"] != position:
            index = common | {"number": number, "first": position, "pictures": [], "pieces": []}
            encoded: list[bytes] = []
            found: dict[int, int] = {}
            size = 0
            for unit in units[position:]:
                jpegs = [_encoded(_piece(opened, pieces, piece)) for piece in unit]
                of = int(pieces.picture[unit[0]])
                row = [numbers[_source(pictures[of])], names[of], pictures[of].group]
                size += sum((1 + -(-len(jpeg) // BLOCK)) * BLOCK + ROW_BYTES for jpeg in jpegs)
                size += len(json.dumps(row)) if of not in found else 0
                if size > room and encoded:
                    break
                encoded += jpegs
                position += 1
                if of not in found:
                    found[of] = len(found)
                    index["pictures"].append(row)
                for piece in unit:
                    height, width = (int(n) for n in pieces.sizes[piece])
                    index["pieces"].append([found[of], height, width, int(pieces.lossless[piece])])
            index["next"] = position
            _write(path, index, encoded)
        position = index["next"]
        yield path, len(index["pieces"]), sum(map(len, units[position:]))


def _source(picture: Picture) -> Source:
    return picture.label, picture.source, picture.is_art


def _piece(opened: Array, pieces: Pieces, number: int) -> Array:
    height, width = pieces.sizes[number]
    piece: Array = opened[number, :height, :width]
    return piece


def _encoded(piece: Array) -> bytes:
    buffer = BytesIO()
    # Optimal Huffman tables ask for all of the output in one buffer; noise fills more than Pillow expects.
    ImageFile.MAXBLOCK = max(ImageFile.MAXBLOCK, 6 * SIDE * SIDE)
    Image.fromarray(piece).save(buffer, "JPEG", quality=QUALITY, subsampling=0, optimize=True)
    return buffer.getvalue()


def _write(path: Path, index: dict[str, Any], jpegs: Sequence[bytes]) -> None:
    partial = path.with_suffix(".partial")
    members = [(INDEX, json.dumps(index, separators=(",", ":")).encode())]
    members += [(f"{number:06}.jpg", jpeg) for number, jpeg in enumerate(jpegs)]
    with tarfile.open(partial, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in members:
            about = tarfile.TarInfo(name)
            about.size = len(data)
            tar.addfile(about, BytesIO(data))
    os.replace(partial, path)


def _written(path: Path) -> dict[str, Any] | None:
    try:
        return _opened(path)[0]
    except (FileNotFoundError, ShardError):
        return None


def _opened(path: Path) -> tuple[dict[str, Any], list[tuple[int, int]]]:
    """The index of a shard, and the (offset, size) of each of its JPEGs.

    Raises:
        ShardError: the file is no shard, or not a whole one.
        FileNotFoundError: there is none.
    """
    try:
        with tarfile.open(path, "r:") as tar:
            first, *others = tar.getmembers()
            file = tar.extractfile(first)
            index: dict[str, Any] = json.loads(file.read() if file else b"")
        whole = len(others) == len(index["pieces"]) and path.stat().st_size >= others[-1].offset_data + others[-1].size
        if index["format"] != FORMAT or not whole:
            raise ValueError(f"{len(others)} of {len(index['pieces'])} pieces are there")
    except FileNotFoundError:
        raise
    except (OSError, tarfile.TarError, ValueError, KeyError, TypeError, IndexError) as error:
        raise ShardError(f"{path}: not a whole shard, copy it again: {error}") from error
    return index, [(member.offset_data, member.size) for member in others]


class Store:
    """A folder of pieces out of shards: what `train.photos.pieces` keeps there, and whose the pieces are.

    Attributes:
        shards: names of the files that are in it.
        source_of: number of each picture's source.
        source_shares: how often a source is drawn, by its number; the sum over all sources is 1.
    """

    def __init__(self, folder: Path, *, create: bool = False) -> None:
        """
        Raises:
            ShardError: nothing has been unpacked there, and `create` is not set; or it is damaged.
        """
        self.folder = folder
        empty: dict[str, Any] = {"made_of": None, "shards": [], "sources": [], "held_out": {}, "pictures": []}
        self._data: dict[str, Any] = empty | {"picture": [], "sizes": [], "lossless": []}
        try:
            self._data |= json.loads((folder / STORE_INDEX).read_text("utf-8"))
        except FileNotFoundError:
            if not create:
                raise ShardError(f"{folder}: no pieces; unpack shards of both sides first") from None
        except (OSError, ValueError) as error:
            raise ShardError(f"{folder / STORE_INDEX}: damaged, remove the folder and unpack again: {error}") from error
        self.shards: list[str] = self._data["shards"]

    @property
    def held_out(self) -> dict[str, list[str]]:
        names: dict[str, list[str]] = self._data["held_out"]
        return names

    @property
    def pictures(self) -> list[Picture]:
        """Their paths are relative to the collection that the shards were packed from."""
        found = []
        for source, path, group in self._data["pictures"]:
            label, name, _ = self._data["sources"][source]
            found.append(Picture(Path(path), label, name, group))
        return found

    @property
    def source_of(self) -> list[int]:
        return [source for source, *_ in self._data["pictures"]]

    @property
    def source_shares(self) -> list[float]:
        return [share for *_, share in self._data["sources"]]

    def pieces(self) -> Pieces:
        return Pieces(
            self.folder / STORE,
            np.array(self._data["picture"], np.int32),
            np.array(self._data["sizes"], np.int16).reshape(-1, 2),
            np.array(self._data["lossless"], bool),
        )

    def add(self, shard: Path, pool: ProcessPoolExecutor) -> int:
        """Decode a shard into the folder.

        Returns:
            How many pieces came; 0 if they were there already.

        Raises:
            ShardError: the shard is damaged, or from another packing.
        """
        index, members = _opened(shard)
        if shard.name in self.shards and index["made_of"] == self._data["made_of"]:
            return 0
        if self._data["made_of"] not in (None, index["made_of"]):
            raise ShardError(f"{shard}: packed from other pictures or settings than what is in {self.folder}")
        first = len(self._data["picture"])
        with (self.folder / STORE).open("ab") as store:
            store.truncate(first * SIDE * SIDE * 3)  # without what a call that was stopped has left
            store.truncate((first + len(members)) * SIDE * SIDE * 3)
        jobs = [
            (shard, members[start : start + PER_JOB], self.folder / STORE, first + start)
            for start in range(0, len(members), PER_JOB)
        ]
        sizes = [size for of_job in pool.map(_decoded, jobs) for size in of_job]
        if sizes != [(height, width) for _, height, width, _ in index["pieces"]]:
            raise ShardError(f"{shard}: its pieces are not those of its index")
        known = {path: number for number, (_, path, _) in enumerate(self._data["pictures"])}
        for row in index["pictures"]:
            if row[1] not in known:
                known[row[1]] = len(known)
                self._data["pictures"].append(row)
        for picture, height, width, lossless in index["pieces"]:
            self._data["picture"].append(known[index["pictures"][picture][1]])
            self._data["sizes"].append([height, width])
            self._data["lossless"].append(bool(lossless))
        self._data |= {key: index[key] for key in ("made_of", "sources", "held_out")}
        self.shards.append(shard.name)
        partial = (self.folder / STORE_INDEX).with_suffix(".partial")
        partial.write_text(json.dumps(self._data), "utf-8")
        os.replace(partial, self.folder / STORE_INDEX)
        return len(members)


def unpack(shards: Iterable[Path], out: Path, processes: int | None = None) -> Iterator[tuple[Path, int]]:
    """Decode shards into `out/SIDE`, beside those that are there already.

    Yields:
        Each shard and how many pieces came of it; 0 if they were there already.

    Raises:
        ShardError: a shard is damaged, or from another packing.
    """
    with ProcessPoolExecutor(processes or os.cpu_count(), get_context("spawn")) as pool:
        for shard in shards:
            try:
                side = str(_opened(shard)[0]["side"])
            except FileNotFoundError:
                raise ShardError(f"{shard}: no such file") from None
            folder = out / side
            folder.mkdir(parents=True, exist_ok=True)
            yield shard, Store(folder, create=True).add(shard, pool)


def _decoded(job: tuple[Path, Sequence[tuple[int, int]], Path, int]) -> list[tuple[int, int]]:
    shard, members, store, first = job
    shape = (len(members), SIDE, SIDE, 3)
    slots = np.memmap(store, np.uint8, "r+", offset=first * SIDE * SIDE * 3, shape=shape)
    sizes = []
    with shard.open("rb") as file:
        for slot, (offset, size) in zip(slots, members, strict=True):
            file.seek(offset)
            try:
                with Image.open(BytesIO(file.read(size)), formats=("JPEG",)) as opened:
                    piece = np.asarray(opened.convert("RGB"))
            except (OSError, SyntaxError) as error:
                raise ShardError(f"{shard}: not a whole shard, copy it again: {error}") from error
            slot[: piece.shape[0], : piece.shape[1]] = piece
            sizes.append((piece.shape[0], piece.shape[1]))
    return sizes
