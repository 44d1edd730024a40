"""A command of the user's, run for each answer."""

import contextlib
import json
import math
import os
import shlex
import signal
import subprocess
import threading
import time
from tempfile import TemporaryFile
from typing import IO

from edge.errors import CommandStoppedError, NotRunnableError, SinkError, printable
from edge.verdict import BEGAN, Recorded, Verdict

TIME_LIMIT_SECONDS = 60.0
SAID_BYTES = 2000
LOOK_SECONDS = 0.2
END_SECONDS = 5.0
GRACE_SECONDS = 10.0


class Command:
    """Runs a program, without a shell, with the answer as JSON on its standard input.

    Attributes:
        words: the program and its arguments.
        label: of the verdicts that it is run for; None for every answer, bad images included.
    """

    def __init__(self, line: str, label: str | None, limit_seconds: float = TIME_LIMIT_SECONDS) -> None:
        """
        Args:
            line: split as a shell would, quotes and backslashes included, and nothing else of a shell's.

        Raises:
            SinkError: it cannot be split, or is empty.
        """
        try:
            self.words = shlex.split(line)
        except ValueError as error:
            raise SinkError(f"{printable(line)}: cannot be read as a command: {str(error).lower()}") from error
        if not self.words:
            raise SinkError("a command is empty")
        self.label, self._limit_seconds = label, limit_seconds
        self.name = f"command {label or 'any'} {printable(line)}"

    def wants(self, recorded: Recorded) -> bool:
        if self.label is None:
            return True
        # Of an event its beginning is enough; a frame is none.
        is_news = recorded.event is None or recorded.event.state == BEGAN
        return is_news and isinstance(recorded.answer, Verdict) and recorded.answer.label == self.label

    def run(self, recorded: Recorded, stop: threading.Event) -> None:
        """Run it for one answer, to its end.

        Args:
            stop: when it is set, what runs has a few seconds left.

        Raises:
            SinkError: it cannot be run, did not end in time, or ended with another status than 0.
            CommandStoppedError: we were stopped.
        """
        line = (json.dumps(recorded.as_json()) + "\n").encode("ascii")
        program = printable(self.words[0])
        try:
            # What it says goes to a file: a pipe would be held open by what it may leave running.
            with TemporaryFile() as said:
                status = self._status(line, said, stop)
                said.seek(max(0, said.seek(0, os.SEEK_END) - SAID_BYTES))
                lines = said.read().decode("utf-8", "replace").strip().splitlines()
        except (OSError, ValueError) as error:  # the latter for a null byte in a word
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise NotRunnableError(f"{program}: cannot be run: {(reason or '').lower()}") from error
        if status:
            how = f"exit status {status}" if status > 0 else f"signal {-status}"
            raise SinkError(f"{program}: {how}{': ' + printable(lines[-1]) if lines else ''}")

    def _status(self, line: bytes, said: IO[bytes], stop: threading.Event) -> int:
        """The exit status, once it has ended, its time is up, or we are stopped."""
        program, deadline = printable(self.words[0]), time.monotonic() + self._limit_seconds
        # A session of its own: what it has started ends with it when its time is up.
        process = subprocess.Popen(
            self.words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=said, start_new_session=True
        )
        unsent: bytes | None = line
        grace = math.inf
        try:
            while True:
                try:
                    process.communicate(unsent, LOOK_SECONDS)
                    return process.returncode
                except subprocess.TimeoutExpired:
                    unsent = None  # communicate() has it in hand since its first call
                if stop.is_set():
                    grace = min(grace, time.monotonic() + GRACE_SECONDS)
                if time.monotonic() > grace:
                    raise CommandStoppedError(program)
                if time.monotonic() > deadline:
                    raise SinkError(f"{program}: took more than {self._limit_seconds:g} s, and was ended")
        finally:
            if process.returncode is None:
                _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """It and all that it has started; one that runs as another user may be out of our reach."""
    with contextlib.suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)
    if process.stdin:
        with contextlib.suppress(OSError):
            process.stdin.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(END_SECONDS)
