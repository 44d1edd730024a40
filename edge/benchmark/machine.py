"""The machine that is measured, and what may slow it down just now."""

import os
import platform
import time
from dataclasses import dataclass

from edge.board import Board
from edge.errors import printable

THIS_BOARD = Board()
LOAD_SECONDS = 0.5  # for which the load is observed
MAX_BUSY, MAX_STOLEN = 0.10, 0.02  # shares of the processor's time that do not disturb a measurement


@dataclass(frozen=True)
class Machine:
    """
    Attributes:
        board: its name, or that of its processor.
        cores: that this process may use.
        memory_mb: of the whole machine.
    """

    board: str
    architecture: str
    cores: int
    memory_mb: int
    python: str


def machine(board: Board = THIS_BOARD) -> Machine:
    """A description of this machine."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    cores = len(os.sched_getaffinity(0))
    return Machine(_name(board), platform.machine(), cores, memory // 1_000_000, platform.python_version())


def thread_counts(cores: int) -> list[int]:
    """The powers of 2 below the number of cores, and that number itself."""
    counts = [1]
    while counts[-1] * 2 <= cores:
        counts.append(counts[-1] * 2)
    return counts if counts[-1] == cores else [*counts, cores]


def warnings(board: Board = THIS_BOARD, load_seconds: float = LOAD_SECONDS) -> list[str]:
    """Conditions that make a measurement less reliable, in words.

    Args:
        load_seconds: for which the load is observed; the call takes that long.
    """
    return [*throttling(board), *_clock(board), *_load(board, load_seconds)]


def throttling(board: Board = THIS_BOARD) -> list[str]:
    """What a Raspberry Pi's firmware reports just now, in words; empty on another board."""
    reported = board.throttling()
    return [f"the board reports: {condition}" for condition in reported.now] if reported else []


def _clock(board: Board) -> list[str]:
    found = []
    folder = "/sys/devices/system/cpu/cpu0/cpufreq"
    governor = board.text(f"{folder}/scaling_governor")
    if governor == "powersave" and board.text(f"{folder}/scaling_driver") != "intel_pstate":
        found.append("the governor powersave keeps the processor at its lowest clock")
    allowed, possible = (board.number(f"{folder}/{name}") for name in ("scaling_max_freq", "cpuinfo_max_freq"))
    if allowed is not None and possible is not None and allowed < possible:
        found.append(f"the processor's clock is limited to {allowed // 1000} of {possible // 1000} MHz")
    return found


def _load(board: Board, seconds: float) -> list[str]:
    before = _processor_times(board)
    time.sleep(seconds)
    after = _processor_times(board)
    found = []
    if total := sum(after) - sum(before):
        idle, stolen = ((sum(after[part]) - sum(before[part])) / total for part in (slice(3, 5), slice(7, 8)))
        busy = 1 - idle - stolen
        if busy > MAX_BUSY:
            found.append(f"other programs keep the processor {busy:.0%} busy")
        if stolen > MAX_STOLEN:
            found.append(f"other virtual machines take {stolen:.0%} of the processor's time")
    load, cores = (board.text("/proc/loadavg") or "").split(), len(os.sched_getaffinity(0))
    if load and float(load[0]) > cores / 2:
        found.append(f"the load of the last minute was {load[0]}, on {cores} cores")
    return found


def _processor_times(board: Board) -> list[int]:
    """user, nice, system, idle, iowait, irq, softirq, steal (proc_stat(5)); user includes guests."""
    first_line = (board.text("/proc/stat") or "").partition("\n")[0]
    return [int(value) for value in first_line.split()[1:9]]


def _name(board: Board) -> str:
    if board.model:
        return printable(board.model)
    for line in (board.text("/proc/cpuinfo") or "").splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("model name", "Model"):
            return printable(value.strip())
    return "an unknown board"
