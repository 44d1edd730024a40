"""The board, and what may make it slower just now than it can be."""

import os
import platform
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/")
LOOK_SECONDS = 0.5
MOST_BUSY, MOST_STOLEN = 0.10, 0.02  # shares of the processor time that a measurement bears

# The bits of `vcgencmd get_throttled` that tell of now, by Raspberry Pi's documentation.
THROTTLED = {0: "the supply's voltage is too low", 1: "the clock is capped", 2: "it is throttled", 3: "it is too hot"}


@dataclass(frozen=True)
class Board:
    """
    Attributes:
        cores: that we may use.
        memory_mb: of the whole machine.
    """

    board: str
    architecture: str
    cores: int
    memory_mb: int
    python: str


def machine(root: Path = ROOT) -> Board:
    """This one."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    cores = len(os.sched_getaffinity(0))
    return Board(_board(root), platform.machine(), cores, memory // 1_000_000, platform.python_version())


def thread_counts(cores: int) -> list[int]:
    """1, 2, 4 and so on, up to the number of cores, which is one of them."""
    counts = [1]
    while counts[-1] * 2 <= cores:
        counts.append(counts[-1] * 2)
    return counts if counts[-1] == cores else [*counts, cores]


def warnings(root: Path = ROOT, look_seconds: float = LOOK_SECONDS) -> list[str]:
    """What makes a measurement worth less, in words; takes a moment, to look at the load."""
    return [*throttling(root), *_clock(root), *_load(root, look_seconds)]


def throttling(root: Path = ROOT) -> list[str]:
    """What a Raspberry Pi's firmware says it suffers from just now; nothing on another board."""
    flags = _throttled_flags(root)
    return [f"the board says that {reason}" for bit, reason in THROTTLED.items() if flags >> bit & 1]


def _throttled_flags(root: Path) -> int:
    told = _text(root / "sys/devices/platform/soc/soc:firmware/get_throttled")
    if not told and root == ROOT and (vcgencmd := shutil.which("vcgencmd")):
        done = subprocess.run([vcgencmd, "get_throttled"], capture_output=True, text=True, check=False)
        told = done.stdout.strip().removeprefix("throttled=")
    try:
        return int(told, 16)
    except ValueError:
        return 0


def _clock(root: Path) -> list[str]:
    found = []
    folder = root / "sys/devices/system/cpu/cpu0/cpufreq"
    if _text(folder / "scaling_governor") == "powersave" and _text(folder / "scaling_driver") != "intel_pstate":
        found.append("the governor powersave keeps the processor at its lowest clock")
    allowed, possible = _text(folder / "scaling_max_freq"), _text(folder / "cpuinfo_max_freq")
    if allowed.isdigit() and possible.isdigit() and int(allowed) < int(possible):
        mhz = f"{int(allowed) // 1000} of {int(possible) // 1000} MHz"
        found.append(f"the processor's clock is limited to {mhz}")
    return found


def _load(root: Path, seconds: float) -> list[str]:
    before = _processor_times(root)
    time.sleep(seconds)
    after = _processor_times(root)
    found = []
    if total := sum(after) - sum(before):
        idle, stolen = ((sum(after[part]) - sum(before[part])) / total for part in (slice(3, 5), slice(7, 8)))
        busy = 1 - idle - stolen
        if busy > MOST_BUSY:
            found.append(f"other programs keep the processor {busy:.0%} busy")
        if stolen > MOST_STOLEN:
            found.append(f"other virtual machines take {stolen:.0%} of the processor's time")
    load, cores = _text(root / "proc/loadavg").split(), len(os.sched_getaffinity(0))
    if load and float(load[0]) > cores / 2:
        found.append(f"the load of the last minute was {load[0]}, on {cores} cores")
    return found


def _processor_times(root: Path) -> list[int]:
    """user, nice, system, idle, iowait, irq, softirq, steal (proc_stat(5)); guests are within user."""
    first = _text(root / "proc/stat").partition("\n")[0].split()
    return [int(value) for value in first[1:9]]


def _board(root: Path) -> str:
    if model := _text(root / "proc/device-tree/model").rstrip("\0"):
        return model
    for line in _text(root / "proc/cpuinfo").splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("model name", "Model"):
            return value.strip()
    return "an unknown board"


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace").strip()
    except OSError:
        return ""
