"""The machine that is looked at: this one, or a tree of files that imitates another."""

import contextlib
import json
import os
import platform
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge.capture.devices import Found, v4l2_devices
from edge.errors import EdgeDetectError, printable
from edge.inference import edgetpu

COMMAND_SECONDS = 10.0
PROBE_SECONDS = 60.0  # numpy and a runtime are loaded from an SD card meanwhile
MOST_BYTES = 1_000_000  # of a file of the kernel's
LONGEST_REASON = 300


class ProbeError(EdgeDetectError):
    """What was tried in a process of its own did not work; the text says how it ended."""


@dataclass(frozen=True)
class Finished:
    """How a command ended.

    Attributes:
        status: of the exit; the negative number of a signal.
    """

    status: int
    output: str
    errors: str

    @property
    def last_words(self) -> str:
        return shortened((self.errors.strip() or self.output.strip()).rpartition("\n")[2])


@dataclass(frozen=True)
class Host:
    """Where files are, how commands are run, and what the kernel says that is in no file.

    Attributes:
        root: before every path.
        machine, release: as uname has them.
        bits: of this Python.
        page_size: of the kernel's memory, bytes.
        user, groups: who asks, as numbers.
        now: seconds since the epoch; None is the clock.
        webcams: those whose nodes are in a folder, see `edge.capture.devices.v4l2_devices`.
        edgetpu: Google's library for the Coral, by its name or path.
    """

    root: Path = Path("/")
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    machine: str = field(default_factory=platform.machine)
    release: str = field(default_factory=platform.release)
    bits: int = 64 if sys.maxsize > 2**32 else 32
    page_size: int = field(default_factory=edgetpu.page_bytes)
    user: int = field(default_factory=os.geteuid)
    groups: frozenset[int] = field(default_factory=lambda: frozenset((os.getegid(), *os.getgroups())))
    now: float | None = None
    webcams: Callable[[str, str], list[Found]] = v4l2_devices
    edgetpu: str = edgetpu.LIBRARY

    @property
    def time(self) -> float:
        return time.time() if self.now is None else self.now

    @property
    def python(self) -> str:
        """As a word of a shell."""
        return shlex.quote(sys.executable or "python3")

    def path(self, absolute: str | Path) -> Path:
        return self.root / os.fspath(absolute).lstrip("/")

    def absolute(self, path: Path) -> str:
        """The reverse of `path`."""
        return "/" + os.fspath(path.relative_to(self.root))

    def text(self, absolute: str) -> str | None:
        """The content of a small file, stripped of what surrounds it; None if it cannot be had."""
        try:
            with open(self.path(absolute), "rb") as file:
                return file.read(MOST_BYTES).decode("utf-8", "surrogateescape").strip("\0\n\t ")
        except OSError:
            return None

    def number(self, absolute: str) -> int | None:
        """The number that a file holds; None if it holds none."""
        try:
            return int(self.text(absolute) or "")
        except ValueError:
            return None

    def names(self, folder: str, pattern: str = "*") -> list[str]:
        """The paths of what a folder holds, without the root before them; none if it cannot be listed."""
        try:
            found = sorted(self.path(folder).glob(pattern))
        except OSError:
            return []
        return [self.absolute(path) for path in found]

    def may_use(self, absolute: str) -> bool:
        """Whether the user may read and write a node."""
        path = self.path(absolute)
        if self.user == os.geteuid():
            return os.access(path, os.R_OK | os.W_OK)  # the kernel knows of access lists too
        try:
            status = os.stat(path)
        except OSError:
            return False
        shift = 6 if status.st_uid == self.user else 3 if status.st_gid in self.groups else 0
        return (stat.S_IMODE(status.st_mode) >> shift) & 0o6 == 0o6

    def permission(self, absolute: str) -> str:
        """How the user gets the permission for a node that `may_use` denies."""
        try:
            group, mode = os.stat(self.path(absolute)).st_gid, os.stat(self.path(absolute)).st_mode
        except OSError:
            return f"ls -l {shlex.quote(printable(absolute))}"
        name, members = next(((n, m) for n, number, m in self._groups() if number == group), ("", ()))
        user = self.environment.get("USER") or "$USER"
        if not group or not name or not mode & stat.S_IWGRP:  # no group has it
            return "sudo udevadm control --reload && sudo udevadm trigger  (then pull it out and put it in again)"
        if user in members:
            return f"log out and in again, or restart: the account is in the group {name}, but this session not yet"
        return f"sudo usermod -aG {name} {user}  (then log out and in again)"

    def run(self, *words: str, seconds: float = COMMAND_SECONDS) -> Finished | None:
        """Run a command to its end; None if there is none of that name, or if it does not end in time."""
        program = shutil.which(words[0], path=self.environment.get("PATH", os.defpath))
        if program is None:
            return None
        try:
            return _ran([program, *words[1:]], {**self.environment, "LC_ALL": "C"}, seconds)
        except (OSError, subprocess.TimeoutExpired):
            return None

    def ask(self, question: str, *arguments: str, seconds: float = PROBE_SECONDS) -> Any:
        """Let a process of its own answer, for a library that crashes or hangs takes it along (`edge.doctor.probe`).

        Raises:
            ProbeError: it has no answer, or died of the question.
        """
        words = [sys.executable, "-P", "-W", "ignore", "-m", "edge.doctor.probe", question, *arguments]
        try:
            paths = os.pathsep.join(path or os.getcwd() for path in sys.path)
            ran = _ran(words, {**self.environment, "PYTHONPATH": paths}, seconds)
        except subprocess.TimeoutExpired:
            raise ProbeError(f"does not end within {seconds:g} s") from None
        except OSError as error:
            raise ProbeError(f"no process could be started: {(error.strerror or str(error)).lower()}") from error
        if ran.status < 0:
            raise ProbeError(f"crashes ({_signal_name(-ran.status)})")
        try:
            told = json.loads(ran.output)
        except ValueError:
            raise ProbeError(ran.last_words or f"exit status {ran.status}, without a word") from None
        if error_text := told.get("error"):
            raise ProbeError(shortened(error_text))
        return told["answer"]

    def _groups(self) -> list[tuple[str, int, tuple[str, ...]]]:
        """(name, number, members) of /etc/group (group(5))."""
        found = []
        for line in (self.text("/etc/group") or "").splitlines():
            with contextlib.suppress(ValueError):
                name, _, number, members = line.split(":")
                found.append((printable(name), int(number), tuple(members.split(","))))
        return found


def shortened(text: str) -> str:
    """Foreign text on one line that can be read."""
    line = printable(" ".join(text.split()))
    return line if len(line) <= LONGEST_REASON else line[: LONGEST_REASON - 3] + "..."


def _ran(words: list[str], environment: dict[str, str], seconds: float) -> Finished:
    process = subprocess.Popen(
        words,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="surrogateescape",
        start_new_session=True,
    )
    try:
        output, errors = process.communicate(timeout=seconds)
    except BaseException:
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)  # with its own children, which may hold the streams
        # One that waits for a driver which does not answer, cannot be ended by anyone.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=1.0)
        raise
    return Finished(process.returncode, output, errors)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
