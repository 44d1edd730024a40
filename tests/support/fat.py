"""A folder served as a FAT-like file system by FUSE: python -m tests.support.fat FOLDER MOUNT_POINT

Names that differ only in case are one file, times are even seconds, there are
no links and no permissions, and some characters are refused. Each spelling of
a name gets an inode number of its own, as libfuse gives them.
"""

import errno
import os
import sys
from typing import Any

from fuse import FUSE, FuseOSError, Operations

REFUSED = frozenset('\\:*?"<>|') | frozenset(map(chr, range(32)))
TIMES_AND_SIZES = ("st_atime", "st_ctime", "st_gid", "st_mode", "st_mtime", "st_nlink", "st_size", "st_uid")


class Fat(Operations):  # type: ignore[misc]
    """The operations of FUSE, see its documentation."""

    def __init__(self, root: str) -> None:
        self._root = root

    def _real(self, path: str) -> str:
        """The path below the root, in the spelling of the existing file if there is one."""
        real = self._root
        for part in filter(None, path.split("/")):
            if REFUSED & set(part):
                raise FuseOSError(errno.EINVAL)
            names = os.listdir(real) if os.path.isdir(real) else []
            real = os.path.join(real, next((name for name in names if name.lower() == part.lower()), part))
        return real

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        status = os.lstat(self._real(path))
        found = {name: getattr(status, name) for name in TIMES_AND_SIZES}
        return found | {"st_mtime": int(status.st_mtime) // 2 * 2, "st_nlink": 1}

    def readdir(self, path: str, fh: int) -> list[str]:
        return [".", "..", *os.listdir(self._real(path))]

    def create(self, path: str, mode: int, fi: object = None) -> int:
        return os.open(self._real(path), os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)

    def open(self, path: str, flags: int) -> int:
        return os.open(self._real(path), flags)

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        return os.pread(fh, size, offset)

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        return os.pwrite(fh, data, offset)

    def truncate(self, path: str, length: int, fh: int | None = None) -> None:
        os.truncate(self._real(path), length)

    def release(self, path: str, fh: int) -> None:
        os.close(fh)

    def mkdir(self, path: str, mode: int) -> None:
        os.mkdir(self._real(path))

    def rmdir(self, path: str) -> None:
        os.rmdir(self._real(path))

    def unlink(self, path: str) -> None:
        os.unlink(self._real(path))

    def rename(self, old: str, new: str) -> None:
        source, target = self._real(old), self._real(new)
        if source == target:  # only the case changes
            target = os.path.join(os.path.dirname(source), os.path.basename(new))
        os.rename(source, target)

    def link(self, target: str, source: str) -> None:
        raise FuseOSError(errno.EPERM)

    def symlink(self, target: str, source: str) -> None:
        raise FuseOSError(errno.EPERM)

    def chmod(self, path: str, mode: int) -> None:
        raise FuseOSError(errno.EPERM)

    def chown(self, path: str, uid: int, gid: int) -> None:
        raise FuseOSError(errno.EPERM)

    def utimens(self, path: str, times: tuple[float, float] | None = None) -> None:
        os.utime(self._real(path), times)

    def statfs(self, path: str) -> dict[str, int]:
        found = os.statvfs(self._root)
        return {name: getattr(found, name) for name in dir(found) if name.startswith("f_") and name != "f_fsid"}


if __name__ == "__main__":
    # The kernel does not know that two spellings are one name, and must not remember any.
    caching = {"entry_timeout": 0, "attr_timeout": 0}
    FUSE(Fat(sys.argv[1]), sys.argv[2], foreground=True, nothreads=True, fsname="fat-like", **caching)
