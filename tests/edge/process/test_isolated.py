"""Python programs in isolation: they end with their parent, and after their processor time."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from edge.process.isolated import PROCESSOR_TIMES, run_isolated
from tests.conftest import CHECKOUT, environment
from tests.edge.process.test_command import ends, is_running

SPINS = "import os, sys; open(sys.argv[1], 'w').write(f'{os.getpid()} '); exec('while True: pass')"


def confined(program: str, seconds: int | None, parent: str = "os.getppid()") -> subprocess.CompletedProcess[bytes]:
    words = f"import os; from edge.process.confined import confine; confine({parent}, {seconds})\n{program}"
    return subprocess.run([sys.executable, "-c", words], cwd=CHECKOUT, env=environment(), timeout=60)


def test_program_that_spins_ends_with_its_killed_parent(tmp_path: Path) -> None:
    parent = "import sys; from edge.process.isolated import run_isolated; run_isolated(*sys.argv[1:], seconds=600)"
    pid_file = tmp_path / "pid"
    running = subprocess.Popen([sys.executable, "-c", parent, SPINS, pid_file], cwd=CHECKOUT, env=environment())
    while not pid_file.exists() or not pid_file.read_text().endswith(" "):
        assert running.poll() is None
        time.sleep(0.02)
    child = int(pid_file.read_text())
    assert is_running(child)
    running.kill()
    running.wait()
    assert ends(child)


def test_program_that_spins_ends_after_its_processor_time() -> None:
    assert confined("while True: pass", 1).returncode == -signal.SIGXCPU


def test_processor_time_follows_the_time_limit_and_keeps_a_lower_one() -> None:
    shown = "import resource; print(resource.getrlimit(resource.RLIMIT_CPU)[0])"
    assert run_isolated(shown, seconds=30.2).output == f"{round(PROCESSOR_TIMES * 30.2 + 0.5)}\n"
    assert run_isolated(shown).output == "-1\n"
    lower = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_CPU, (7, 7)); from edge.process import isolated\n"
        "print(isolated.run_isolated(sys.argv[1], seconds=30).output)"
    )
    assert run_isolated(lower, shown, seconds=60).output.strip() == "7"


def test_program_whose_parent_has_ended_already_does_not_begin() -> None:
    assert confined("os._exit(5)", None, parent=str(os.getpid() + 1)).returncode == 1
    assert confined("os._exit(5)", None).returncode == 5
