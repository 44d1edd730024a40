"""A progress line at the bottom of a terminal."""

import contextlib
import shutil
import time
from typing import TextIO

from edge.delivery.stdout import Lines
from edge.verdict import Answer, Recorded

REDRAW_SECONDS = 0.2


class Progress:
    """Shows a progress line that is rewritten in place, and clears it before other lines are written.

    If the stream is not a terminal, it shows nothing.
    """

    def __init__(self, lines: Lines, stream: TextIO) -> None:
        self._lines, self._stream = lines, stream
        self._is_terminal = stream.isatty()
        self._shown_at = 0.0
        self._is_shown = False

    def write(self, *answers: Answer | Recorded) -> None:
        """Clear the progress line, and write answers to the output lines.

        Raises:
            SinkError: see `Lines.write`.
        """
        self.clear()
        self._lines.write(*answers)

    def show(self, text: str) -> None:
        """Show the line; an empty text removes it."""
        if not text:
            self.clear()
            return
        now = time.monotonic()
        if not self._is_terminal or (self._is_shown and now - self._shown_at < REDRAW_SECONDS):
            return
        self._write(f"\r\x1b[K{_fitting(text, shutil.get_terminal_size().columns - 1)}")
        self._shown_at, self._is_shown = now, True

    def clear(self) -> None:
        """Remove the progress line if it is shown."""
        if self._is_shown:
            self._write("\r\x1b[K")
            self._is_shown = False

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError):  # the terminal has been closed
            self._stream.write(text)
            self._stream.flush()


def _fitting(text: str, columns: int) -> str:
    """As many of the parts, which two spaces separate, as fit: a line that wraps cannot be rewritten."""
    while len(text) > columns and "  " in text:
        text = text.rpartition("  ")[0].rstrip()
    return text[:columns]
