"""The service under a real systemd, booted in a container: `make test-systemd`, as the super-user.

A minimal Debian is made once, see tests/support/roots.py.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from edge.service.units import Camera, Serve, Service, Watch, drop_in_text
from tests.conftest import CHECKOUT, CIFAKE, picture
from tests.support.roots import System, copy, need

pytestmark = [pytest.mark.systemd, pytest.mark.timeout(1800)]

PACKAGES = "systemd,systemd-sysv,dbus,python3,python3-venv,ca-certificates,procps,passwd,libpam-systemd"
EXPOSURE_OF_CAMERA = 2.0  # with its devices, and the network for a stream
EXPOSURE_OF_SERVER = 1.7  # with the network
EXPOSURE_AT_LOW_PORT = 2.1  # with the network and a capability
EXPOSURE = 1.5  # greatest exposure that `systemd-analyze security` may report
BOOT = ("--boot", "--register=no", "--keep-unit", "--console=pipe", "--system-call-filter=bpf @keyring")
PATIENCE = 120.0


class Machine:
    """A container with systemd as its first process."""

    def __init__(self, root: Path) -> None:
        self._log = (root.parent / "console.log").open("w")
        self._process = subprocess.Popen(
            ["systemd-nspawn", "-D", root, *BOOT, "--capability=all"],
            env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.root, self._leader = root, ""
        try:
            self.until(self._has_leader, "the container has no first process")
            self.until(lambda: self.run("systemctl", "is-system-running").strip() in ("running", "degraded"), "no boot")
        except AssertionError as error:
            self.close()
            pytest.skip(f"a systemd does not boot in a container here: {error}; see {self._log.name}")

    def _has_leader(self) -> bool:
        found = subprocess.run(
            ["pgrep", "-x", "-P", str(self._process.pid), "systemd"], capture_output=True, text=True, check=False
        )
        self._leader = found.stdout.split("\n")[0]
        return bool(self._leader)

    def run(self, *words: str, must_succeed: bool = False) -> str:
        """Output of a command in the container, both streams."""
        inside = ["nsenter", "-t", self._leader, "-m", "-u", "-i", "-n", "-p", "-C", "-r", "-w"]
        plain = ["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "TERM=dumb", "SYSTEMD_PAGER=cat"]
        done = subprocess.run([*inside, *plain, *words], capture_output=True, text=True, timeout=600, check=False)
        if must_succeed:
            assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def until(self, condition: Callable[[], object], otherwise: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, otherwise
            time.sleep(0.2)

    def show(self, unit: str, name: str) -> str:
        return self.run("systemctl", "show", "-P", name, unit).strip()

    def close(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._log.close()


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    need("systemd-nspawn", "debootstrap", "nsenter", "pgrep")
    folder = tmp_path_factory.mktemp("systemd")
    with copy(System("bookworm", "bookworm", PACKAGES), folder) as root:
        _install(root, folder)
        started = Machine(root)
        yield started
        started.close()


def _install(root: Path, scratch: Path) -> None:
    """The wheel of this checkout and what it needs, in an environment of the container's own Python."""
    wheels, pip = scratch / "wheels", [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "wheel", "--no-deps", "-w", wheels, CHECKOUT], check=True)
    (wheel,) = wheels.glob("edge_detect-*.whl")
    extra = f"{wheel}[serve]"
    needs = ["--python-version", "3.11", "--only-binary=:all:"]
    subprocess.run([*pip, "download", *needs, "-d", wheels, extra], check=True)
    shutil.copytree(wheels, root / "wheels")
    inside = ["chroot", root, "/opt/edge-detect/bin/pip", "install", "--quiet", "--no-index", "--find-links=/wheels"]
    subprocess.run(["chroot", root, "python3", "-m", "venv", "/opt/edge-detect"], check=True)
    subprocess.run([*inside, "edge-detect[serve]"], check=True)


