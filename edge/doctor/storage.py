"""Memory, disks, and the record of what was answered."""

import os
import shlex
from collections.abc import Iterator
from pathlib import Path

from edge.doctor.choices import Chosen
from edge.doctor.finding import ABSENT, OK, PROBLEM, WARNING, Finding
from edge.doctor.host import Host
from edge.errors import LedgerError, printable
from edge.store.state import default_folder

MB = 1_000_000
LEAST_MEMORY = (
    700 * MB
)  # the largest image that is accepted takes up to 640 MB to decode there: edge.imaging.preprocess
LEAST_FREE, LOW_FREE = 10 * MB, 200 * MB
_CLEAN = "sudo apt clean; sudo journalctl --vacuum-size=50M; edge-detect results prune --older-than 90d"


def memory(machine: Host) -> Iterator[Finding]:
    """The board's, and what this session may take of it (cgroups(7))."""
    fields = dict(line.split(":", 1) for line in (machine.text("/proc/meminfo") or "").splitlines() if ":" in line)
    try:
        total, available = (int(fields[name].split()[0]) * 1024 for name in ("MemTotal", "MemAvailable"))
    except (KeyError, ValueError, IndexError):
        yield Finding("memory", WARNING, "the kernel does not tell (/proc/meminfo)")
        return
    limit = _limit(machine)
    usable = total if limit is None else min(total, limit)
    found = f"{total // MB} MB, {available // MB} MB available"
    if usable < total:
        found += f", limited to {usable // MB} MB"
    if usable < LEAST_MEMORY:
        mend = "give it swap space, or keep the largest images away from it"
        yield Finding("memory", WARNING, f"{found}: the largest images would not fit", mend)
    else:
        yield Finding("memory", OK, found)


def disk(machine: Host) -> Iterator[Finding]:
    """The system's disk."""
    options = next((fields[3] for fields in _mounts(machine) if fields[1] == "/"), "")
    if "ro" in options.split(","):
        mend = "sudo mount -o remount,rw /  (and if it was not you who made it so, see `dmesg`: the card may be dying)"
        yield Finding("disk of /", WARNING, "read-only", mend)
    else:
        yield _room("disk of /", machine.path("/"), problem=WARNING)


def state_folder(machine: Host, chosen: Chosen) -> Iterator[Finding]:
    """Whether it can be written to, and what room there is; nothing is written."""
    try:
        folder = chosen.state or default_folder()
    except LedgerError as error:
        yield Finding("state folder", PROBLEM, str(error), "edge-detect watch FOLDER --state DIR")
        return
    there = _existing(folder.absolute())
    found, quoted = printable(folder), shlex.quote(printable(there))
    if not there.is_dir():
        yield Finding("state folder", PROBLEM, f"{found}: {quoted} is no folder", "name another with --state")
    elif os.statvfs(there).f_flag & os.ST_RDONLY:
        mend = "name another folder with --state, or make its file system writable: sudo mount -o remount,rw MOUNT"
        yield Finding("state folder", PROBLEM, f"{found}: read-only file system", mend)
    elif not os.access(there, os.W_OK | os.X_OK):
        mend = f'sudo chown -R "$USER" {quoted}  (or name another folder with --state)'
        yield Finding("state folder", PROBLEM, f"{found}: permission denied", mend)
    else:
        is_new = "" if folder.is_dir() else ", not made yet"
        yield _room("state folder", there, problem=PROBLEM, prefix=f"{found}{is_new}, ")


def ledger(chosen: Chosen) -> Iterator[Finding]:
    """Whether it is whole; nothing is written."""
    try:
        from edge.store import queries, schema
    except ImportError as error:  # a Python that was built without SQLite
        why = printable(str(error))
        yield Finding("ledger", PROBLEM, f"SQLite does not load: {why}", "sudo apt install libsqlite3-0")
        return
    try:
        path = (chosen.state or default_folder()) / schema.FILE
        if os.path.lexists(path):
            yield Finding("ledger", OK, f"whole, {queries.count(path)} answers")
        else:
            yield Finding("ledger", ABSENT, "none yet: nothing was answered")
    except LedgerError as error:
        is_denied = isinstance(error.__cause__, PermissionError)
        mend = (
            "an earlier or damaged one: edge-detect watch FOLDER, which keeps a damaged one aside;"
            " a later one: bring edge-detect up to date, or name another folder with --state"
        )
        yield Finding("ledger", PROBLEM, str(error), "sudo edge-detect doctor" if is_denied else mend)


def _room(name: str, folder: Path, *, problem: str, prefix: str = "") -> Finding:
    status = os.statvfs(folder)
    free = status.f_bavail * status.f_frsize
    found = f"{prefix}{_size(free)} free"
    if free < LEAST_FREE or (status.f_files and not status.f_favail):
        return Finding(name, problem, f"{found}: full", _CLEAN)
    if free < LOW_FREE:
        return Finding(name, WARNING, f"{found}: nearly full", _CLEAN)
    return Finding(name, OK, found)


def _size(number: int) -> str:
    return f"{number / 1000**3:.1f} GB" if number >= 1000**3 else f"{number // MB} MB"


def _existing(folder: Path) -> Path:
    """The folder, or the next one above it that is there."""
    return next((path for path in (folder, *folder.parents) if os.path.lexists(path)), Path("/"))


def _mounts(machine: Host) -> list[list[str]]:
    """The fields of each line of proc(5)'s mounts."""
    lines = (machine.text("/proc/self/mounts") or "").splitlines()
    return [fields for line in lines if len(fields := line.split()) >= 4]


def _limit(machine: Host) -> int | None:
    """The least limit of our control group and of those above it, bytes."""
    own = next(
        (line[3:] for line in (machine.text("/proc/self/cgroup") or "").splitlines() if line.startswith("0::")), "/"
    )
    groups = [group for group in (own, *map(str, Path(own).parents)) if group.startswith("/") and ".." not in group]
    files = [os.path.join("/sys/fs/cgroup", group.strip("/"), "memory.max") for group in groups]
    files.append("/sys/fs/cgroup/memory/memory.limit_in_bytes")
    limits = [limit for file in files if (limit := machine.number(file)) is not None]
    return min(limits, default=None)
