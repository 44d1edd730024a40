"""Moving a file without ever taking another one's name, and such that a power cut can be made good."""

import contextlib
import ctypes
import errno
import functools
import hashlib
import itertools
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from edge.files import FileId
from edge.store.ledger import Move

UNREADABLE = "UNREADABLE"
_RENAME_NOREPLACE = 1  # linux/fs.h
_AT_FDCWD = -100  # fcntl.h
# What file systems say that cannot do what was asked: a rename that replaces nothing; a hard link.
_NO_SUCH_RENAME = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)
_NO_SUCH_LINK = (*_NO_SUCH_RENAME, errno.EPERM, errno.EMLINK)
_COARSEST_NS = 2_000_000_000  # FAT's times are even seconds
_CHUNK = 1 << 20
_CHUNKS_AT_ONCE = 16  # are left to the kernel, until it is asked to bring them to the disk


class Sorter:
    """Decides where the files of a watched folder go: `directory/LABEL/`, sub-folders kept.

    Attributes:
        directory: absolute.
    """

    def __init__(self, directory: str, root: str) -> None:
        """
        Args:
            root: the real path of the folder that is watched.
        """
        self.directory, self._root = os.path.realpath(directory), root

    def target(self, path: str, label: str | None) -> str:
        """A place for a file below the root, by its verdict; None for what cannot be decoded."""
        return os.path.join(self.directory, label or UNREADABLE, os.path.relpath(path, self._root))


def perform(move: Move, alive: Callable[[], None] = lambda: None) -> str | None:
    """Move a file, or finish a move that was interrupted anywhere.

    Args:
        alive: called every now and then while a file is copied, which may take minutes.

    Returns:
        Where the file is now: at the target, or at `target (2)` ... if that name belongs to another file. None if
        the source has gone or was written to, so that there is nothing to move.

    Raises:
        OSError: it cannot be moved just now; everything is as it was.
    """
    aside = _aside(move.source)
    with contextlib.suppress(OSError):
        if _was(aside, move):  # a copy was whole and had its name; only this was still to be removed
            os.unlink(aside)
    try:
        is_the_one = _is(move.source, move)
    except FileNotFoundError:
        return _copy_of_ours(move)
    if not is_the_one:
        return None
    os.makedirs(os.path.dirname(move.target), exist_ok=True)
    for target in _names(move.target):
        try:
            _rename(move.source, target)
        except FileExistsError:
            if not os.path.samestat(os.lstat(move.source), os.lstat(target)):
                continue
            os.unlink(move.source)  # a link half done
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            return _across(move, alive)
        if _was(target, move):
            return target
        _rename(target, move.source)  # another file had just taken its place: that one is not ours to move
        return None
    raise AssertionError("the names have no end")


def _copy_of_ours(move: Move) -> str | None:
    return next((target for target in itertools.islice(_names(move.target), 3) if _holds(target, move)), None)


def _across(move: Move, alive: Callable[[], None]) -> str | None:
    """To another file system: a whole copy first, then its name, and only then the source is removed."""
    if (made := _copy_of_ours(move)) is not None:  # and only the source was still to be removed
        _remove(move)
        return made
    folder = os.path.dirname(move.target)
    partial = os.path.join(folder, f".{_key(move.source)}.part")
    Path(partial).unlink(missing_ok=True)  # of a former attempt: nobody else has such a name
    try:
        if not _copy(move, partial, alive):
            return None  # it was written to meanwhile: it is another content, which gets its own answer
        for target in _names(move.target):
            try:
                _rename(partial, target)
            except FileExistsError:
                continue
            _synchronize(folder)
            _remove(move)
            return target
    finally:
        Path(partial).unlink(missing_ok=True)
    raise AssertionError("the names have no end")


