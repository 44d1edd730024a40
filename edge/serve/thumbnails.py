"""Small pictures of answered files: made once, in a decoding process, and kept in a cache of limited size."""

import contextlib
import hashlib
import io
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from edge.errors import WorkerError
from edge.files import FileId
from edge.imaging.inputs import Input
from edge.imaging.preprocess import Pixels
from edge.paths import xdg_folder
from edge.store.history import Item
from edge.verdict import Verdict
from edge.watch.decode import Prepared, Task
from edge.watch.decode_pool import DecodePool
from edge.watch.decode_worker import DecodeLimits

SIDE = 240  # pixels
QUALITIES = (80, 68, 56, 44, 32, 20)  # of JPEG: the first one with which a picture is small enough
MOST_BYTES_PER_PIXEL = 10_000 / 240**2  # with 24 thumbnails, a page has 0.24 MB of pictures
LIMIT_BYTES = 100_000_000
SHARE_KEPT = 0.9  # of the limit, after the oldest were deleted
WAIT_SECONDS = 2.0  # for the thumbnails that are made before
IDLE_SECONDS = 30.0  # after which the decoding process ends
FRESH_SECONDS = 86_400.0  # the age from which a thumbnail that is used is marked as new
MAKE_SECONDS = 20.0  # longest wait for one thumbnail
LIMITS = DecodeLimits(seconds=8.0)
_WHOLE = b"\xff\xd8", b"\xff\xd9"  # how a JPEG file begins and ends


@dataclass(frozen=True)
class _Wanted:
    """A file that a thumbnail can be made of.

    Attributes:
        root: the file's real path must lie below this folder.
        sha256: of its content; None: any content, for a snapshot that this program has written itself.
        name: of the thumbnail in the cache.
    """

    path: str
    stamp: FileId
    root: str
    sha256: bytes | None
    name: str


def default_cache() -> Path | None:
    """The folder of thumbnails: that of the service (made by systemd), else of the user; None without a home."""
    if given := os.environ.get("CACHE_DIRECTORY"):
        return Path(given) / "thumbnails"
    base = xdg_folder("XDG_CACHE_HOME", ".cache")
    return None if base is None else base / "edge-detect" / "thumbnails"


