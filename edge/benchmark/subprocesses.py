"""Other processes, timed: our own command as it is started by a user, and what it is compared with."""

import contextlib
import os
import signal
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

COMMAND = "from edge.__main__ import run; run()"  # all that the script consists of which pip makes
SAMPLE_SECONDS = 0.05
_CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Ran:
    """A process that has come to its end.

    Attributes:
        seconds: from its start to its end.
        cpu_seconds: of it and, if it was `watched`, of its children; to one sample more or less then.
        peak_bytes: of it and its children at once, shared pages counted once; 0 if it was not `watched`.
    """

    status: int
    seconds: float
    cpu_seconds: float
    peak_bytes: int
    output: str
    errors: str


def edge_detect(*arguments: str | Path) -> list[str]:
    """The words that do what the command `edge-detect` does, whatever the settings file of this machine says."""
    return [sys.executable, "-P", "-c", COMMAND, "--config", os.devnull, *map(str, arguments)]


def environment() -> dict[str, str]:
    """Ours, without what would set options of a command of ours, or let it talk to systemd.

    And with bytecode, which an installed package has: a source tree gets its own by the first start.
    """
    left_out = (PREFIX, "NOTIFY_", "STATE_", "PYTHONDONTWRITEBYTECODE")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
    before = kept.get("PYTHONPATH")
    package = str(Path(edge.__file__).resolve().parent.parent)
    return kept | {"PYTHONPATH": f"{package}{os.pathsep}{before}" if before else package}


def run(
    words: Sequence[str],
    *,
    watched: bool = False,
    may_end_with: Sequence[int] = (0,),
    variables: dict[str, str] | None = None,
) -> Ran:
    """Run a process to its end; it is killed, with its children, if we are interrupted.

    Args:
        watched: look at its memory and that of its children every `SAMPLE_SECONDS`, which costs it a little.
        variables: of its environment; None takes `environment`.

    Raises:
        BenchmarkError: it ended with another status than those.
    """
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        began = time.perf_counter()
        child = subprocess.Popen(
            words,
            env=variables or environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            start_new_session=True,
        )
        with _killed_at_last(child), _watch(child.pid) if watched else contextlib.nullcontext() as seen:
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
    cpu = max(usage.ru_utime + usage.ru_stime, seen.cpu_seconds if seen else 0.0)
    return Ran(child.returncode, seconds, cpu, seen.peak_bytes if seen else 0, *texts)


@contextlib.contextmanager
def _killed_at_last(child: subprocess.Popen[bytes]) -> Iterator[None]:
    try:
        yield
    finally:
        if child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()


class _Sampler:
    """What a process and those below it use, looked at again and again."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._cpu: dict[int, float] = {}
        self._over = threading.Event()
        self.peak_bytes = 0

    @property
    def cpu_seconds(self) -> float:
        return sum(self._cpu.values())

    def stop(self) -> None:
        self._over.set()

    def work(self) -> None:
        while True:
            pids = _family(self._pid)
            memory = [_own_and_shared(pid) for pid in pids]
            # What they share, libraries say, is in memory once: as much as the one of them has that shares most.
            self.peak_bytes = max(self.peak_bytes, sum(own for own, _ in memory) + max(shared for _, shared in memory))
            for pid in pids:
                self._cpu[pid] = max(self._cpu.get(pid, 0.0), _cpu_seconds(pid))
            if self._over.wait(SAMPLE_SECONDS):
                return


@contextlib.contextmanager
def _watch(pid: int) -> Iterator[_Sampler]:
    sampler = _Sampler(pid)
    thread = threading.Thread(target=sampler.work, daemon=True)
    thread.start()
    try:
        yield sampler
    finally:
        sampler.stop()
        thread.join()


def _family(pid: int) -> list[int]:
    found, waiting = [], [pid]
    while waiting:
        one = waiting.pop()
        found.append(one)
        with contextlib.suppress(OSError):
            waiting += [int(word) for word in Path(f"/proc/{one}/task/{one}/children").read_text().split()]
    return found


def _own_and_shared(pid: int) -> tuple[int, int]:
    """(its own, shared with other processes), by proc_pid_smaps(5)."""
    own = resident = 0
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            name, _, value = line.partition(":")
            if name == "Rss":
                resident = int(value.split()[0]) * 1024
            elif name.startswith("Private_"):  # Clean, Dirty, and the part of it that is Hugetlb
                own += int(value.split()[0]) * 1024
    return own, resident - own


def _cpu_seconds(pid: int) -> float:
    with contextlib.suppress(OSError):
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(after_name[11]) + int(after_name[12])) / _CLOCK_TICKS  # utime and stime, proc_pid_stat(5)
    return 0.0
