"""Lets only so many processes decode large images at the same time, because a board's memory does not hold more."""

import contextlib
import fcntl
import os
import time
from multiprocessing.reduction import DupFd
from typing import Any

SHARE = 0.25  # of the memory, for all small images together
AGAIN_SECONDS = 0.05  # until it is tried again whether a large image may be decoded


class MemoryGate:
    """Locks in a file without a name, which the kernel releases when their process dies. Can be given to a process."""

    def __init__(self, slots: int, processes: int, memory_bytes: int) -> None:
        """
        Args:
            slots: number of large images that may be decoded at the same time.
            processes: number of processes that decode.
            memory_bytes: of the machine.
        """
        self._slots = slots
        self._small_bytes = int(SHARE * memory_bytes / processes)
        self._file = os.memfd_create("edge-detect memory gate")
        self._held: int | None = None

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_file": DupFd(self._file)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state | {"_file": state["_file"].detach()})

    def wait(self, nbytes: int) -> None:
        """Wait until an image may be decoded that needs so much memory; to be followed by `leave`."""
        if nbytes <= self._small_bytes or self._held is not None:
            return
        while True:
            for slot in range(self._slots):
                with contextlib.suppress(OSError):  # in use
                    fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, slot)
                    self._held = slot
                    return
            time.sleep(AGAIN_SECONDS)

    def leave(self) -> None:
        """Let another large image be decoded, if this process has decoded one."""
        if self._held is not None:
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, self._held)
            self._held = None

    def close(self) -> None:
        os.close(self._file)
