"""Files and disks: identity, permissions, atomic writes, private folders, free space."""

import contextlib
import errno
import fcntl
import os
import shutil
import signal
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import BinaryIO

_ATTEMPTS = 100  # to make a private folder

F_SETSIG = getattr(fcntl, "F_SETSIG", 10)  # asm-generic/fcntl.h


class FileId:
    """A file's identity and state. Renaming keeps it; writing, copying or replacing the file changes it. Not mutable.

    Attributes:
        device, inode, size, mtime_ns: see stat(2).
        ctime_ns: when anything about the file changed, nanoseconds since the epoch; 0 if unknown. It is not compared,
            because renaming changes it; but it alone tells that a program wrote other content and restored the time.
        key: the other fields as text, by which it is compared and recorded.
    """

    # No dataclass: `watch` makes and compares several for each file, and those take four times as long.
    __slots__ = ("ctime_ns", "device", "inode", "key", "mtime_ns", "size")

    def __init__(self, device: int, inode: int, size: int, mtime_ns: int, ctime_ns: int = 0) -> None:
        self.device, self.inode, self.size, self.mtime_ns, self.ctime_ns = device, inode, size, mtime_ns, ctime_ns
        self.key = f"{device}:{inode}:{size}:{mtime_ns}"

    @classmethod
    def of(cls, status: os.stat_result) -> "FileId":
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FileId) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __str__(self) -> str:
        return self.key

    def __repr__(self) -> str:
        return f"FileId({self.device}, {self.inode}, {self.size}, {self.mtime_ns}, {self.ctime_ns})"

    def __reduce__(self) -> tuple[type["FileId"], tuple[int, ...]]:
        return FileId, (self.device, self.inode, self.size, self.mtime_ns, self.ctime_ns)


def mode_permits(status: os.stat_result, wanted: int, user: int, groups: Collection[int]) -> bool:
    """Whether a file's mode gives an account some rights; access control lists and root's privileges do not count.

    Args:
        wanted: the sum of 4 to read, 2 to write, 1 to execute or enter.
        user, groups: numbers of the account.
    """
    shift = 6 if status.st_uid == user else 3 if status.st_gid in groups else 0
    return (status.st_mode >> shift) & wanted == wanted


def inode(path: str | os.PathLike[str] | int) -> tuple[int, int]:
    """(device, inode number) of a file or folder: the same for as long as it exists, whatever is written to it.

    Args:
        path: a path, whose links are followed, or an open descriptor.

    Raises:
        OSError: there is no such file.
    """
    status = os.stat(path)
    return status.st_dev, status.st_ino


