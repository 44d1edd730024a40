"""A log of answers: one JSON object a line, in a file that may be rotated at any time."""

import fcntl
import json
import os
from collections.abc import Sequence
from pathlib import Path

from edge.errors import SinkError, printable
from edge.verdict import Recorded

TAIL_BYTES = 1 << 23  # more than the lines that one round of telling can leave behind, with the longest of names


class JsonLog:
    """Appends to a file, each answer once, and each line whole.

    Opened again for each batch: that is where a rotation shows, by whichever
    way it is done, and where a disk that was full may have room again.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = f"log {printable(path.absolute())}"
        self._is_begun = False

    def emit(self, batch: Sequence[Recorded]) -> None:
        """
        Raises:
            SinkError: it cannot be written; nothing of the batch is in the file then.
        """
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)  # watchers of several folders may share it
                self._append(descriptor, batch)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise SinkError(
                f"{printable(self.path)}: cannot write the log: {(error.strerror or '').lower()}"
            ) from error

    def _append(self, descriptor: int, batch: Sequence[Recorded]) -> None:
        end = os.fstat(descriptor).st_size
        written: set[tuple[int, str, str]] = set()  # (id, time, path): another ledger's answers have the same ids
        if not self._is_begun:  # we may have been stopped between the writing and the noting of it
            end, written = self._whole_lines(descriptor, end)
        lines = [new.as_json() for new in batch if (new.id, new.time, new.answer.path) not in written]
        left = memoryview("".join(json.dumps(line) + "\n" for line in lines).encode("ascii"))
        try:
            while left:
                left = left[os.write(descriptor, left) :]
            os.fdatasync(descriptor)
        except OSError:
            self._is_begun = False  # should that fail too, the next attempt looks first
            os.ftruncate(descriptor, end)  # a part of a line is no line
            raise
        self._is_begun = True

    def _whole_lines(self, descriptor: int, end: int) -> tuple[int, set[tuple[int, str, str]]]:
        """Cut off a last line that a power cut left unfinished; returns its end and the answers in the last lines."""
        start = max(0, end - TAIL_BYTES)
        *lines, unfinished = os.pread(descriptor, end - start, start).split(b"\n")
        if unfinished:
            end -= len(unfinished)
            os.ftruncate(descriptor, end)
        written = set()
        for line in lines:
            try:
                one = json.loads(line)
                written.add((one["id"], one["time"], one["path"]))
            except (ValueError, KeyError, TypeError):
                continue  # the first may be cut by us, another be someone else's
        return end, written
