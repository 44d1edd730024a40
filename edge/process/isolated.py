"""Python code in a process of its own, which a foreign library or a damaged file may crash or hang."""

import math
import os
import signal
import sys
from collections.abc import Mapping

from edge.process.command import Finished, run
from edge.process.command import TimedOut as TimedOut

# Processor time of a process in multiples of its time limit, because it may have several threads.
PROCESSOR_TIMES = 2


class Crashed(Exception):  # noqa: N818  # always handled inside the package
    """A signal ended the process; the message is the signal's name."""


def run_isolated(
    program: str,
    *arguments: str,
    content: bytes = b"",
    environment: Mapping[str, str] | None = None,
    seconds: float | None = None,
) -> Finished:
    """Run a Python program in a new process, with the import path of this one; it does not outlive this one.

    Args:
        program: its source text.
        arguments: its `sys.argv[1:]`.
        content: its standard input.
        environment: its variables, except PYTHONPATH; None: those of this process.
        seconds: its time limit; None: no limit. Its processor time has a limit too, see PROCESSOR_TIMES.

    Raises:
        OSError: no process can be started.
        Crashed: a signal ended it.
        TimedOut: it took longer than `seconds`.
    """
    paths = os.pathsep.join(path or os.getcwd() for path in sys.path)
    limit = None if seconds is None else math.ceil(PROCESSOR_TIMES * seconds)
    confined = f"from edge.process.confined import confine; confine({os.getpid()}, {limit})\n{program}"
    done = run(
        [sys.executable, "-P", "-W", "ignore", "-c", confined, *arguments],
        content=content,
        environment={**(os.environ if environment is None else environment), "PYTHONPATH": paths},
        seconds=seconds,
    )
    if done.status < 0:
        raise Crashed(_signal_name(-done.status))
    return done


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"
