"""Memory, disks, the state folder and the ledger in it."""

import os
import shlex
from collections.abc import Iterator
from pathlib import Path

from edge.doctor.choices import Choices
from edge.doctor.finding import ABSENT, OK, PROBLEM, WARNING, Finding
from edge.doctor.host import Host
from edge.errors import LedgerError, printable
from edge.files import free_bytes
from edge.store.state import default_folder

MB = 1_000_000
LEAST_MEMORY = 700 * MB  # edge.imaging.preprocess accepts images that take up to 640 MB to decode on such a board
LEAST_FREE, LOW_FREE = 10 * MB, 200 * MB
_CLEAN = "sudo apt clean; sudo journalctl --vacuum-size=50M; edge-detect results prune --older-than 90d"


def memory(machine: Host) -> Iterator[Finding]:
    """The board's memory, and the limit of this session (cgroups(7))."""
    fields = dict(line.split(":", 1) for line in (machine.text("/proc/meminfo") or "").splitlines() if ":" in line)
    try:
        total, available = (int(fields[name].split()[0]) * 1024 for name in ("MemTotal", "MemAvailable"))
    except (KeyError, ValueError, IndexError):
        yield Finding("memory", WARNING, "the kernel does not report it (/proc/meminfo)")
        return
    limit = _limit(machine)
    usable = total if limit is None else min(total, limit)
    found = f"{total // MB} MB, {available // MB} MB available"
    if usable < total:
        found += f", limited to {usable // MB} MB"
    if usable < LEAST_MEMORY:
        fix = "add swap space, or leave out the largest images"
        yield Finding("memory", WARNING, f"{found}: too little to decode the largest images", fix)
    else:
        yield Finding("memory", OK, found)


def disk(machine: Host) -> Iterator[Finding]:
    """The disk of /: mounted read-only, full or nearly full."""
    options = next((fields[3] for fields in _mounts(machine) if fields[1] == "/"), "")
    if "ro" in options.split(","):
        fix = "sudo mount -o remount,rw /  (unless it was mounted so on purpose, see `dmesg`: the card may be failing)"
        yield Finding("disk of /", WARNING, "read-only", fix)
    else:
        yield _room("disk of /", machine.path("/"), problem=WARNING)


def state_folder(machine: Host, choices: Choices) -> Iterator[Finding]:
    """Whether the state folder can be written, and its free space; nothing is written."""
    try:
        folder = choices.state or default_folder()
    except LedgerError as error:
        yield Finding("state folder", PROBLEM, str(error), "edge-detect watch FOLDER --state DIR")
        return
    there = _existing(folder.absolute())
    found, quoted = printable(folder), shlex.quote(printable(there))
    if not there.is_dir():
        yield Finding("state folder", PROBLEM, f"{found}: {quoted} is not a folder", "name another folder with --state")
    elif os.statvfs(there).f_flag & os.ST_RDONLY:
        fix = "name another folder with --state, or make its file system writable: sudo mount -o remount,rw MOUNT"
        yield Finding("state folder", PROBLEM, f"{found}: read-only file system", fix)
    elif not os.access(there, os.W_OK | os.X_OK):
        fix = f'sudo chown -R "$USER" {quoted}  (or name another folder with --state)'
        yield Finding("state folder", PROBLEM, f"{found}: permission denied", fix)
    else:
        is_new = "" if folder.is_dir() else ", not created yet"
        yield _room("state folder", there, problem=PROBLEM, prefix=f"{found}{is_new}, ")


def ledger(choices: Choices) -> Iterator[Finding]:
    """Whether the ledger is intact, and its number of answers; nothing is written."""
    try:
        from edge.store import queries, schema
    except ImportError as error:  # Python was built without SQLite
        why = printable(str(error))
        yield Finding("ledger", PROBLEM, f"SQLite does not load: {why}", "sudo apt install libsqlite3-0")
        return
    try:
        path = (choices.state or default_folder()) / schema.FILE
        if os.path.lexists(path):
            yield Finding("ledger", OK, f"intact, {queries.count(path)} answers")
        else:
            yield Finding("ledger", ABSENT, "none yet")
    except LedgerError as error:
        is_denied = isinstance(error.__cause__, PermissionError)
        fix = (
            "written by an earlier version, or damaged: edge-detect watch FOLDER, which updates it or sets it aside;"
            " written by a later version: update edge-detect, or name another folder with --state"
        )
        yield Finding("ledger", PROBLEM, str(error), "sudo edge-detect doctor" if is_denied else fix)


def _room(name: str, folder: Path, *, problem: str, prefix: str = "") -> Finding:
    free, status = free_bytes(folder), os.statvfs(folder)
    found = f"{prefix}{_size(free)} free"
    if free < LEAST_FREE or (status.f_files and not status.f_favail):
        return Finding(name, problem, f"{found}: full", _CLEAN)
    if free < LOW_FREE:
        return Finding(name, WARNING, f"{found}: nearly full", _CLEAN)
    return Finding(name, OK, found)


def _size(number: int) -> str:
    return f"{number / 1000**3:.1f} GB" if number >= 1000**3 else f"{number // MB} MB"


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    return next((path for path in (folder, *folder.parents) if os.path.lexists(path)), Path("/"))


def _mounts(machine: Host) -> list[list[str]]:
    """The fields of each line of /proc/self/mounts (proc(5))."""
    lines = (machine.text("/proc/self/mounts") or "").splitlines()
    return [fields for line in lines if len(fields := line.split()) >= 4]


def _limit(machine: Host) -> int | None:
    """The lowest memory limit of our control group and of those above it, bytes; None without any."""
    own = next(
        (line[3:] for line in (machine.text("/proc/self/cgroup") or "").splitlines() if line.startswith("0::")), "/"
    )
    groups = [group for group in (own, *map(str, Path(own).parents)) if group.startswith("/") and ".." not in group]
    files = [os.path.join("/sys/fs/cgroup", group.strip("/"), "memory.max") for group in groups]
    files.append("/sys/fs/cgroup/memory/memory.limit_in_bytes")
    limits = [limit for file in files if (limit := machine.number(file)) is not None]
    return min(limits, default=None)
