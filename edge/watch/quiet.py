"""How long a file must have been quiet before it is answered, and before it is moved.

Many programs write a file in several goes: a resumed upload, a scanner that
appends pages, a browser's placeholder. Every go ends with a close, which alone
does not show that the file is complete. A picture that can be decoded whole is
answered at once; what cannot may still become one.
"""

import math
import time

from edge.files import FileId

UNREADABLE_SECONDS = 10.0  # before the error of a file that cannot be decoded is recorded
EMPTY_SECONDS = 60.0  # the same for an empty one: a placeholder while the content arrives under another name
MOVE_FACTOR = 6  # times as long before such a file is moved, which its writer would notice
APPENDED_SECONDS = 3.0  # before a file to which pages may be appended is read
APPENDED_SUFFIXES = (".tif", ".tiff")
LEAST_SECONDS = 0.05


def before_reading(path: str, stamp: FileId) -> float:
    """Seconds that a file still has to be left alone; 0 for most files."""
    return _left(stamp, APPENDED_SECONDS) if path[-5:].lower().endswith(APPENDED_SUFFIXES) else 0.0


def before_answer(stamp: FileId, *, once: bool = False) -> float:
    """Seconds until the error of a file that cannot be decoded may be recorded.

    Args:
        once: an empty file is not waited for longer than others.
    """
    return _left(stamp, UNREADABLE_SECONDS if stamp.size or once else EMPTY_SECONDS)


def before_move(stamp: FileId) -> float:
    """Seconds until a file that cannot be decoded may be moved."""
    return _left(stamp, MOVE_FACTOR * (UNREADABLE_SECONDS if stamp.size else EMPTY_SECONDS))


def _left(stamp: FileId, wanted_seconds: float) -> float:
    """A time of modification in the future, by a wrong clock, says nothing: the file counts as old."""
    age_seconds = time.time() - stamp.mtime_ns / 1e9
    left = wanted_seconds - (age_seconds if age_seconds >= 0 else math.inf)
    return max(left, LEAST_SECONDS) if left > 0 else 0.0
