"""The mount table (proc(5)): the file system of a path, and changes below a folder."""

import contextlib
import os
import re
import select
from collections.abc import Iterator
from typing import Self

TABLE = "/proc/self/mountinfo"
# File systems that another machine or process manages: the kernel does not know whether a file has a writer.
REMOTE = ("nfs", "cifs", "smb", "9p", "afs", "ceph", "gluster", "lustre", "ncpfs", "virtiofs", "fuse")


def mounts() -> Iterator[tuple[str, str]]:
    """(mount point, type of its file system) of each mount, in the order in which they were made.

    Raises:
        OSError: the mount table cannot be read.
    """
    with open(TABLE, encoding="utf-8", errors="surrogateescape") as table:
        for line in table:
            fields, _, rest = line.partition(" - ")
            yield re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), fields.split()[4]), rest.split()[0]


def file_system(path: str) -> str:
    """The type of the file system of a path, such as "ext4" or "nfs4"; empty if it is unknown."""
    real, found = os.path.realpath(path), ("", "")
    with contextlib.suppress(OSError):
        for point, kind in mounts():
            is_above = real == point or real.startswith(point.rstrip("/") + "/")
            if is_above and len(point) >= len(found[0]):  # of several mounts at one point, the last one is visible
                found = point, kind
    return found[1]


def is_remote(path: str) -> bool:
    """Whether a path lies on a network file system or one that a program serves (FUSE)."""
    return file_system(path).startswith(REMOTE)


class MountTable:
    """Detects mounting and unmounting below a folder; without a readable mount table, it detects none."""

    def __init__(self, folder: str) -> None:
        self._below = os.path.realpath(folder).rstrip("/") + "/"
        self._descriptor = -1
        self._poll = select.poll()
        with contextlib.suppress(OSError):
            self._descriptor = os.open(TABLE, os.O_RDONLY | os.O_CLOEXEC)
            self._poll.register(self._descriptor, select.POLLPRI | select.POLLERR)
        self._points = self._points_below()

    def has_changed(self) -> bool:
        """Whether a file system was mounted or unmounted below the folder since the last call; does not wait."""
        if self._descriptor < 0 or not self._poll.poll(0):
            return False
        before, self._points = self._points, self._points_below()
        return self._points != before

    def _points_below(self) -> list[tuple[str, str]]:
        try:
            return [mount for mount in mounts() if mount[0].startswith(self._below)]
        except OSError:
            return []

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