def test_service_lifecycle_from_installation_to_removal(machine: Machine) -> None:
    program, root = "/opt/edge-detect/bin/edge-detect", machine.root
    before = {path.name for path in (root / "etc/systemd/system").rglob("*")}

    shown = machine.run(program, "service", "install", "watch", "/srv/in box", "--dry-run")
    assert "WatchdogSec=" in shown
    assert not (root / "etc/edge-detect").exists()

    machine.run(program, "service", "install", "watch", "/srv/in box", "--sort-into", "/srv/sorted", must_succeed=True)
    for _ in range(2):
        machine.run(program, "service", "install", "watch", "/srv/other", must_succeed=True)
    unit, other = r"edge-detect-watch@srv-in\x20box.service", "edge-detect-watch@srv-other.service"
    for one in (unit, other):
        assert machine.show(one, "ActiveState") == "active", machine.run("journalctl", "-u", one)
        assert machine.show(one, "SubState") == "running"

    # Dropped files are classified, sorted, and told of in the journal with fields.
    samples = sorted((CIFAKE / "test").rglob("*.jpg"))
    for path in samples:
        shutil.copyfile(path, root / "srv/in box" / f"{path.parent.name} {path.name}")
        shutil.copyfile(path, root / "srv/other" / f"{path.parent.name} {path.name}")
    (root / "srv/in box/bad.jpg").write_text("no image")
    sorted_into = root / "srv/sorted"
    machine.until(lambda: len(list(sorted_into.rglob("*.jpg"))) == len(samples) + 1, "not all were sorted")
    assert (sorted_into / "UNREADABLE/bad.jpg").exists()
    shutil.copyfile(samples[0], root / "srv/.inode.jpg")
    inode = (root / "srv/.inode.jpg").stat().st_ino
    (root / "srv/.inode.jpg").rename(root / "srv/in box/inode.jpg")
    machine.until(lambda: list(sorted_into.rglob("inode.jpg")), "a file that was moved in was not sorted")
    assert next(sorted_into.rglob("inode.jpg")).stat().st_ino == inode, "it was copied, on one and the same disk"
    for path in samples:
        moved = next(sorted_into.rglob(f"{path.parent.name} {path.name}"))
        assert moved.read_bytes() == path.read_bytes()
    told = machine.run("journalctl", "-u", other, "EDGE_DETECT_LABEL=REAL", "-o", "cat")
    assert told.count("REAL  ") > len(samples) / 3, machine.run("journalctl", "-u", other)
    assert "answered" in machine.run(program, "status")
    assert machine.run(program, "results", "--json").count('"label"') == 2 * len(samples) + 1
    assert " REAL" in machine.show(other, "StatusText")

    # A killed one comes back, and answers nothing twice.
    main = machine.show(other, "MainPID")
    machine.run("kill", "-KILL", main)
    machine.until(lambda: machine.show(other, "MainPID") not in (main, "0"), "it was not restarted")
    machine.until(lambda: machine.show(other, "ActiveState") == "active", "it does not run again")
    picture(root / "srv/other/after the kill.png", size=(32, 32))
    count = 2 * len(samples) + 2
    machine.until(lambda: machine.run(program, "results", "--json").count('"label"') == count, "no answer, or too many")
    assert machine.show(other, "NRestarts") == "1"

    # So does one that hangs.
    main = machine.show(other, "MainPID")
    machine.run("kill", "-STOP", main)
    machine.until(lambda: machine.show(other, "NRestarts") == "2", "the watchdog did not bite")
    machine.until(lambda: machine.show(other, "ActiveState") == "active", "it does not run again")

    # A reload reads the settings file; a stop is clean.
    machine.run("systemctl", "reload", other, must_succeed=True)
    machine.until(lambda: machine.show(other, "ActiveState") == "active", "it did not survive a reload")
    machine.run("systemctl", "stop", other, must_succeed=True)
    assert machine.show(other, "Result") == "success"
    assert machine.show(other, "ExecMainStatus") == "0"

    # Uninstalled: nothing left but what was answered, and the user's files.
    machine.run(program, "service", "uninstall", must_succeed=True)
    assert {path.name for path in (root / "etc/systemd/system").rglob("*")} == before
    assert not (root / "etc/edge-detect").exists()
    assert "edge-detect" not in (root / "etc/passwd").read_text()
    assert len(list(sorted_into.rglob("*.jpg"))) == len(samples) + 2
    assert list((root / "var/lib/edge-detect").iterdir())


