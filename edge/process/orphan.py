"""Imported by the fork server alone: it prints no traceback if its client dies while it asks for a process."""

import pickle
import sys
from types import TracebackType


def report(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    """Print an uncaught exception of the server or of a process that it has just forked, as Python does by itself.

    An incomplete request (EOFError, UnpicklingError) is not printed: the client writes it in one piece, so it was
    killed before or while it did.
    """
    if not isinstance(error, (EOFError, pickle.UnpicklingError)):
        sys.__excepthook__(kind, error, traceback)


sys.excepthook = report
