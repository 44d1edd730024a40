"""A log of answers: one JSON object a line, in a file that may be rotated at any time."""

import fcntl
import json
import os
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path

from edge.errors import SinkError, printable, reason_of
from edge.verdict import Recorded

TAIL_BYTES = 1 << 23  # more than one batch of answers can take, with the longest names


class JsonLog:
    """Appends each answer to a file once, in complete lines.

    The file is opened again for each batch, so that it can be rotated by renaming or by truncating it, and so that
    writing goes on when a full disk has room again.

    Attributes:
        name: its name as a sink in the ledger.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = f"log {printable(path.absolute())}"
        self._is_checked = False  # whether the end of the file is known to agree with the ledger

    def emit(self, batch: Sequence[Recorded]) -> None:
        """
        Raises:
            SinkError: the file cannot be written; it contains nothing of the batch then.
        """
        try:
            if self._is_stream():
                descriptor = os.open(self.path, os.O_WRONLY | os.O_CLOEXEC)
                with open(descriptor, "wb") as stream:
                    stream.write(_lines(batch))
                return
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)  # watchers of several folders may share the file
                self._append(descriptor, batch)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise SinkError(f"{printable(self.path)}: cannot write the log: {reason_of(error)}") from error

    def _is_stream(self) -> bool:
        """Whether the path is a pipe, a terminal or the like, such as /dev/stderr: nothing can be read back there."""
        try:
            return not stat.S_ISREG(os.stat(self.path).st_mode)
        except OSError:
            return False

    def _append(self, descriptor: int, batch: Sequence[Recorded]) -> None:
        end = os.fstat(descriptor).st_size
        written: set[tuple[int, str, str]] = set()  # (id, time, path): another ledger's answers have the same ids
        if not self._is_checked:  # a former run may have ended after it wrote answers and before the ledger had that
            end, written = self._whole_lines(descriptor, end)
        left = memoryview(_lines(new for new in batch if (new.id, new.time, new.answer.path) not in written))
        try:
            while left:
                left = left[os.write(descriptor, left) :]
            os.fdatasync(descriptor)
        except OSError:
            self._is_checked = False  # so that the next attempt repairs the end if truncating fails too
            os.ftruncate(descriptor, end)  # leave no incomplete line
            raise
        self._is_checked = True

    def _whole_lines(self, descriptor: int, end: int) -> tuple[int, set[tuple[int, str, str]]]:
        """Cut off an incomplete last line, as a power cut leaves it.

        Args:
            end: size of the file, bytes.

        Returns:
            The size after that, and the (id, time, path) of the answers in the last TAIL_BYTES.
        """
        start = max(0, end - TAIL_BYTES)
        *lines, unfinished = os.pread(descriptor, end - start, start).split(b"\n")
        if unfinished:
            end -= len(unfinished)
            os.ftruncate(descriptor, end)
        written = set()
        for line in lines:
            try:
                answer = json.loads(line)
                written.add((answer["id"], answer["time"], answer["path"]))
            except (ValueError, KeyError, TypeError):
                continue  # the first line may be incomplete here, and another program may have written others
        return end, written


def _lines(batch: Iterable[Recorded]) -> bytes:
    return "".join(json.dumps(new.as_json()) + "\n" for new in batch).encode("ascii")