def test_server_shows_what_other_services_answer(machine: Machine) -> None:
    program, root = "/opt/edge-detect/bin/edge-detect", machine.root
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]  # the container shares this machine's network

    def ask(path: str, token: str = "") -> tuple[int, Any]:
        request = urllib.request.Request(f"http://127.0.0.1:{port}{path}")
        if token:
            request.add_header("Authorization", f"Bearer {token}")
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, None

    machine.run(program, "service", "install", "watch", "/srv/pictures", must_succeed=True)
    for path in sorted((CIFAKE / "test" / "REAL").glob("*.jpg")):
        shutil.copyfile(path, root / "srv/pictures" / path.name)
    told = machine.run(
        program, "service", "install", "serve", "--host", "0.0.0.0", "--port", str(port), must_succeed=True
    )
    (token,) = re.findall(r"^    (\S{32})$", told, re.MULTILINE)
    unit, other = "edge-detect-serve.service", "edge-detect-watch@srv-pictures.service"
    assert machine.show(unit, "ActiveState") == "active", machine.run("journalctl", "-u", unit)
    assert token not in machine.run("journalctl", "--no-pager")
    assert ask("/healthz") == (200, {"status": "ok"})
    assert ask("/api/v1/status")[0] == 401
    shown = "/api/v1/results?source=/srv/pictures"  # other tests have left answers of other folders
    machine.until(lambda: len(ask(shown, token)[1]["results"]) == 10, "the answers are not shown")
    assert [one["folder"] for one in ask("/api/v1/status", token)[1]["services"]] == ["/srv/pictures"]
    (key, *_) = [one["id"] for one in ask(shown, token)[1]["results"]]
    machine.until(lambda: machine.show(unit, "StatusText"), "the server reports no status")

    # The writer of the ledger is gone, and its log with it.
    machine.run("systemctl", "stop", other, must_succeed=True)
    assert ask(f"/api/v1/results/{key}", token)[0] == 200

    # It is restarted after a kill and after a hang; nothing of it can be written to but its own folders.
    for number, (signal_name, restarts) in enumerate((("-KILL", "1"), ("-STOP", "2"))):
        machine.run("kill", signal_name, machine.show(unit, "MainPID"))
        machine.until(lambda restarts=restarts: machine.show(unit, "NRestarts") == restarts, f"restart {number}")
        machine.until(lambda: machine.show(unit, "ActiveState") == "active", "it does not run again")
        assert ask("/api/v1/status", token)[0] == 200
    machine.run("systemctl", "reload", unit, must_succeed=True)
    machine.until(lambda: machine.show(unit, "ActiveState") == "active", "it did not survive a reload")
    machine.run(program, "service", "uninstall", must_succeed=True)
    assert not (root / "var/lib/edge-detect/serve/token").exists()


@pytest.mark.parametrize(
    "service",
    [
        Watch("/srv/in"),
        Watch("/srv/in", ("/srv/sorted",), {"EDGE_DETECT_SORT_INTO": "/srv/sorted"}),
        Watch("/srv/in", (), {"EDGE_DETECT_ON_FAKE": "curl"}),
        Watch("/srv/in", (), {"EDGE_DETECT_TPU": "any"}),
        Camera(("/srv/snapshots",), {"EDGE_DETECT_SOURCE": "rtsp://camera/"}),
        Serve(),
        Serve({"EDGE_DETECT_HOST": "0.0.0.0"}),
        Serve({"EDGE_DETECT_HOST": "0.0.0.0", "EDGE_DETECT_PORT": "80"}),
    ],
    ids=[
        "watching",
        "sorting",
        "with commands",
        "with a Coral",
        "camera",
        "local server",
        "server",
        "server at port 80",
    ],
)
def test_unit_is_hardened_and_has_no_unknown_key(machine: Machine, service: Service) -> None:
    text = (CHECKOUT / "systemd" / service.unit_file).read_text() + drop_in_text(service, Path("/dev/null"))
    text = text.replace("@EDGE_DETECT@", "/opt/edge-detect/bin/edge-detect")
    name = service.unit_file.replace("@", "@x")
    unit = machine.root / "opt" / name
    unit.write_text(text.replace("User=edge-detect", "User=root").replace("Group=edge-detect", "Group=root"))
    said = machine.run("systemd-analyze", "verify", "--man=no", f"/opt/{name}")
    assert [line for line in said.splitlines() if "edge-detect" in line] == []
    unit.write_text(text)
    told = machine.run("systemd-analyze", "security", "--offline=true", f"/opt/{name}")
    last = told.strip().splitlines()[-1]
    most = {Camera: EXPOSURE_OF_CAMERA, Serve: EXPOSURE_OF_SERVER}.get(type(service), EXPOSURE)
    if any("CAP_NET_BIND_SERVICE" in line for line in service.allowances()):
        most = EXPOSURE_AT_LOW_PORT
    assert float(last.split(":")[1].split()[0]) <= most, told
