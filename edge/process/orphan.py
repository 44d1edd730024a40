"""Exception hook of the fork server: no traceback if its client is killed while it asks for a process."""

import pickle
import sys
from types import TracebackType


def report(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    """Print an uncaught exception as Python does, except those of an incomplete request (EOFError, UnpicklingError).

    The client writes a request in one piece, so an incomplete one means that the client was killed.
    """
    if not isinstance(error, (EOFError, pickle.UnpicklingError)):
        sys.__excepthook__(kind, error, traceback)


sys.excepthook = report
