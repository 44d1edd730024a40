"""edge-detect as the first process of a container, in a process namespace of its own."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.conftest import CHECKOUT, age, environment, picture

NAMESPACE = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
# A child that does nothing until a signal comes; the process before it is `separate`'s.
PROGRAM = "import os, sys, time\nfrom edge.process.init import separate\nseparate()\n"


@pytest.fixture(scope="module", autouse=True)
def namespaces() -> None:
    try:
        subprocess.run([*NAMESPACE, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no process namespace can be made here: {error}")


@pytest.fixture
def watching(tmp_path: Path, inbox: Path, brightness: Path) -> Iterator[psutil.Process]:
    """A watcher as the first process. Each of its five commands leaves a child behind, which ends a little later."""
    for number in range(5):
        age(picture(inbox / f"{number}.png", seed=number))
    script = tmp_path / "command"
    script.write_text(f"#!/bin/sh\ncat > /dev/null\n(sleep 0.3; touch {tmp_path}/ended.$$) > /dev/null 2>&1 &\n")
    script.chmod(0o755)
    words = [sys.executable, "-m", "edge", "watch", inbox, "--state", tmp_path / "state", "--model", brightness]
    with subprocess.Popen(
        [*NAMESPACE, *words, "--on-verdict", script],
        env=environment(HOME=str(tmp_path)),
        cwd=CHECKOUT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            yield psutil.Process(process.pid)
        finally:
            process.kill()


def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)


def test_no_zombies_are_left_by_commands(watching: psutil.Process, tmp_path: Path) -> None:
    until(lambda: len(list(tmp_path.glob("ended.*"))) == 5)

    def zombies() -> list[psutil.Process]:
        return [one for one in watching.children(recursive=True) if one.status() == psutil.STATUS_ZOMBIE]

    until(lambda: not zombies(), 5.0)
    (first,) = watching.children()
    first.send_signal(signal.SIGTERM)
    assert watching.wait(30) == 0, "the signal is forwarded, and the status is the watcher's"


def ran(program: str, *, seconds: float = 30.0) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*NAMESPACE, sys.executable, "-c", PROGRAM + program],
        env=environment(),
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=seconds,
    )


def test_status_and_streams_are_those_of_the_program() -> None:
    done = ran("print(os.getpid() != 1, os.getppid())\nsys.exit(7)")
    assert (done.returncode, done.stdout, done.stderr) == (7, "True 1\n", "")


@pytest.mark.parametrize("name", ["SIGTERM", "SIGKILL", "SIGSEGV"])
def test_death_by_a_signal_is_reported_as_by_a_shell(name: str) -> None:
    number = signal.Signals[name]
    assert ran(f"os.kill(os.getpid(), {int(number)})\ntime.sleep(20)").returncode == 128 + number


@pytest.mark.parametrize("name", ["SIGHUP", "SIGINT", "SIGTERM"])
def test_signals_are_forwarded(name: str) -> None:
    program = (
        f"import signal\nsignal.signal(signal.{name}, lambda *_: sys.exit(9))\n"
        f"os.kill(1, signal.{name})\ntime.sleep(20)"
    )
    assert ran(program).returncode == 9


def test_only_the_first_process_is_separated() -> None:
    program = "import edge.process.init as init\ninit.separate = lambda: print('separated')\n"
    program += "import sys\nsys.argv = ['edge-detect', '--version']\nfrom edge.__main__ import run\nrun()"
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment(), cwd=CHECKOUT, capture_output=True, text=True
    )
    assert (done.returncode, "separated" in done.stdout) == (0, False)
    done = ran("os.execv(sys.executable, [sys.executable, '-c', 'import os; print(os.getpid())'])")
    assert done.stdout == "2\n"