class Thumbnails:
    """Makes and keeps thumbnails. Threads may share it; one thumbnail is made at a time."""

    def __init__(self, cache: Path | None, *, side: int = SIDE, limit_bytes: int = LIMIT_BYTES) -> None:
        """
        Args:
            cache: folder; made when needed. None: nothing is kept.
            side: greatest width and height in pixels.
            limit_bytes: greatest size of the cache; the oldest thumbnails are deleted beyond it.
        """
        self._cache, self._side, self._limit_bytes = cache, side, limit_bytes
        self._lock = threading.Lock()
        self._pool: DecodePool | None = None
        self._pool_root = ""
        self._used_at = time.monotonic()
        self._bytes: int | None = None  # in the cache; None before it was listed
        self._timer: threading.Timer | None = None

    def get(self, item: Item) -> bytes | None:
        """The thumbnail of an answer as a JPEG file.

        Returns:
            None if there is no picture: the file is missing or has changed, the answer is an error or a frame of a
            camera without a snapshot, or too many thumbnails are waited for.
        """
        if not isinstance(item.recorded.answer, Verdict):
            return None
        if item.recorded.event is None and (kept := self._kept(self._name(item.sha256))):
            return kept
        if not self._lock.acquire(timeout=WAIT_SECONDS):  # a file on a network share may keep the others waiting
            return None
        try:
            for wanted in self._wanted(item):
                if kept := self._kept(wanted.name):
                    return kept
                if made := self._made(wanted):
                    self._keep(wanted.name, made)
                    return made
            return None
        finally:
            self._lock.release()

    def close(self) -> None:
        """End the decoding process."""
        with self._lock:
            self._end()

    def __enter__(self) -> "Thumbnails":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _wanted(self, item: Item) -> list[_Wanted]:
        """The files that may show an answer, those that exist."""
        found, event, answer = [], item.recorded.event, item.recorded.answer
        if event is not None:
            paths = [event.snapshot] if event.snapshot else []
        else:
            paths = [path for path in (item.recorded.moved_to, answer.path) if path]
        for path in paths:
            with contextlib.suppress(OSError, ValueError):
                stamp = FileId.of(os.stat(path))
                if event is not None:
                    root, sha256 = os.path.realpath(os.path.dirname(path)), None
                    name = self._name(hashlib.sha256(f"{path}\0{stamp}".encode("utf-8", "surrogateescape")).digest())
                else:  # wherever it lies now: only the same content is shown
                    root, sha256, name = "/", item.sha256, self._name(item.sha256)
                found.append(_Wanted(path, stamp, root, sha256, name))
        return found

    def _name(self, digest: bytes) -> str:
        return f"{digest.hex()}-{self._side}.jpg"

    def _made(self, wanted: _Wanted) -> bytes | None:
        """Decode a file and encode its thumbnail; None if it cannot be decoded, or is not the file that it was."""
        task = Task(wanted.path, wanted.stamp, time.time_ns())
        try:
            if self._pool is None or self._pool_root != wanted.root:
                self._end()
                self._pool, self._pool_root = self._started(wanted.root), wanted.root
                self._end_later()
            self._pool.submit(task)
            deadline = time.monotonic() + MAKE_SECONDS
            while not (outcomes := self._pool.outcomes(0.5)):
                if time.monotonic() > deadline:
                    self._end()
                    return None
        except WorkerError:
            self._end()
            return None
        self._used_at = time.monotonic()
        ((_, outcome),) = outcomes
        if not isinstance(outcome, Prepared) or outcome.pixels is None:
            return None
        if wanted.sha256 is not None and outcome.sha256 != wanted.sha256:
            return None
        return encoded(outcome.pixels[0], outcome.size, self._side)

    def _started(self, root: str) -> DecodePool:
        return DecodePool(1, root, [Input(0, (self._side, self._side))], LIMITS)

    def _end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    def _end_later(self, seconds: float = IDLE_SECONDS) -> None:
        self._timer = threading.Timer(seconds, self._end_if_idle)
        self._timer.daemon = True
        self._timer.start()

    def _end_if_idle(self) -> None:
        with self._lock:
            left = self._used_at + IDLE_SECONDS - time.monotonic()
            if left <= 0:
                self._end()
            elif self._pool is not None:
                self._end_later(left)

    def _kept(self, name: str) -> bytes | None:
        """A thumbnail in the cache; None if it is not there, or was cut off by a power cut."""
        if self._cache is None:
            return None
        try:
            with open(self._cache / name, "rb") as file:
                data = file.read()
                age = time.time() - os.fstat(file.fileno()).st_mtime
        except OSError:
            return None
        if not (data.startswith(_WHOLE[0]) and data.endswith(_WHOLE[1])):
            return None
        if age > FRESH_SECONDS:
            with contextlib.suppress(OSError):
                os.utime(self._cache / name)
        return data

    def _keep(self, name: str, data: bytes) -> None:
        """Write a thumbnail to the cache, if that is possible."""
        if self._cache is None:
            return
        partial = self._cache / f".{name}.part"
        with contextlib.suppress(OSError):
            if self._bytes is None:
                self._cache.mkdir(parents=True, exist_ok=True, mode=0o700)
                self._tidy()
            try:
                partial.write_bytes(data)  # not synchronised: it can be made again
                os.replace(partial, self._cache / name)
            except OSError:
                partial.unlink(missing_ok=True)
                raise
            self._bytes = (self._bytes or 0) + len(data)
            if self._bytes > self._limit_bytes:
                self._tidy()

    def _tidy(self) -> None:
        """Count the bytes of the cache, and delete the oldest thumbnails if they exceed the limit."""
        assert self._cache is not None
        found, total = [], 0
        with os.scandir(self._cache) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    status = entry.stat(follow_symlinks=False)
                    if entry.name.endswith(".part"):
                        os.unlink(entry.path)
                    elif entry.name.endswith(".jpg"):
                        found.append((status.st_mtime, status.st_size, entry.path))
                        total += status.st_size
        if total > self._limit_bytes:
            for _, size, path in sorted(found):
                if total <= SHARE_KEPT * self._limit_bytes:
                    break
                with contextlib.suppress(OSError):
                    os.unlink(path)
                    total -= size
        self._bytes = total


def encoded(square: Pixels, size: tuple[int, int], side: int) -> bytes:
    """A thumbnail as a JPEG file, without metadata.

    Args:
        square: the picture scaled to a square, RGB, uint8, shape (height, width, 3).
        size: its own (width, height) in pixels, which gives the aspect ratio.
        side: greatest width and height of the thumbnail in pixels.
    """
    scale = min(1.0, side / max(size))
    width, height = (max(1, round(length * scale)) for length in size)
    picture = Image.fromarray(square).resize((width, height), Image.Resampling.BICUBIC)
    found = b""
    for quality in QUALITIES:
        data = io.BytesIO()
        picture.save(data, "JPEG", quality=quality)
        found = data.getvalue()
        if len(found) <= side * side * MOST_BYTES_PER_PIXEL:
            break
    return found
