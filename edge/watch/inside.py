"""Reads files that must lie inside of a folder, whatever links lead out of it."""

import hashlib
import os
import stat
import time
from collections.abc import Callable
from functools import lru_cache
from typing import TypeVar

from edge.errors import UnreadableFileError, reason_of
from edge.files import FileId, has_writer
from edge.imaging import avif, heic, preprocess
from edge.sources.folder import OPEN_SECONDS
from edge.sources.mounts import is_remote

T = TypeVar("T")
_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY


class _Folder:
    """An open folder, whose real path lies inside of another one.

    Attributes:
        within: the other one's real path.
        path: by which it was opened.
    """

    def __init__(self, within: str, path: str) -> None:
        """
        Raises:
            OSError: it cannot be opened.
            ValueError: it lies outside, or its path has a NUL.
        """
        self.within, self.path = within, path
        self.descriptor = os.open(path or "/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        if not f"{_real_path(self.descriptor)}/".startswith(f"{within.rstrip('/')}/"):
            raise ValueError("outside")

    def __del__(self) -> None:
        if hasattr(self, "descriptor"):
            os.close(self.descriptor)


_latest: _Folder | None = None  # the files of a folder follow each other; see `release`


def release() -> None:
    """Close the folder of the last file. A disk that it lies on could not be unmounted."""
    global _latest
    _latest = None


def read_inside(root: str, path: str, stamp: FileId) -> bytes | None:
    """The content of a regular file whose real path lies below a folder; see `_use_inside`."""
    suffix = path[-5:].lower()

    def read(descriptor: int, size: int) -> bytes | None:
        if suffix.endswith(heic.SUFFIXES):  # without a decoder, do not read thousands of files at every listing
            heic.require_decoder(path, os.pread(descriptor, heic.HEAD_BYTES, 0))
        elif suffix.endswith(avif.SUFFIXES):
            avif.require_decoder(path, os.pread(descriptor, heic.HEAD_BYTES, 0))
        data = os.read(descriptor, size + 1)
        while len(data) < size and (more := os.read(descriptor, size - len(data))):
            data += more
        return data if len(data) == size else None

    return _use_inside(root, path, stamp, read)


def digest_inside(root: str, path: str, stamp: FileId) -> bytes | None:
    """The SHA-256 of a regular file whose real path lies below a folder, read piece by piece; see `_use_inside`."""

    def digest(descriptor: int, _: int) -> bytes:
        with open(descriptor, "rb", closefd=False) as file:
            return hashlib.file_digest(file, "sha256").digest()

    return _use_inside(root, path, stamp, digest)


def _use_inside(root: str, path: str, stamp: FileId, use: Callable[[int, int], T | None]) -> T | None:
    """Open a regular file whose real path lies below a folder, and use it.

    Links are followed if they stay inside. The check uses the path that the kernel reports for what was opened, so that
    nobody can replace a folder by a link between the check and the opening.

    Args:
        root: the folder's real path.
        stamp: the file's identity and state when it was found.
        use: called with the open descriptor and the size in bytes; returns None if the file changed meanwhile.

    Returns:
        The result of `use`; None if the file has changed since it was found, or is being written.

    Raises:
        UnreadableFileError: missing, forbidden, outside of the folder, not a regular file, too large.
    """
    descriptor, status = _opened_in_folder(root, path, stamp) or _opened(root, path)
    try:
        if not _is_of(status, stamp) or _is_being_written(descriptor, status):
            return None
        if status.st_size > preprocess.MAX_BYTES:
            raise UnreadableFileError(path, f"{status.st_size} bytes, more than the limit of {preprocess.MAX_BYTES}")
        used = use(descriptor, status.st_size)
        after = os.fstat(descriptor)
        return used if (after.st_size, after.st_mtime_ns) == (stamp.size, stamp.mtime_ns) else None
    except OSError as error:
        raise UnreadableFileError(path, reason_of(error)) from error
    finally:
        os.close(descriptor)


def _opened_in_folder(root: str, path: str, stamp: FileId) -> tuple[int, os.stat_result] | None:
    """Open a file by its folder, which stays open for the next file: that saves half of the time.

    Returns:
        A descriptor and the status of exactly the file that was found; None in any other case, for `_opened`.
    """
    global _latest
    folder, slash, name = path.rpartition("/")
    if not slash:
        return None
    try:
        if _latest is None or _latest.path != folder or _latest.within != root:
            _latest = None  # closes the former one
            _latest = _Folder(root, folder)
        descriptor = os.open(name, _FLAGS | os.O_NOFOLLOW, dir_fd=_latest.descriptor)
    except (OSError, ValueError):
        _latest = None
        return None
    status = os.fstat(descriptor)
    if _is_of(status, stamp) and stat.S_ISREG(status.st_mode):
        return descriptor, status
    os.close(descriptor)
    _latest = None  # the path may lead to another folder now
    return None


def _opened(root: str, path: str) -> tuple[int, os.stat_result]:
    """Open a file by its path; raises UnreadableFileError as `_use_inside` does."""
    try:
        descriptor = os.open(path, _FLAGS)
    except (OSError, ValueError) as error:
        raise UnreadableFileError(path, reason_of(error)) from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise UnreadableFileError(path, "is not a regular file")
        if not _real_path(descriptor).startswith(root.rstrip("/") + "/"):
            raise UnreadableFileError(path, "is a link that leads out of the folder")
        return descriptor, status
    except (OSError, UnreadableFileError) as error:
        os.close(descriptor)
        if isinstance(error, OSError):
            raise UnreadableFileError(path, reason_of(error)) from error
        raise


def _is_of(status: os.stat_result, stamp: FileId) -> bool:
    return (status.st_ino, status.st_mtime_ns, status.st_size, status.st_dev) == (
        stamp.inode,
        stamp.mtime_ns,
        stamp.size,
        stamp.device,
    )


def _real_path(descriptor: int) -> str:
    return os.readlink(f"/proc/self/fd/{descriptor}")


def _is_being_written(descriptor: int, status: os.stat_result) -> bool:
    """Whether a program has a file open for writing that was modified in the last OPEN_SECONDS."""
    is_recent = 0 <= time.time() - status.st_mtime < OPEN_SECONDS
    return is_recent and not _is_remote(os.path.dirname(_real_path(descriptor))) and has_writer(descriptor)


_is_remote = lru_cache(maxsize=256)(is_remote)
