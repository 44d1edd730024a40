"""Moves a file without ever overwriting another one, and so that an interrupted move can be finished."""

import contextlib
import ctypes
import errno
import functools
import hashlib
import itertools
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from edge.files import FileId, free_bytes
from edge.store.ledger import Move

UNREADABLE = "UNREADABLE"
_RENAME_NOREPLACE = 1  # linux/fs.h
_AT_FDCWD = -100  # fcntl.h
# Errors of file systems that do not support a rename without replacing, or hard links.
_NO_SUCH_RENAME = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)
_NO_SUCH_LINK = (*_NO_SUCH_RENAME, errno.EPERM, errno.EMLINK)
# How file systems refuse a name: too long for them, or with a character that they do not have.
_REFUSED_NAME = (errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ)
_NOT_PORTABLE = re.compile(r'[\x00-\x1f<>:"|?*\\]')
MAX_NAME_BYTES = 130  # of a shortened name: encrypted folders allow 143, others 255; and a number may follow
_COARSEST_NS = 2_000_000_000  # FAT's times are even seconds
_CHUNK_BYTES = 1 << 20
_SYNC_BYTES = 16 * _CHUNK_BYTES  # written between two waits for the disk, so that no wait takes long


class Sorter:
    """Decides where the files of a watched folder are moved: to `directory/LABEL/`, with their sub-folders.

    Attributes:
        directory: real path of the folder that files are sorted into.
    """

    def __init__(self, directory: str, root: str) -> None:
        """
        Args:
            root: real path of the watched folder.
        """
        self.directory, self._root = os.path.realpath(directory), root

    def target(self, path: str, label: str | None) -> str:
        """The target of a file's move.

        Args:
            path: of the file, below `root`.
            label: of its verdict; None if it cannot be decoded.
        """
        return os.path.join(self.directory, label or UNREADABLE, os.path.relpath(path, self._root))


def perform(move: Move, heartbeat: Callable[[], None] = lambda: None) -> str | None:
    """Move a file, or finish a move that was interrupted at any point.

    Args:
        heartbeat: called repeatedly while a file is copied, which may take minutes.

    Returns:
        The file's new path: the target, or `target (2)` and so on if other files have these names. None if the source
        is gone or was written to, so that there is nothing to move.

    Raises:
        OSError: it cannot be moved now; the source is unchanged.
    """
    aside = _aside(move.source)
    with contextlib.suppress(OSError):
        if _was(aside, move):  # a former attempt was interrupted just before the last step of `_remove`
            os.unlink(aside)
    try:
        is_unchanged = _is(move.source, move)
    except FileNotFoundError:
        return _existing_copy(move)
    if not is_unchanged:
        return None
    try:
        return _move_to(move.target, move, heartbeat)
    except OSError as error:
        portable = portable_path(move.target)
        if error.errno not in _REFUSED_NAME or portable == move.target:
            raise
        return _move_to(portable, move, heartbeat)


def portable_path(target: str) -> str:
    """A path for a file system that refuses a name of this one: names are shortened, characters replaced by `_`.

    The folders of the path that exist already stay as they are.
    """
    existing, new = target, list[str]()
    while not os.path.isdir(existing):
        existing, name = os.path.split(existing)
        new.insert(0, name)
    return os.path.join(existing, *(_portable_name(name) for name in new))


def _portable_name(name: str) -> str:
    """A name that FAT accepts, of at most MAX_NAME_BYTES, with its suffix."""
    name = _NOT_PORTABLE.sub("_", name)
    name = re.sub(r"[. ]+$", "_", name)
    stem, suffix = os.path.splitext(name)
    room = max(1, MAX_NAME_BYTES - len(os.fsencode(suffix)))
    return os.fsencode(stem)[:room].decode("utf-8", "ignore") + suffix if len(os.fsencode(stem)) > room else name


def _move_to(wanted: str, move: Move, heartbeat: Callable[[], None]) -> str | None:
    os.makedirs(os.path.dirname(wanted), exist_ok=True)
    try:
        target = _rename_to_free_name(move.source, wanted)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        return _copy_across(wanted, move, heartbeat)
    if _was(target, move):
        return target
    _rename(target, move.source)  # another file had just replaced the source: that one is not to be moved
    return None


def _rename_to_free_name(source: str, target: str) -> str:
    """Rename a file to the first of `_names` that no other file has, and return that name."""
    for name in _names(target):
        try:
            _rename(source, name)
            return name
        except FileExistsError:
            if _is_same_file(source, name):  # a former `_rename` was interrupted after it made the link
                os.unlink(source)
                return name
    raise AssertionError("unreachable: the names have no end")


def _is_same_file(first: str, second: str) -> bool:
    try:
        return os.path.samestat(os.lstat(first), os.lstat(second))
    except FileNotFoundError:
        return False


