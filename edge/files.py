"""A file's identity as one `stat` tells it."""

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class FileId:
    """Unchanged means not written to since.

    Renaming keeps it; writing, copying or replacing changes it.
    """

    device: int
    inode: int
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> "FileId":
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)

    def __str__(self) -> str:
        return f"{self.device}:{self.inode}:{self.size}:{self.mtime_ns}"
