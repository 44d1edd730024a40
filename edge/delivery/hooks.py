"""A user's command that is run once for each answer."""

import json
import math
import os
import shlex
import subprocess
import threading
import time
from tempfile import TemporaryFile
from typing import IO

from edge.errors import CommandStoppedError, NotRunnableError, SinkError, printable, reason_of
from edge.process.command import process_group
from edge.verdict import BEGAN, Recorded, Verdict

TIME_LIMIT_SECONDS = 60.0
GRACE_SECONDS = 10.0  # in which a running command may end by itself after a stop
POLL_SECONDS = 0.2  # interval of looking at the time limit and at a stop
MAX_ERROR_BYTES = 2000  # of the command's standard error, for the error message


class Command:
    """Runs a program, without a shell, with the answer as one line of JSON on its standard input.

    Attributes:
        words: the program and its arguments.
        label: the command is run for verdicts with this label; None: for every answer, bad images included.
        name: its name as a sink in the ledger.
    """

    def __init__(self, line: str, label: str | None, limit_seconds: float = TIME_LIMIT_SECONDS) -> None:
        """
        Args:
            line: the command line. Quotes and backslashes are read as by a shell; variables, pipes and redirections
                have no meaning.
            limit_seconds: a run that takes longer is killed, and counts as failed.

        Raises:
            SinkError: the line cannot be split into words, or is empty.
        """
        try:
            self.words = shlex.split(line)
        except ValueError as error:
            raise SinkError(f"{printable(line)}: cannot be read as a command: {reason_of(error)}") from error
        if not self.words:
            raise SinkError("the command is empty; name a program")
        self.label, self._limit_seconds = label, limit_seconds
        self.name = f"command {label or 'any'} {printable(line)}"

    def matches(self, recorded: Recorded) -> bool:
        """Whether the command is to be run for an answer; with a label, for the beginning of a camera's event only."""
        if self.label is None:
            return True
        is_event_or_file = recorded.event is None or recorded.event.state == BEGAN
        return is_event_or_file and isinstance(recorded.answer, Verdict) and recorded.answer.label == self.label

    def run(self, recorded: Recorded, stop: threading.Event) -> None:
        """Run the command for one answer, and wait for its end.

        Args:
            stop: when it is set, the command is killed after GRACE_SECONDS.

        Raises:
            NotRunnableError: the program cannot be started.
            SinkError: it exceeded its time limit, or ended with another status than 0.
            CommandStoppedError: it was killed because of `stop`.
        """
        content = (json.dumps(recorded.as_json()) + "\n").encode("ascii")
        program = printable(self.words[0])
        try:
            with TemporaryFile() as errors:  # not a pipe: programs that the command leaves running would hold it open
                status = self._status(content, errors, stop)
                errors.seek(max(0, errors.seek(0, os.SEEK_END) - MAX_ERROR_BYTES))
                lines = errors.read().decode("utf-8", "replace").strip().splitlines()
        except (OSError, ValueError) as error:  # ValueError: a word holds a null byte
            raise NotRunnableError(f"{program}: cannot be run: {reason_of(error)}") from error
        if status:
            end = f"exit status {status}" if status > 0 else f"signal {-status}"
            raise SinkError(f"{program}: {end}{': ' + printable(lines[-1]) if lines else ''}")

    def _status(self, content: bytes, errors: IO[bytes], stop: threading.Event) -> int:
        """Run the command with a standard input and a file for its standard error, and return its exit status."""
        program, deadline, grace_end = printable(self.words[0]), time.monotonic() + self._limit_seconds, math.inf
        streams = {"stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL, "stderr": errors}
        with process_group(self.words, **streams) as process:
            unsent: bytes | None = content
            while True:
                try:
                    process.communicate(unsent, POLL_SECONDS)
                    return process.returncode
                except subprocess.TimeoutExpired:
                    unsent = None  # communicate() keeps what it has not written yet
                if stop.is_set():
                    grace_end = min(grace_end, time.monotonic() + GRACE_SECONDS)
                if time.monotonic() > grace_end:
                    raise CommandStoppedError(program)
                if time.monotonic() > deadline:
                    raise SinkError(f"{program}: took more than {self._limit_seconds:g} s, and was killed")
