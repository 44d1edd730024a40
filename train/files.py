"""Files that are written completely or not at all, so that a run can be stopped at any moment and resumed."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from edge.files import whole_file


@contextlib.contextmanager
def whole_path(path: Path, *, partial: str | None = None) -> Iterator[Path]:
    """Like `edge.files.whole_file`, for libraries that open a path: yields the path of the partial file.

    A partial file that a killed run has left is removed first, so two runs must not write the same file.

    Args:
        partial: the name of the partial file; None: `.NAME.part`.

    Raises:
        OSError: the file cannot be written.
    """
    unfinished = path.with_name(partial or f".{path.name}.part")
    unfinished.unlink(missing_ok=True)
    with whole_file(path, partial=unfinished.name):
        yield unfinished


def write_whole(path: Path, text: str) -> None:
    """Write a text as UTF-8, completely or not at all, see `whole_path`.

    Raises:
        OSError: the file cannot be written.
    """
    with whole_path(path) as partial:
        partial.write_text(text, "utf-8")