def _existing_copy(move: Move) -> str | None:
    """The path of the file if a former attempt has moved or copied it; else None."""
    wanted = dict.fromkeys((move.target, portable_path(move.target)))
    names = itertools.chain.from_iterable(itertools.islice(_names(target), 3) for target in wanted)
    return next((name for name in names if _is_copy(name, move)), None)


def _copy_across(wanted: str, move: Move, heartbeat: Callable[[], None]) -> str | None:
    """Move to another file system: make a complete copy, give it its name, and only then remove the source."""
    if (copy := _existing_copy(move)) is not None:  # a former attempt was interrupted before it removed the source
        _remove(move)
        return copy
    folder = os.path.dirname(wanted)
    partial = os.path.join(folder, f".{_key(move.source)}.part")
    Path(partial).unlink(missing_ok=True)  # left by a former attempt: no other file has such a name
    try:
        if not _copy(move, partial, heartbeat):
            return None  # the file was written to: its new content gets an answer and a move of its own
        target = _rename_to_free_name(partial, wanted)
        _synchronize(folder)
        _remove(move)
        return target
    finally:
        Path(partial).unlink(missing_ok=True)


def _copy(move: Move, partial: str, heartbeat: Callable[[], None]) -> bool:
    """Copy the source with its times and permissions, and wait until the copy is on the disk.

    Returns:
        False if the source is not the answered file, or was written to meanwhile.

    Raises:
        OSError: it cannot be copied; with ENOSPC before any copying if the disk has too little space.
    """
    descriptor = os.open(move.source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as source, open(partial, "xb") as copy:
        status = os.fstat(descriptor)
        if str(FileId.of(status)) != move.stamp:
            return False
        if status.st_size > free_bytes(copy.fileno()):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), partial)
        while chunk := source.read(_CHUNK_BYTES):
            copy.write(chunk)
            if copy.tell() % _SYNC_BYTES == 0:
                copy.flush()
                os.fdatasync(copy.fileno())
            heartbeat()
        copy.flush()
        with contextlib.suppress(OSError):  # FAT and SMB have no permissions
            shutil.copystat(move.source, partial)
        os.fsync(copy.fileno())
        return str(FileId.of(os.fstat(descriptor))) == move.stamp


def _remove(move: Move) -> None:
    """Remove the source, unless another file has replaced it.

    It is renamed first: nobody uses the new name, so the file that is checked is the one that is removed.
    """
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
    """Whether a file is the answered one, and unchanged."""
    return str(FileId.of(os.stat(path, follow_symlinks=False))) == move.stamp


def _was(path: str, move: Move) -> bool:
    """Whether a renamed file is the answered one, by size and time: its inode number differs on some file systems."""
    return str(FileId.of(os.stat(path, follow_symlinks=False))).split(":")[2:] == move.stamp.split(":")[2:]


def _aside(source: str) -> str:
    """The name of a source that is being removed: hidden, so that watchers skip it, and used by nobody else."""
    return os.path.join(os.path.dirname(source), f".{_key(source)}.moved")


def _key(source: str) -> str:
    return hashlib.sha256(os.fsencode(source)).hexdigest()[:16]


def _rename(source: str, target: str) -> None:
    """Rename a file; raises FileExistsError if there is a file of any kind at the target."""
    call = _renameat2()
    if call is not None:
        if call(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), _RENAME_NOREPLACE) == 0:
            return
        number = ctypes.get_errno()
        if number not in _NO_SUCH_RENAME:
            raise OSError(number, os.strerror(number), source, None, target)
    try:  # on NFS, for example
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_SUCH_LINK:
            raise
        # FAT supports neither: create an empty file, which fails if the name is taken, and replace that.
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


def _is_copy(path: str, move: Move) -> bool:
    """Whether a file is a copy of the answered one: regular, with the same time and content."""
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
    """The target; then the last `target (n)` that is taken, perhaps by a former attempt; then the free ones."""
    yield target
    last = _last_taken(target)
    if last > 1:
        yield _numbered(target, last)
    for number in itertools.count(last + 1):
        yield _numbered(target, number)


def _last_taken(target: str) -> int:
    """The greatest n for which `target (n)` is taken, if all smaller ones are; 1 if none is.

    It searches by doubling and halving, because a camera may have given one name to half a million files.
    """
    taken, free = 1, 2
    while os.path.lexists(_numbered(target, free)):
        taken, free = free, 2 * free
    while free - taken > 1:
        middle = (taken + free) // 2
        taken, free = (middle, free) if os.path.lexists(_numbered(target, middle)) else (taken, middle)
    return taken


def _numbered(target: str, number: int) -> str:
    stem, suffix = os.path.splitext(target)
    return f"{stem} ({number}){suffix}"


def _synchronize(folder: str) -> None:
    """Wait until the names in a folder are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