def has_writer(descriptor: int) -> bool:
    """Whether a program has a file open for writing: the kernel refuses a lease then (F_SETLEASE in fcntl(2)).

    False also where the kernel does not tell: the file belongs to another account. Do not ask on a network file system,
    which may always refuse.

    Args:
        descriptor: open for reading alone.
    """
    try:
        # A program that opens the file at this moment causes a signal: by default SIGIO, which would end the process.
        fcntl.fcntl(descriptor, F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        return error.errno == errno.EAGAIN
    fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False


def are_two_files(first: str, second: str) -> bool:
    """Whether there are two files at two paths, and not one on a file system that ignores case, such as FAT."""
    try:
        status, other = os.lstat(first), os.lstat(second)
    except OSError:
        return False
    if first == second:
        return False
    if first.lower() != second.lower():
        return True
    if os.path.samestat(status, other):
        return status.st_nlink > 1  # two links, with names that differ only in case
    # A driver in user space may number each spelling of a name separately.
    is_alike = (status.st_size, status.st_mtime_ns) == (other.st_size, other.st_mtime_ns)
    return not is_alike or (_is_listed(first, second) and _is_listed(second, first))


def ignores_case(path: str) -> bool | None:
    """Whether the file at a path has a second name with other capitals, as on FAT.

    None if that is unknown, because the file is gone or its name has no letters.
    """
    folder, name = os.path.split(path)
    other = os.path.join(folder, name.swapcase())
    try:
        first = os.lstat(path)
        second = os.lstat(other)
    except FileNotFoundError as error:
        return False if error.filename == other != path else None
    except OSError:
        return None
    return (first.st_size, first.st_mtime_ns) == (second.st_size, second.st_mtime_ns) if other != path else None


def _is_listed(path: str, other: str) -> bool:
    """Whether the folders of a path list its names in this spelling, as far as they differ from another path's."""
    while path != other:
        (folder, name), (other, other_name) = os.path.split(path), os.path.split(other)
        with contextlib.suppress(OSError), os.scandir(folder) as entries:
            if name != other_name and all(entry.name != name for entry in entries):
                return False
        path = folder
    return True


def free_bytes(path: str | os.PathLike[str] | int) -> int:
    """Bytes that an ordinary account can still write to the file system of a path or an open descriptor.

    Raises:
        OSError: there is no such file.
    """
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize


@contextlib.contextmanager
def whole_file(path: Path, *, mode: int | None = None, partial: str | None = None) -> Iterator[BinaryIO]:
    """Write a file completely or not at all, also across a power cut; one that is there already is replaced.

    The content goes to a partial file in the same folder, which takes the file's name when the block ends. If the
    block raises, the partial file is removed.

    Args:
        mode: the file's permissions, whatever the umask is; None: those of any new file, 0o666 less the umask.
        partial: the name of the partial file; None: `.NAME.part`. It is never overwritten.

    Raises:
        OSError: the file cannot be written; FileExistsError: the partial file exists.
    """
    unfinished = path.with_name(partial or f".{path.name}.part")
    descriptor = os.open(
        unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666 if mode is None else mode
    )
    try:
        with open(descriptor, "wb") as file:
            if mode is not None:
                os.fchmod(descriptor, mode)
            yield file
            file.flush()
            os.fsync(descriptor)
        os.replace(unfinished, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(unfinished)
        raise


def write_own(path: Path, content: bytes) -> None:
    """Write a file that no other process writes, completely or not at all, for this account alone.

    Raises:
        OSError: it cannot be written.
    """
    partial = f".{path.name}.part"
    with contextlib.suppress(FileNotFoundError):  # of a process that was killed
        os.unlink(path.with_name(partial))
    with whole_file(path, mode=0o600, partial=partial) as file:
        file.write(content)


@contextlib.contextmanager
def private_folder(prefix: str, base: Path | None = None) -> Iterator[Path]:
    """A new folder for this account alone, removed at the end; those that killed processes have left are removed too.

    A lock on each folder shows that its process lives.

    Args:
        prefix: how the folder's name begins; nothing else may be named so.
        base: the folder that it is made in; None: that of temporary files.

    Yields:
        its real path.

    Raises:
        OSError: it cannot be made.
    """
    base = Path(tempfile.gettempdir()) if base is None else base
    _remove_abandoned(base, prefix)
    folder, lock = _locked_folder(base, prefix)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _locked_folder(base: Path, prefix: str) -> tuple[Path, int]:
    """A new folder, and the descriptor of the lock on it.

    A process that starts at the same time may take the new folder for an abandoned one, before it is locked, and remove
    it: then another one is made.

    Raises:
        OSError: it cannot be made.
    """
    for _ in range(_ATTEMPTS):
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=base)).resolve()
        with contextlib.suppress(FileNotFoundError, BlockingIOError):
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.path.isdir(folder):
                    return folder, lock
            except BaseException:
                os.close(lock)
                raise
            os.close(lock)
    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))


def _remove_abandoned(base: Path, prefix: str) -> None:
    """Remove the folders of this account's processes that were killed: nobody holds the locks on them."""
    with contextlib.suppress(OSError):
        for folder in base.glob(f"{prefix}*"):
            with contextlib.suppress(OSError):
                descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    if os.fstat(descriptor).st_uid == os.geteuid():
                        shutil.rmtree(folder, ignore_errors=True)
                finally:
                    os.close(descriptor)
