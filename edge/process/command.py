"""Commands with a time limit, each in a process group of its own, so that its children are killed with it."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

END_SECONDS = 5.0  # longest wait for a killed process to end; one that waits for a stuck driver never ends


class TimedOut(Exception):  # noqa: N818  # always handled inside the package
    """The process exceeded its time limit and was killed."""


@dataclass(frozen=True)
class Finished:
    """A process that has ended.

    Attributes:
        status: its exit status; the negative number of the signal that ended it.
        output, errors: what it wrote to standard output and standard error. Bytes that are not UTF-8 become
            backslash escapes.
    """

    status: int
    output: str
    errors: str

    @property
    def last_line(self) -> str:
        """The last line of standard error, or else of standard output; empty if it wrote nothing."""
        return (self.errors.strip() or self.output.strip()).rpartition("\n")[2]


@contextlib.contextmanager
def process_group(words: Sequence[str | os.PathLike[str]], **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Start a command in a session of its own. If it still runs when the block ends, it is killed with its children.

    The children of a command that has ended by itself go on.

    Args:
        words: the program and its arguments, not interpreted by a shell.
        options: those of `subprocess.Popen`.

    Raises:
        OSError: the program cannot be started.
        ValueError: a word holds a null byte.
    """
    process = subprocess.Popen(words, start_new_session=True, **options)
    try:
        yield process
    finally:
        if process.returncode is None:
            _kill(process)


def run(
    words: Sequence[str | os.PathLike[str]],
    *,
    content: bytes = b"",
    environment: Mapping[str, str] | None = None,
    seconds: float | None = None,
) -> Finished:
    """Run a command to its end.

    Args:
        words: the program and its arguments, not interpreted by a shell.
        content: its standard input.
        environment: its variables; None: those of this process.
        seconds: its time limit; None: no limit.

    Raises:
        OSError: the program cannot be started.
        TimedOut: it took longer than `seconds`, and was killed with its children.
    """
    streams = {"stdin": subprocess.PIPE if content else subprocess.DEVNULL}
    streams |= {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with process_group(words, env=environment, **streams) as process:
        try:
            output, errors = process.communicate(content or None, seconds)
        except subprocess.TimeoutExpired as error:
            raise TimedOut from error
    return Finished(process.returncode, *(text.decode("utf-8", "backslashreplace") for text in (output, errors)))


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(OSError):  # the process has just ended, or runs as another user
        os.killpg(process.pid, signal.SIGKILL)
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(END_SECONDS)
