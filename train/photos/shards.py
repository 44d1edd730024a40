"""Pieces of pictures in shards: tar files that are small enough to copy one by one, and of use from the first one on.

A shard holds `index.json` and JPEGs. The first shard has pieces of every
source, and each further one adds pieces in such an order that every source has
its share of the pieces at any time.

The JPEGs have quality 97 without chroma subsampling: 27 KB a piece and 47 dB,
where lossless WebP takes 46 KB. train/gpu.md shows how other qualities change a
network's answers.
"""

import hashlib
import json
import os
import tarfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from io import BytesIO
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile

from edge.errors import EdgeDetectError
from train.files import whole_path, write_whole
from train.photos.collection import Picture
from train.photos.pieces import INDEX as STORE_INDEX
from train.photos.pieces import SIDE, STORE, Pieces, Side

FORMAT = 1
QUALITY = 97
INDEX = "index.json"
ROW_BYTES = 24  # most bytes that a piece takes in the index, without the row of its picture
BLOCK = tarfile.BLOCKSIZE  # each member of a tar file has a header of one block, and is padded to whole blocks
PER_JOB = 64  # pieces that a process decodes in one job

Array = npt.NDArray[np.uint8]
Source = tuple[int, str, bool]  # (label, name, whether it is art), the key of `train.photos.collection.shares`


class ShardError(EdgeDetectError):
    """A shard or a folder of unpacked shards is damaged, or is from another packing."""


@dataclass(frozen=True)
class Packing:
    """How a side is packed.

    Attributes:
        root: the collection's folder; paths in the index are relative to it.
        shard_bytes: largest size of a shard.
        most: largest number of shards; pieces that do not fit are left out.
        seed: seed of the order of the pieces.
        together: see `packing_order`.
        held_out: copied to the index, see `train.photos.material.Material`.
    """

    root: Path
    shard_bytes: int
    most: int
    seed: int = 0
    together: int = 0
    held_out: dict[str, list[str]] = field(default_factory=dict)


def packing_order(side: Side, *, seed: int, together: int = 0) -> list[list[int]]:
    """The order in which pieces are packed: at any time each source has about its share of the packed pieces.

    A source's pictures come in random order: first one piece of each picture, then a second one of each, and so on.

    Args:
        together: number of first pieces of a picture that are packed together; the other pieces are left out. 0 packs
            every piece, each by itself.

    Returns:
        Indices of pieces; each inner list has the pieces of one picture that are packed together.
    """
    pictures, shares, pieces = side.pictures, side.shares, side.pieces
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
            # Every other piece of a picture is reduced; every other picture begins with a reduced piece.
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


def pack(name: str, side: Side, out: Path, packing: Packing) -> Iterator[tuple[Path, int, int]]:
    """Write a side's shards, `out/NAME-000.tar` and so on; shards that a former call has written are not written again.

    Yields:
        (path, pieces in this shard, pieces that are in no shard yet) of each shard, once it is complete.
    """
    units = packing_order(side, seed=packing.seed, together=packing.together)
    packer = _Packer(name, side, units, packing)
    position = 0
    for number in range(packing.most):
        if position == len(units):
            return
        path = out / f"{name}-{number:03}.tar"
        index = _written(path)
        if index is None or index["made_of"] != packer.common["made_of"] or index["first"] != position:
            index, jpegs = packer.shard(number, position)
            _write(path, index, jpegs)
        position = index["next"]
        yield path, len(index["pieces"]), sum(map(len, units[position:]))


