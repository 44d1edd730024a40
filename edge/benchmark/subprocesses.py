"""Timed processes: the command `edge-detect` as a user starts it, and programs to compare it with."""

import compileall
import contextlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import edge
from edge.cli.commands import PREFIX
from edge.errors import BenchmarkError, printable
from edge.process.command import process_group

COMMAND = "from edge.__main__ import run; run()"  # the content of the script that pip installs
SAMPLE_SECONDS = 0.05
_PACKAGE = Path(edge.__file__).resolve().parent
_CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class ProcessTiming:
    """A finished process.

    Attributes:
        status: its exit status.
        seconds: from its start to its end.
        cpu_seconds: of the process; of its children too if they were counted or it was sampled, to the accuracy of one
            sample.
        peak_bytes: of the process and its children together, shared pages counted once; 0 if it was not sampled.
    """

    status: int
    seconds: float
    cpu_seconds: float
    peak_bytes: int
    output: str
    errors: str


def edge_detect(*arguments: str | Path) -> list[str]:
    """The words that run the command `edge-detect` without this machine's settings file."""
    return [sys.executable, "-P", "-c", COMMAND, "--config", os.devnull, *map(str, arguments)]


def environment() -> dict[str, str]:
    """The environment of this process without options for `edge-detect` and without systemd's variables.

    Python may write bytecode: an installed package has it, and a source tree gets it at the first start.
    """
    left_out = (PREFIX, "NOTIFY_", "STATE_", "PYTHONDONTWRITEBYTECODE")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
    paths = kept.get("PYTHONPATH")
    return kept | {"PYTHONPATH": f"{_PACKAGE.parent}{os.pathsep}{paths}" if paths else str(_PACKAGE.parent)}


def compile_package() -> bool:
    """Compile the byte code of our package where it is missing or old; False if its folder cannot be written to.

    An installed package has it; the first start of a source tree compiles what it imports.
    """
    return bool(compileall.compile_dir(_PACKAGE, quiet=2))


def run(
    words: Sequence[str],
    *,
    sampled: bool = False,
    counts_children: bool = False,
    may_end_with: Sequence[int] = (0,),
    variables: dict[str, str] | None = None,
) -> ProcessTiming:
    """Run a process to its end; an interrupt kills it with its children.

    Args:
        words: the program and its arguments.
        sampled: read its memory and that of its children every SAMPLE_SECONDS, which slows it down.
        counts_children: read the processor time of its children as often, which costs next to nothing.
        may_end_with: the exit statuses that are no error.
        variables: its environment; None: that of `environment`.

    Raises:
        BenchmarkError: it ended with another status.
    """
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        began = time.perf_counter()
        streams = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": errors}
        with (
            process_group(words, env=variables or environment(), **streams) as child,
            _sampling(child.pid, memory=sampled) if sampled or counts_children else contextlib.nullcontext() as sampler,
        ):
            _, status, usage = os.wait4(child.pid, 0)
            seconds = time.perf_counter() - began
            child.returncode = os.waitstatus_to_exitcode(status)
        texts = []
        for file in (output, errors):
            file.seek(0)
            texts.append(file.read().decode("utf-8", "replace"))
    if child.returncode not in may_end_with:
        last = (texts[1].strip() or texts[0].strip() or f"exit status {child.returncode}").splitlines()[-1]
        raise BenchmarkError(f"{' '.join(words[:6])} ... failed: {printable(last)}")
    cpu = max(usage.ru_utime + usage.ru_stime, sampler.cpu_seconds if sampler else 0.0)
    return ProcessTiming(child.returncode, seconds, cpu, sampler.peak_bytes if sampler else 0, *texts)


class _Sampler:
    """Processor time and memory of a process and its descendants, read every SAMPLE_SECONDS by a thread."""

    def __init__(self, pid: int, *, memory: bool) -> None:
        self._pid, self._memory = pid, memory
        self._cpu: dict[int, float] = {}
        self._stopped = threading.Event()
        self.peak_bytes = 0

    @property
    def cpu_seconds(self) -> float:
        return sum(self._cpu.values())

    def stop(self) -> None:
        self._stopped.set()

    def run(self) -> None:
        while True:
            pids = _family(self._pid)
            if self._memory:
                memory = [_own_and_shared(pid) for pid in pids]
                # Shared pages, such as libraries, are in memory once: the largest share of one process stands for all.
                in_all = sum(own for own, _ in memory) + max(shared for _, shared in memory)
                self.peak_bytes = max(self.peak_bytes, in_all)
            for pid in pids:
                self._cpu[pid] = max(self._cpu.get(pid, 0.0), _cpu_seconds(pid))
            if self._stopped.wait(SAMPLE_SECONDS):
                return


@contextlib.contextmanager
def _sampling(pid: int, *, memory: bool) -> Iterator[_Sampler]:
    sampler = _Sampler(pid, memory=memory)
    thread = threading.Thread(target=sampler.run, daemon=True)
    thread.start()
    try:
        yield sampler
    finally:
        sampler.stop()
        thread.join()


def _family(pid: int) -> list[int]:
    """A process and its descendants."""
    found, waiting = [], [pid]
    while waiting:
        one = waiting.pop()
        found.append(one)
        with contextlib.suppress(OSError):
            waiting += [int(word) for word in Path(f"/proc/{one}/task/{one}/children").read_text().split()]
    return found


def _own_and_shared(pid: int) -> tuple[int, int]:
    """(private bytes, bytes shared with other processes) of a process, see proc_pid_smaps(5)."""
    own = resident = 0
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            name, _, value = line.partition(":")
            if name == "Rss":
                resident = int(value.split()[0]) * 1024
            elif name.startswith("Private_"):  # Private_Clean, Private_Dirty and Private_Hugetlb
                own += int(value.split()[0]) * 1024
    return own, resident - own


def _cpu_seconds(pid: int) -> float:
    with contextlib.suppress(OSError):
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(after_name[11]) + int(after_name[12])) / _CLOCK_TICKS  # utime and stime, proc_pid_stat(5)
    return 0.0
