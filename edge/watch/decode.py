"""Reads a file of a watched folder, and prepares it for its model: digest and pixels."""

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
from edge.imaging import avif, heic, preprocess
from edge.imaging.inputs import Input, choose, take
from edge.imaging.preprocess import Pixels
from edge.sources.folder import OPEN_SECONDS
from edge.sources.mounts import is_remote


@dataclass(frozen=True)
class Task:
    """A file to read.

    Attributes:
        stamp: its identity and state when it was found.
        seen_ns: when it was found, nanoseconds since the epoch.
    """

    path: str
    stamp: FileId
    seen_ns: int


@dataclass(frozen=True)
class Prepared:
    """A file that was read.

    Attributes:
        sha256: of its content.
        pixels: of all views that its model takes, shape (views, height, width, 3); None if the content is not an
            acceptable image.
        size: (width, height) of the upright image.
        reason: why there are no pixels; empty if there are.
        seconds: read and decode time.
        model: index of the model for this image.
    """

    sha256: bytes
    pixels: Pixels | None
    size: tuple[int, int]
    reason: str
    seconds: float
    model: int = 0

    @property
    def nbytes(self) -> int:
        """Bytes of the pixels."""
        return 0 if self.pixels is None else self.pixels.nbytes


@dataclass(frozen=True)
class Unread:
    """A file that could not be read; the reason is reported, and a later listing tries again."""

    reason: str


@dataclass(frozen=True)
class FileChanged:
    """A file that has changed since it was found, or is being written; it is read again when it has settled."""


@dataclass(frozen=True)
class WorkerDied:
    """The process that read a file hung, or was killed from outside, for example for lack of memory.

    That need not be the fault of the file, so a later listing tries again.
    """

    reason: str


Outcome = Prepared | Unread | FileChanged | WorkerDied

T = TypeVar("T")


def read_inside(root: str, path: str, stamp: FileId) -> bytes | FileChanged:
    """The content of a regular file whose real path lies below a folder; see `_use_inside`."""

    def read(descriptor: int, size: int) -> bytes | None:
        if path.lower().endswith(heic.SUFFIXES):  # without a decoder, do not read thousands of files at every listing
            heic.require_decoder(path, os.pread(descriptor, heic.HEAD_BYTES, 0))
        elif path.lower().endswith(avif.SUFFIXES):
            avif.require_decoder(path, os.pread(descriptor, heic.HEAD_BYTES, 0))
        data = os.read(descriptor, size + 1)
        while len(data) < size and (more := os.read(descriptor, size - len(data))):
            data += more
        return data if len(data) == size else None

    return _use_inside(root, path, stamp, read)


def digest_inside(root: str, path: str, stamp: FileId) -> bytes | FileChanged:
    """The SHA-256 of a regular file whose real path lies below a folder, read piece by piece; see `_use_inside`."""

    def digest(descriptor: int, _: int) -> bytes:
        with open(descriptor, "rb", closefd=False) as file:
            return hashlib.file_digest(file, "sha256").digest()

    return _use_inside(root, path, stamp, digest)


def _use_inside(root: str, path: str, stamp: FileId, use: Callable[[int, int], T | None]) -> T | FileChanged:
    """Open a regular file whose real path lies below a folder, and use it.

    Links are followed if they stay inside. The check uses the path that the kernel reports for the opened file, so that
    nobody can replace a folder by a link between the check and the opening.

    Args:
        root: the folder's real path.
        stamp: the file's identity and state when it was found.
        use: called with the open descriptor and the size in bytes; returns None if the file changed meanwhile.

    Returns:
        The result of `use`; FileChanged if the file has changed since it was found, or is being written.

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
            return FileChanged()
        if status.st_size > preprocess.MAX_BYTES:
            raise UnreadableFileError(path, f"{status.st_size} bytes, more than the limit of {preprocess.MAX_BYTES}")
        used = use(descriptor, status.st_size)
        return FileChanged() if used is None or FileId.of(os.fstat(descriptor)) != stamp else used
    except OSError as error:
        raise UnreadableFileError(path, reason_of(error)) from error
    finally:
        os.close(descriptor)


def _is_being_written(descriptor: int, status: os.stat_result) -> bool:
    """Whether a program has a file open for writing that was modified in the last OPEN_SECONDS."""
    is_recent = 0 <= time.time() - status.st_mtime < OPEN_SECONDS
    return (
        is_recent
        and not _is_remote(os.path.dirname(os.readlink(f"/proc/self/fd/{descriptor}")))
        and has_writer(descriptor)
    )


_is_remote = functools.lru_cache(maxsize=256)(is_remote)


def prepare_without_decoding(root: str, task: Task, reason: str) -> Outcome:
    """Read only the digest of a file whose decoding crashes or does not end.

    Args:
        root: the folder's real path.
        reason: why it cannot be decoded.
    """
    try:
        digest = digest_inside(root, task.path, task.stamp)
    except UnreadableFileError as error:
        return Unread(error.reason)
    return digest if isinstance(digest, FileChanged) else Prepared(digest, None, (0, 0), reason, 0.0)


def prepare(root: str, task: Task, inputs: Sequence[Input]) -> Outcome:
    """Read and decode one file.

    Args:
        root: the folder's real path.
        inputs: of the models; the image's size decides which of them it goes to.
    """
    began = time.perf_counter()
    try:
        data = read_inside(root, task.path, task.stamp)
        if isinstance(data, FileChanged):
            return data
        sha256 = hashlib.sha256(data).digest()
        try:
            chosen, (pixels, size, _) = take(task.path, data, partial(choose, inputs=inputs))
        except UndecodableImageError as error:
            return Prepared(sha256, None, (0, 0), error.reason, time.perf_counter() - began)
        return Prepared(sha256, pixels, size, "", time.perf_counter() - began, chosen.model)
    except UnreadableFileError as error:
        return Unread(error.reason)
