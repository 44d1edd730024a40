"""The log of a command: lines on standard error."""

import contextlib
import logging
import sys


class StderrHandler(logging.Handler):
    """Writes each record as one line, `edge-detect: MESSAGE`; for the journal with its priority (sd-daemon(3))."""

    def emit(self, record: logging.LogRecord) -> None:
        from edge.delivery import journal  # here: `classify` starts faster without

        priority = ""
        if journal.takes(2):
            priority = f"<{journal.WARNING if record.levelno >= logging.WARNING else journal.INFO}>"
        elif sys.stderr.isatty():
            priority = "\r\x1b[K"  # over the progress line, which is drawn again below
        with contextlib.suppress(OSError):  # a full disk or a closed terminal must not stop the work
            print(f"{priority}edge-detect: {record.getMessage()}", file=sys.stderr, flush=True)


def log_to_stderr() -> None:
    """Send the package's log to standard error; further calls change nothing."""
    log = logging.getLogger("edge")
    log.setLevel(logging.INFO)
    if not any(isinstance(handler, StderrHandler) for handler in log.handlers):
        log.addHandler(StderrHandler())
