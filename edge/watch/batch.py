"""Answers on their way to the ledger, which are committed in groups."""

import time

from edge.files import FileId
from edge.store.ledger import Entry
from edge.watch.decode import Prepared, Task

# Each commit costs one fsync, so committing groups spares the SD card. A group is committed when it is full, when it
# is this old, or when there is nothing else to do.
GROUP_SIZE = 1024
GROUP_SECONDS = 0.5


class Batch:
    """The group that is committed next, and the files that wait for that commit.

    A file is in work while it is with the network or in the group. If it is found again meanwhile, at the same path or
    as a hard link, it is held back until the commit: the ledger can answer it then.

    Attributes:
        group: the answered files.
        held: the files that are held back.
    """

    def __init__(self) -> None:
        self.group: list[Entry] = []
        self.held: list[tuple[Task, Prepared]] = []
        self._files: set[str] = set()  # paths, and keys of the identities, of the files in work
        self._since = 0.0

    def __len__(self) -> int:
        return len(self.group) + len(self.held)

    @property
    def nbytes(self) -> int:
        """Bytes of the pixels of the files that are held back."""
        return sum(read.nbytes for _, read in self.held)

    @property
    def is_due(self) -> bool:
        """Whether the group is full or old enough to be committed, even if there is other work."""
        return len(self.group) >= GROUP_SIZE or (bool(self.group) and time.monotonic() - self._since >= GROUP_SECONDS)

    def begin(self, absolute: str, task: Task, read: Prepared) -> bool:
        """Note that a file is in work; returns False, and holds it back, if it is already."""
        if absolute in self._files or task.stamp.key in self._files:
            self.held.append((task, read))
            return False
        self._files.add(absolute)
        self._files.add(task.stamp.key)
        return True

    def drop(self, absolute: str, stamp: FileId) -> None:
        """Note that a file is no longer in work and gets no entry."""
        self._files -= {absolute, stamp.key}

    def add(self, entry: Entry) -> None:
        """Add an answered file to the group."""
        if not self.group:
            self._since = time.monotonic()
        self.group.append(entry)
        self._files.add(entry.path)
        self._files.add(entry.stamp.key)

    def recorded(self) -> None:
        """Begin a new group, because the present one has been committed."""
        self._files -= {part for entry in self.group for part in (entry.path, entry.stamp.key)}
        self.group = []

    def release(self) -> list[tuple[Task, Prepared]]:
        """Remove and return the files that are held back."""
        held, self.held = self.held, []
        return held
