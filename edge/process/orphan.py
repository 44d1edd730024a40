"""Exception hook of the fork server: no traceback if its client is killed while it asks for a process."""

import pickle
import sys
from types import TracebackType

from edge.process import limits


def report(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    """Print an uncaught exception as Python does, except those of an incomplete request (EOFError, UnpicklingError).

    The client writes a request in one piece, so an incomplete one means that the client was killed. That a limit was
    reached is printed in one line.
    """
    if reason := limits.reached(error):
        print(f"edge-detect: {reason}", file=sys.stderr)
    elif not isinstance(error, (EOFError, pickle.UnpicklingError)):
        sys.__excepthook__(kind, error, traceback)


sys.excepthook = report
