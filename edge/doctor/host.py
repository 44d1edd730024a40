"""The machine under examination: this one, or a tree of files that imitates another."""

import contextlib
import json
import os
import platform
import shlex
import stat
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from edge import requirements
from edge.board import Board
from edge.capture.devices import Found, v4l2_devices
from edge.errors import EdgeDetectError, printable, reason_of
from edge.files import mode_permits
from edge.inference import edgetpu
from edge.process.isolated import Crashed, TimedOut, run_isolated

PROBE_SECONDS = 60.0  # numpy and a runtime are loaded from an SD card meanwhile
LONGEST_REASON = 300  # characters

_PROBE = "from edge.doctor.probe import main; main()"


class ProbeError(EdgeDetectError):
    """A probe in a process of its own failed; the text is the reason.

    Attributes:
        fix: what helps; empty if the probe does not know it.
    """

    def __init__(self, reason: str, fix: str = "") -> None:
        super().__init__(reason)
        self.fix = fix


@dataclass(frozen=True)
class Host(Board):
    """A board, and what no file tells of it: uname, the account, the libraries.

    Attributes:
        machine, release: as in uname(2).
        bits: pointer width of this Python, 32 or 64.
        page_size: of the kernel's memory, bytes.
        user, groups: numbers of the account that asks.
        now: seconds since the epoch; None reads the clock.
        webcams: lists the webcams with a node in a folder, see `edge.capture.devices.v4l2_devices`.
        edgetpu: name or path of Google's library for the Coral.
    """

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
        """Seconds since the epoch."""
        return time.time() if self.now is None else self.now

    @property
    def python(self) -> str:
        """The Python interpreter that runs us, quoted for a shell."""
        return requirements.python()

    def may_use(self, absolute: str) -> bool:
        """Whether the user may read and write a device node."""
        path = self.path(absolute)
        if self.user == os.geteuid():
            return os.access(path, os.R_OK | os.W_OK)  # the kernel evaluates access control lists too
        try:
            status = os.stat(path)
        except OSError:
            return False
        return mode_permits(status, 6, self.user, self.groups)

    def permission(self, absolute: str) -> str:
        """The command that gives the user access to a device node."""
        try:
            status = os.stat(self.path(absolute))
        except OSError:
            return f"ls -l {shlex.quote(printable(absolute))}"
        group = status.st_gid
        name, members = next(((n, m) for n, number, m in self._groups() if number == group), ("", ()))
        user = self.environment.get("USER") or "$USER"
        if not group or not name or not status.st_mode & stat.S_IWGRP:  # no group has access
            return "sudo udevadm control --reload && sudo udevadm trigger  (then unplug it and plug it in again)"
        if user in members:
            return f"log out and in again, or restart: the account is in the group {name}, but this session not yet"
        return f"sudo usermod -aG {name} {user}  (then log out and in again)"

    def ask(self, question: str, *arguments: str, seconds: float = PROBE_SECONDS) -> Any:
        """The answer of `edge.doctor.probe`, which runs in a process of its own: a library may crash or hang it.

        Raises:
            ProbeError: the probe failed, crashed or took longer than `seconds`.
        """
        try:
            done = run_isolated(_PROBE, question, *arguments, environment=self.environment, seconds=seconds)
        except TimedOut:
            raise ProbeError(f"does not end within {seconds:g} s") from None
        except Crashed as error:
            raise ProbeError(f"crashes ({error})") from None
        except OSError as error:
            raise ProbeError(f"cannot start a process: {reason_of(error)}") from error
        try:
            reply = json.loads(done.output)
        except ValueError:
            raise ProbeError(shortened(done.last_line) or f"exit status {done.status}, no output") from None
        if error_text := reply.get("error"):
            raise ProbeError(shortened(error_text), printable(reply.get("fix", "")))
        return reply["answer"]

    def _groups(self) -> list[tuple[str, int, tuple[str, ...]]]:
        """(name, number, members) of each line of /etc/group (group(5))."""
        found = []
        for line in (self.text("/etc/group") or "").splitlines():
            with contextlib.suppress(ValueError):
                name, _, number, members = line.split(":")
                found.append((printable(name), int(number), tuple(members.split(","))))
        return found


def shortened(text: str) -> str:
    """A library's or program's text as one printable line of at most LONGEST_REASON characters."""
    line = printable(" ".join(text.split()))
    return line if len(line) <= LONGEST_REASON else line[: LONGEST_REASON - 3] + "..."
