"""Keeping C++ libraries from talking on stderr."""

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from typing import BinaryIO

# The descriptor is the whole process's: two threads that exchange it at once could lose it.
_lock = threading.RLock()


@contextlib.contextmanager
def silenced(*fragments: bytes) -> Iterator[None]:
    """Drop the lines that hold one of these fragments from what is written to file descriptor 2 meanwhile.

    For libraries that write there past Python and offer no switch. All that is
    written is held back until the end, and what is not dropped is passed on.
    An empty fragment is in every line.
    """
    sys.stderr.flush()
    with _lock, contextlib.ExitStack() as stack:
        try:
            held = stack.enter_context(_nameless_file())
            stderr = os.dup(2)
        except OSError:  # no room for a temporary file, or no stderr: the lines do no harm
            yield
            return
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)
            held.seek(0)
            for line in held:
                if not any(fragment in line for fragment in fragments):
                    os.write(2, line)


def _nameless_file() -> BinaryIO:
    if hasattr(os, "memfd_create"):  # Linux; `tempfile` takes longer to import than most of what we import
        return open(os.memfd_create("stderr"), "w+b")
    import tempfile

    return tempfile.TemporaryFile()