class _Packer:
    """Fills the shards of a side.

    Attributes:
        common: the part of the index that all shards share; `made_of` identifies the packing.
    """

    def __init__(self, name: str, side: Side, units: list[list[int]], packing: Packing) -> None:
        self._side, self._units, self._opened = side, units, side.pieces.opened()
        self._names = [picture.path.relative_to(packing.root).as_posix() for picture in side.pictures]
        by_source: dict[Source, float] = defaultdict(float)
        for picture, share in zip(side.pictures, side.shares, strict=True):
            by_source[_source(picture)] += float(share)
        self._number_of_source = {source: number for number, source in enumerate(by_source)}
        self.common: dict[str, Any] = {
            "format": FORMAT,
            "side": name,
            "sources": [[label, source, share] for (label, source, _), share in by_source.items()],
            "held_out": packing.held_out,
        }
        self._room = packing.shard_bytes - len(json.dumps(self.common)) - 32 * BLOCK
        sizes = side.pieces.sizes.tolist()
        packed = json.dumps([self.common, self._names, units, QUALITY, packing.shard_bytes, sizes])
        self.common["made_of"] = hashlib.sha256(packed.encode()).hexdigest()

    def shard(self, number: int, first: int) -> tuple[dict[str, Any], list[bytes]]:
        """The index and the JPEGs of a shard that begins with the unit `first`."""
        pieces = self._side.pieces
        index = self.common | {"number": number, "first": first, "pictures": [], "pieces": []}
        jpegs: list[bytes] = []
        place: dict[int, int] = {}  # of a picture in the index
        size, position = 0, first
        for unit in self._units[first:]:
            encoded = [_encoded(_piece(self._opened, pieces, piece)) for piece in unit]
            of = int(pieces.picture[unit[0]])
            picture = self._side.pictures[of]
            row = [self._number_of_source[_source(picture)], self._names[of], picture.group]
            size += sum((1 + -(-len(jpeg) // BLOCK)) * BLOCK + ROW_BYTES for jpeg in encoded)
            size += len(json.dumps(row)) if of not in place else 0
            if size > self._room and jpegs:
                break
            jpegs += encoded
            position += 1
            if of not in place:
                place[of] = len(place)
                index["pictures"].append(row)
            for piece in unit:
                height, width = (int(n) for n in pieces.sizes[piece])
                index["pieces"].append([place[of], height, width, int(pieces.lossless[piece])])
        index["next"] = position
        return index, jpegs


def _source(picture: Picture) -> Source:
    return picture.label, picture.source, picture.is_art


def _piece(opened: Array, pieces: Pieces, number: int) -> Array:
    height, width = pieces.sizes[number]
    piece: Array = opened[number, :height, :width]
    return piece


def _encoded(piece: Array) -> bytes:
    buffer = BytesIO()
    # With optimised Huffman tables the output must fit in one buffer, and noise needs more than Pillow's default.
    ImageFile.MAXBLOCK = max(ImageFile.MAXBLOCK, 6 * SIDE * SIDE)
    Image.fromarray(piece).save(buffer, "JPEG", quality=QUALITY, subsampling=0, optimize=True)
    return buffer.getvalue()


def _write(path: Path, index: dict[str, Any], jpegs: Sequence[bytes]) -> None:
    members = [(INDEX, json.dumps(index, separators=(",", ":")).encode())]
    members += [(f"{number:06}.jpg", jpeg) for number, jpeg in enumerate(jpegs)]
    with whole_path(path) as partial, tarfile.open(partial, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in members:
            about = tarfile.TarInfo(name)
            about.size = len(data)
            tar.addfile(about, BytesIO(data))


def _written(path: Path) -> dict[str, Any] | None:
    """The index of a shard; None if there is no complete shard."""
    try:
        return _opened(path)[0]
    except (FileNotFoundError, ShardError):
        return None


def _opened(path: Path) -> tuple[dict[str, Any], list[tuple[int, int]]]:
    """The index of a shard, and the (offset, size) of each of its JPEGs.

    Raises:
        ShardError: the file is not a complete shard.
        FileNotFoundError: there is no such file.
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
    """A folder of unpacked pieces, in the format of `train.photos.pieces`, with their pictures and sources.

    Attributes:
        shards: names of the shards whose pieces are in the folder.
    """

    def __init__(self, folder: Path, *, create: bool = False) -> None:
        """
        Raises:
            ShardError: the folder holds no pieces, and `create` is not set; or it is damaged.
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
        """See `train.photos.material.Material`."""
        names: dict[str, list[str]] = self._data["held_out"]
        return names

    @property
    def pictures(self) -> list[Picture]:
        """The pictures that the pieces are of, with paths relative to the collection's folder."""
        found = []
        for source, path, group in self._data["pictures"]:
            label, name, _ = self._data["sources"][source]
            found.append(Picture(Path(path), label, name, group))
        return found

    @property
    def source_of(self) -> list[int]:
        """For each picture, the number of its source."""
        return [source for source, *_ in self._data["pictures"]]

    @property
    def source_shares(self) -> list[float]:
        """By number of a source, its share of all draws; the sum over all sources is 1."""
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
            The number of pieces added; 0 if they were there already.

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
            store.truncate(first * SIDE * SIDE * 3)  # drops the remains of a call that was stopped
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
        write_whole(self.folder / STORE_INDEX, json.dumps(self._data))
        return len(members)


def unpack(shards: Iterable[Path], out: Path, processes: int | None = None) -> Iterator[tuple[Path, int]]:
    """Decode shards into `out/SIDE`, and keep the pieces that are there already.

    Yields:
        (shard, number of pieces added) for each shard; 0 if its pieces were there already.

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
    """Decode JPEGs of a shard into a store; their sizes, (height, width).

    Args:
        job: (shard, (offset, size) of each JPEG, the store's file, index of the first piece there).

    Raises:
        ShardError: a JPEG is damaged.
    """
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
