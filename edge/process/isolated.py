"""Trying in a process of its own what might end the one that tries it: a foreign library, a damaged file."""

import os
import signal
import subprocess
import sys


class Crashed(Exception):  # noqa: N818  # it says what became of the other process, and never leaves the package
    """The process was ended by a signal, whose name is the text."""


class TimedOut(Exception):  # noqa: N818
    """The process was ended by us."""


def run_isolated(program: str, *arguments: str, content: bytes = b"", seconds: float | None = None) -> tuple[int, str]:
    """Run a Python program that can import what we can import.

    Args:
        program: its text.
        content: its standard input.
        seconds: how long it may take; None is for ever.

    Returns:
        Its exit status and what it wrote to standard output. Its standard error is dropped, for libraries talk there.

    Raises:
        Crashed, TimedOut: see there.
    """
    paths = os.pathsep.join(path or os.getcwd() for path in sys.path)
    try:
        tried = subprocess.run(
            [sys.executable, "-c", program, *arguments],
            input=content,
            env={**os.environ, "PYTHONPATH": paths},
            capture_output=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise TimedOut from error
    if tried.returncode < 0:
        raise Crashed(signal.Signals(-tried.returncode).name)
    return tried.returncode, tried.stdout.decode("utf-8", "backslashreplace")
