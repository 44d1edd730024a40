"""Suppression of what C++ libraries print to stderr."""

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from typing import BinaryIO

# The descriptor belongs to the whole process: if two threads replaced it at once, the original could be lost.
_lock = threading.RLock()


@contextlib.contextmanager
def silenced(*fragments: bytes) -> Iterator[None]:
    """Suppress lines on file descriptor 2 during the block, for libraries that bypass `sys.stderr` and have no option.

    Args:
        fragments: lines that contain one of these are dropped; an empty fragment drops every line. Other lines are
            written when the block ends.
    """
    sys.stderr.flush()
    with _lock, contextlib.ExitStack() as stack:
        try:
            held = stack.enter_context(_anonymous_file())
            stderr = os.dup(2)
        except OSError:  # no space for a temporary file, or no stderr: then nothing is suppressed
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
