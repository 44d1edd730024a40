"""From a file in a watched folder to what its model needs of it: bytes, digest, pixels."""

import functools
import hashlib
import os
import stat
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from edge.errors import UndecodableImageError, UnreadableFileError, reason_of
from edge.files import FileId, has_writer
from edge.imaging import heic, preprocess
from edge.imaging.inputs import Input, choose, take
from edge.imaging.preprocess import Pixels
from edge.sources.folder import OPEN_SECONDS
from edge.sources.mounts import is_remote


@dataclass(frozen=True)
class Task:
    """A file to read.

    Attributes:
        stamp: how the file looked when it was chosen.
        seen_ns: when that was, nanoseconds since the epoch.
    """

    path: str
    stamp: FileId
    seen_ns: int


@dataclass(frozen=True)
class Prepared:
    """A file that was read.

    Attributes:
        sha256: of its content.
        pixels: of all views that its model takes, shape (views, height, width, 3); None if the content is no
            acceptable image.
        size: the image's own upright (width, height).
        reason: why there are no pixels.
        seconds: it took to read and decode.
        model: the index of the model that it goes to.
    """

    sha256: bytes
    pixels: Pixels | None
    size: tuple[int, int]
    reason: str
    seconds: float
    model: int = 0

    @property
    def nbytes(self) -> int:
        """What its pixels take in memory."""
        return 0 if self.pixels is None else self.pixels.nbytes


@dataclass(frozen=True)
class Unread:
    """A file of which nothing was read: its content has no answer yet."""

    reason: str


@dataclass(frozen=True)
class Changed:
    """A file that was written to meanwhile: it is to be read again when it has come to rest."""


@dataclass(frozen=True)
class Died:
    """The process that read a file was ended from outside, for want of memory say: its content has no answer yet."""

    reason: str


Outcome = Prepared | Unread | Changed | Died


T = TypeVar("T")


def read_inside(root: str, path: str, stamp: FileId) -> bytes | Changed:
    """The content of a regular file that really lies below a folder; see `_inside`."""

    def read(descriptor: int, size: int) -> bytes | None:
        if path.lower().endswith(heic.SUFFIXES):  # there may be thousands, which are met again and again
            heic.require_decoder(path, os.pread(descriptor, heic.HEAD_BYTES, 0))
        data = os.read(descriptor, size + 1)
        while len(data) < size and (more := os.read(descriptor, size - len(data))):
            data += more
        return data if len(data) == size else None

    return _inside(root, path, stamp, read)


def digest_inside(root: str, path: str, stamp: FileId) -> bytes | Changed:
    """The SHA-256 of such a file, without having all of it in memory."""

    def digest(descriptor: int, _: int) -> bytes:
        with open(descriptor, "rb", closefd=False) as file:
            return hashlib.file_digest(file, "sha256").digest()

    return _inside(root, path, stamp, digest)


def _inside(root: str, path: str, stamp: FileId, use: Callable[[int, int], T | None]) -> T | Changed:
    """Do something with a regular file that really lies below a folder.

    Links are followed while they stay inside. The kernel is asked where the
    opened file is, so nobody can exchange a folder for a link in between.

    Args:
        root: the folder's real path.
        stamp: how the file looked when it was chosen.
        use: is given the open file and its size; None says that it has changed.

    Raises:
        UnreadableFileError: missing, forbidden, outside of the folder, not a regular file, too large.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except (OSError, ValueError) as error:
        raise UnreadableFileError(path, reason_of(error)) from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise UnreadableFileError(path, "is not a regular file")
        if not os.readlink(f"/proc/self/fd/{descriptor}").startswith(root.rstrip("/") + "/"):
            raise UnreadableFileError(path, "is a link that leads out of the folder")
        if FileId.of(status) != stamp or _is_being_written(descriptor, status):
            return Changed()
        if status.st_size > preprocess.MAX_BYTES:
            raise UnreadableFileError(path, f"{status.st_size} bytes, more than the limit of {preprocess.MAX_BYTES}")
        used = use(descriptor, status.st_size)
        return Changed() if used is None or FileId.of(os.fstat(descriptor)) != stamp else used
    except OSError as error:
        raise UnreadableFileError(path, reason_of(error)) from error
    finally:
        os.close(descriptor)


def _is_being_written(descriptor: int, status: os.stat_result) -> bool:
    """Whether a program holds an open file for writing that was written to not long ago."""
    is_recent = 0 <= time.time() - status.st_mtime < OPEN_SECONDS
    return (
        is_recent
        and not _is_remote(os.path.dirname(os.readlink(f"/proc/self/fd/{descriptor}")))
        and has_writer(descriptor)
    )


_is_remote = functools.lru_cache(maxsize=256)(is_remote)


def unprepared(root: str, task: Task, reason: str) -> Outcome:
    """What stands for `prepare` where that cannot be survived: the digest alone, with the reason."""
    try:
        digest = digest_inside(root, task.path, task.stamp)
    except UnreadableFileError as error:
        return Unread(error.reason)
    return digest if isinstance(digest, Changed) else Prepared(digest, None, (0, 0), reason, 0.0)


def prepare(root: str, task: Task, inputs: Sequence[Input]) -> Outcome:
    """Read and decode one file.

    Args:
        root: the folder's real path.
        inputs: what the models take; the image's size decides which one it goes to.
    """
    began = time.perf_counter()
    try:
        data = read_inside(root, task.path, task.stamp)
        if isinstance(data, Changed):
            return data
        sha256 = hashlib.sha256(data).digest()
        try:
            chosen, (pixels, size, _) = take(task.path, data, partial(choose, inputs=inputs))
        except UndecodableImageError as error:
            return Prepared(sha256, None, (0, 0), error.reason, time.perf_counter() - began)
        return Prepared(sha256, pixels, size, "", time.perf_counter() - began, chosen.model)
    except UnreadableFileError as error:
        return Unread(error.reason)
