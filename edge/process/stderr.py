"""Suppression of what C++ libraries print to stderr."""

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from typing import BinaryIO

# The descriptor belongs to the whole process: two threads that replace it at once could lose it.
_lock = threading.RLock()


@contextlib.contextmanager
def silenced(*fragments: bytes) -> Iterator[None]:
    """Drop lines with one of these fragments from what is written to file descriptor 2 in the block.

    It is for libraries that bypass `sys.stderr` and have no option. Other lines
    are written when the block ends. The empty fragment drops every line.
    """
    sys.stderr.flush()
    with _lock, contextlib.ExitStack() as stack:
        try:
            held = stack.enter_context(_anonymous_file())
            stderr = os.dup(2)
        except OSError:  # no space for a temporary file, or no stderr: the lines are harmless
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


def _anonymous_file() -> BinaryIO:
    if hasattr(os, "memfd_create"):  # Linux; faster than importing `tempfile`
        return open(os.memfd_create("stderr"), "w+b")
    import tempfile

    return tempfile.TemporaryFile()
