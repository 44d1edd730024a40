"""Files and disks: identity, permissions, atomic writes, free space."""

import contextlib
import errno
import fcntl
import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO


@dataclass(frozen=True)
class FileId:
    """A file's identity and state. Renaming keeps it; writing, copying or replacing the file changes it.

    Attributes:
        ctime_ns: when anything about the file changed, nanoseconds since the epoch; 0 if unknown. It is not compared,
            because renaming changes it; but it alone tells that a program wrote other content and restored the time.
    """

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int = field(default=0, compare=False)

    @classmethod
    def of(cls, status: os.stat_result) -> "FileId":
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)

    def __str__(self) -> str:
        return f"{self.device}:{self.inode}:{self.size}:{self.mtime_ns}"


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
    which may always refuse. The caller has to ignore SIGIO: a program that opens the file at this moment causes one.

    Args:
        descriptor: open for reading alone.
    """
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        return error.errno == errno.EAGAIN
    fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False


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
