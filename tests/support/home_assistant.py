"""The real core of Home Assistant, in a root of its own: it needs a newer Python than Debian 12 has.

The root is made once and kept (tests.support.roots), which takes several minutes.
"""

import contextlib
import fcntl
import json
import os
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import CHECKOUT
from tests.support.brokers import until
from tests.support.ports import free_port
from tests.support.roots import CACHE, Root, System, need

VERSION = "2026.2.3"  # the last one for Python 3.13
SYSTEM = System(f"homeassistant-{VERSION}", "trixie", "ca-certificates,python3,python3-venv")
PYTHON = "/opt/homeassistant/bin/python"
# Everything that it requires, in the versions that it names, but for one that has no wheel for Python 3.13.
INSTALL = f"""
set -e
python3 -m venv /opt/homeassistant
{PYTHON} -m pip install --no-deps homeassistant=={VERSION}
{PYTHON} -c 'import importlib.metadata as m; print("\\n".join(
    line.replace("lru-dict==1.3.0", "lru-dict") for line in m.requires("homeassistant") if "extra" not in line
))' > /tmp/requirements.txt
{PYTHON} -m pip install --prefer-binary -r /tmp/requirements.txt paho-mqtt==2.1.0
touch /opt/homeassistant/installed
"""


def installed() -> Path:
    """The folder of a system with Home Assistant; skips the test if it cannot be made."""
    need("debootstrap", "unshare")
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / f".{SYSTEM.name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder = SYSTEM.pristine()
        if not (folder / "opt" / "homeassistant" / "installed").exists():
            done = Root(folder, SYSTEM).run("sh", "-c", INSTALL, seconds=1800)
            if done.returncode:
                pytest.skip(f"Home Assistant could not be installed: {done.stderr.strip().splitlines()[-1:]}")
    return folder


class HomeAssistant:
    """A running core with its MQTT integration.

    Attributes:
        seen: its devices and entities at present, see tests.support.home_assistant_core.
    """

    def __init__(self, folder: Path, port: int) -> None:
        """
        Args:
            folder: of its configuration, which survives restarts.
            port: of the broker at 127.0.0.1.
        """
        folder.mkdir(exist_ok=True)
        self._folder, self._port, self.seen = folder, port, dict[str, Any]()
        self.errors: list[str] = []
        self.start()

    def start(self) -> None:
        mounts = {CHECKOUT / "tests" / "support": "/mnt", self._folder: f"/srv/{os.getpid()}"}
        root = Root(installed(), SYSTEM, mounts)
        words = (PYTHON, "/mnt/home_assistant_core.py", f"/srv/{os.getpid()}", str(self._port), str(free_port()))
        self.seen = {"devices": {}, "entities": {}}
        self.process = root.start(*words, PYTHONDONTWRITEBYTECODE="1")
        self._readers = [threading.Thread(target=read) for read in (self._read, self._read_errors)]
        for reader in self._readers:
            reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.seen = json.loads(line)

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.errors.append(line)

    def kill(self) -> None:
        self.process.kill()
        for reader in self._readers:
            reader.join(30)
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(30)

    def entity(self, unique_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.seen["entities"].get(unique_id, {})
        return found

    def state(self, unique_id: str) -> str | None:
        """The state of an entity; None if there is no such entity."""
        return self.entity(unique_id).get("state")

    def until(self, is_true: Callable[["HomeAssistant"], Any]) -> Any:
        """Wait until it shows something."""

        def found() -> Any:
            assert self.process.poll() is None, self.errors[-20:]
            return is_true(self)

        return until(found, 120)
