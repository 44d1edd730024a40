"""Answers that are not in the ledger yet."""

import time

from edge.files import FileId
from edge.store.ledger import Entry
from edge.watch.decode import Prepared, Task

# One commit costs one fsync; grouping spares the SD card. A group is committed
# when it is full, when it is this old, or when there is nothing else to do.
GROUP_SIZE = 256
GROUP_SECONDS = 0.5


class Batch:
    """The group that is committed next, and the files that wait for that commit.

    Attributes:
        group: entries.
        held: files that are with the network or in the group already, perhaps by another name: the ledger is to know
            the first before it is asked for the second.
    """

    def __init__(self) -> None:
        self.group: list[Entry] = []
        self.held: list[tuple[Task, Prepared]] = []
        self._files: set[str | FileId] = set()  # paths and stamps of what is with the network or in the group
        self._since = 0.0

    def __len__(self) -> int:
        return len(self.group) + len(self.held)

    @property
    def nbytes(self) -> int:
        """Of the pixels of what is held."""
        return sum(read.nbytes for _, read in self.held)

    @property
    def is_due(self) -> bool:
        """Whether the group is large or old enough to be recorded, whatever else there is to do."""
        return len(self.group) >= GROUP_SIZE or (bool(self.group) and time.monotonic() - self._since >= GROUP_SECONDS)

    def begin(self, absolute: str, task: Task, read: Prepared) -> bool:
        """Take a file in hand; if it is in hand already it is held back, and the answer is no."""
        if absolute in self._files or task.stamp in self._files:
            self.held.append((task, read))
            return False
        self._files |= {absolute, task.stamp}
        return True

    def drop(self, absolute: str, stamp: FileId) -> None:
        """A file in hand that is not recorded."""
        self._files -= {absolute, stamp}

    def add(self, entry: Entry) -> None:
        """A file with its answer, into the group."""
        if not self.group:
            self._since = time.monotonic()
        self.group.append(entry)
        self._files |= {entry.path, entry.stamp}

    def recorded(self) -> None:
        """The group is in the ledger; another begins."""
        self._files -= {part for entry in self.group for part in (entry.path, entry.stamp)}
        self.group = []

    def release(self) -> list[tuple[Task, Prepared]]:
        """What was held back."""
        held, self.held = self.held, []
        return held