def _copy(move: Move, partial: str, alive: Callable[[], None]) -> bool:
    """Copy the source, its times and permissions too, down to the disk; false if it is not the file that we mean."""
    descriptor = os.open(move.source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as source, open(partial, "xb") as copy:
        status, disk = os.fstat(descriptor), os.fstatvfs(copy.fileno())
        if str(FileId.of(status)) != move.stamp:
            return False
        if status.st_size > disk.f_bavail * disk.f_frsize:  # and not only after much writing
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), partial)
        while chunk := source.read(_CHUNK):
            copy.write(chunk)
            if copy.tell() % (_CHUNKS_AT_ONCE * _CHUNK) == 0:
                copy.flush()
                os.fdatasync(copy.fileno())
            alive()
        copy.flush()
        with contextlib.suppress(OSError):  # FAT and SMB have no permissions to give
            shutil.copystat(move.source, partial)
        os.fsync(copy.fileno())
        return str(FileId.of(os.fstat(descriptor))) == move.stamp


def _remove(move: Move) -> None:
    """Remove the source, unless another file has taken its name: to be sure of that, it gets one of ours first."""
    aside = _aside(move.source)
    try:
        os.rename(move.source, aside)
    except FileNotFoundError:
        return
    if _was(aside, move):
        os.unlink(aside)
    else:
        _rename(aside, move.source)


def _is(path: str, move: Move) -> bool:
    return str(FileId.of(os.stat(path, follow_symlinks=False))) == move.stamp


def _was(path: str, move: Move) -> bool:
    """Whether a file that was renamed since is the one; on some file systems that gives it another number."""
    return str(FileId.of(os.stat(path, follow_symlinks=False))).split(":")[2:] == move.stamp.split(":")[2:]


def _aside(source: str) -> str:
    """A name beside the source that nobody else has, and that no watcher looks at."""
    return os.path.join(os.path.dirname(source), f".{_key(source)}.moved")


def _key(source: str) -> str:
    return hashlib.sha256(os.fsencode(source)).hexdigest()[:16]


def _rename(source: str, target: str) -> None:
    """Rename, or raise FileExistsError where the target has a file of whatever kind."""
    call = _renameat2()
    if call is not None:
        if call(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), _RENAME_NOREPLACE) == 0:
            return
        number = ctypes.get_errno()
        if number not in _NO_SUCH_RENAME:
            raise OSError(number, os.strerror(number), source, None, target)
    try:  # NFS, say
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_SUCH_LINK:
            raise
        # FAT can do neither: an empty file of ours takes the name, and the rename replaces that.
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        try:
            os.rename(source, target)
        except OSError:
            os.unlink(target)
            raise
        return
    os.unlink(source)


@functools.cache
def _renameat2() -> Callable[..., int] | None:
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)  # glibc 2.28, musl 1.2.5
    return call


def _holds(path: str, move: Move) -> bool:
    """Whether a file is a copy of ours: regular, of the time and with the content of what was answered."""
    _, _, size, mtime_ns = map(int, move.stamp.split(":"))
    try:
        status = os.stat(path, follow_symlinks=False)
        is_alike = stat.S_ISREG(status.st_mode) and status.st_size == size
        if not is_alike or abs(status.st_mtime_ns - mtime_ns) > _COARSEST_NS:
            return False
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").digest() == move.sha256
    except OSError:
        return False


def _names(target: str) -> Iterator[str]:
    """The target itself; then the last `target (n)` that is taken, which may be ours; then those that are free."""
    yield target
    stem, suffix = os.path.splitext(target)

    def name(number: int) -> str:
        return f"{stem} ({number}){suffix}"

    # By doubling and halving: a camera may have given one name to half a million files.
    taken, free = 1, 2
    while os.path.lexists(name(free)):
        taken, free = free, 2 * free
    while free - taken > 1:
        middle = (taken + free) // 2
        taken, free = (middle, free) if os.path.lexists(name(middle)) else (taken, middle)
    if taken > 1:
        yield name(taken)
    while True:
        yield name(free)
        free += 1


def _synchronize(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
