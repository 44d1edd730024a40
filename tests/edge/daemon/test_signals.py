"""Signals that stop a long-running command or reload its settings, at the worst moments."""

import os
import signal
import subprocess
import sys

import pytest

from edge.daemon.lifecycle import Lifecycle
from edge.daemon.signals import handled

# Sends SIGHUP all the time, so that many come while the process begins to wait.
STORM = """
import faulthandler, os, signal, time
from edge.daemon.lifecycle import Lifecycle, Stopped
from edge.daemon.signals import handled

faulthandler.dump_traceback_later(60, exit=True)
life, reloads = Lifecycle(), 0
with handled(life):
    child = os.fork()
    if not child:
        for _ in range(8000):
            os.kill(os.getppid(), signal.SIGHUP)
            time.sleep(0.0005)
        os._exit(0)
    while not os.waitpid(child, os.WNOHANG)[0]:
        try:
            life.sleep(0.00005)
        except Stopped:
            reloads += 1
            life.reloading()
            life.begin(waits_at_start=False)
print(reloads)
"""


@pytest.fixture(autouse=True)
def no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "isatty", lambda _: False)  # at a terminal SIGHUP ends the process


def test_signal_that_comes_when_waiting_begins_does_not_hang_the_process() -> None:
    done = subprocess.run(
        [sys.executable, "-c", STORM], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=90
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 500


def test_sighup_while_settings_are_read_reloads_them_again() -> None:
    life = Lifecycle()
    with handled(life):
        os.kill(os.getpid(), signal.SIGHUP)
        assert life.stopping
        life.reloading()
        os.kill(os.getpid(), signal.SIGHUP)  # after the settings were read
        life.begin(waits_at_start=False)
        assert life.stopping
        assert life.reload


def test_sighup_is_over_when_the_work_begins_again() -> None:
    life = Lifecycle()
    with handled(life):
        os.kill(os.getpid(), signal.SIGHUP)
        life.reloading()
        life.begin(waits_at_start=False)
        assert not life.stopping
        assert not life.reload
