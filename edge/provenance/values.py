"""Values of untrusted metadata, made safe to show."""

from typing import Any

from edge.errors import printable

MAX_TEXT = 200  # characters


def text(value: Any, limit: int = MAX_TEXT) -> str:
    """A text of a file as one line without control characters, cut at a limit; empty if it is not a text."""
    if not isinstance(value, str):
        return ""
    line = printable(" ".join(value[: 4 * limit].split()))
    return line if len(line) <= limit else line[: limit - 3] + "..."
