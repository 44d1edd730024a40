"""Starts `serve` and `watch` in Home Assistant's add-on, with its options, as an account without rights.

When one of the two ends, the other is stopped and this program ends too, so that the Supervisor restarts the add-on.
"""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

PROGRAM = "/opt/edge-detect/bin/edge-detect"
DATA = Path("/data")
ACCOUNT = 1000
SUPERVISOR = "http://supervisor"
STOP_SECONDS = 25


def commands(options: Mapping[str, Any], data: Path) -> list[list[str]]:
    """The arguments of each process: of the server and of the watcher.

    Args:
        options: of the add-on, as its schema describes them.
        data: the folder of the add-on.
    """
    model = ["--false-alarms", options["false_alarms"], "--state", str(data / "state")]
    hosts = [word for host in options["hosts"] for word in ("--allow-host", host)]
    serve = ["serve", "--host", "0.0.0.0", "--token-file", str(data / "state" / "token"), *hosts, *model]
    watch = ["watch", options["folder"], *(["--recursive"] if options["recursive"] else []), *model]
    return [serve, watch]


def broker(supervisor: str, token: str) -> str:
    """The address of Home Assistant's MQTT broker, with user and password; empty if it has none."""
    request = urllib.request.Request(f"{supervisor}/services/mqtt", headers={"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            found = json.loads(answer.read(100_000))["data"]
        scheme = "mqtts" if found.get("ssl") else "mqtt"
        user, password = (quote(found.get(name) or "", safe="") for name in ("username", "password"))
        account = f"{user}:{password}@" if user else ""
        return f"{scheme}://{account}{found['host']}:{int(found['port'])}"
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"edge-detect: no MQTT broker: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        return ""


def prepare(options: Mapping[str, Any], data: Path) -> None:
    """Make the folders and the file of the token, which belong to the account."""
    for folder in (data / "state", data / "cache"):
        folder.mkdir(mode=0o700, exist_ok=True)
        _give(folder)
    folder = Path(options["folder"])
    if not folder.exists():
        folder.mkdir(parents=True)
        _give(folder)
    if options.get("token"):
        token = data / "state" / "token"
        token.unlink(missing_ok=True)
        # Exclusively: the account, which owns the folder, could put a link in its place.
        with open(os.open(token, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "w") as file:
            file.write(options["token"])
            _give(file.fileno())


def _give(file: Path | int) -> None:
    if os.geteuid() == 0:
        os.chown(file, ACCOUNT, ACCOUNT)


def main(data: Path = DATA, program: str = PROGRAM, supervisor: str = SUPERVISOR) -> int:
    """Run both until one ends or this process is stopped; returns the exit status."""
    options = json.loads((data / "options.json").read_text())
    prepare(options, data)
    token = os.environ.pop("SUPERVISOR_TOKEN", "")
    os.environ.pop("HASSIO_TOKEN", None)
    environment = {**os.environ, "HOME": str(data), "CACHE_DIRECTORY": str(data / "cache")}
    environment["RUNTIME_DIRECTORY"] = str(data / "state")
    address = broker(supervisor, token) if options["mqtt"] else ""
    with_broker = {"EDGE_DETECT_MQTT": address} if address else {}  # not an argument, which every process can read
    stops: list[int] = []
    signal.signal(signal.SIGTERM, lambda *_: stops.append(0))
    signal.signal(signal.SIGINT, lambda *_: stops.append(0))
    account: dict[str, Any] = {"user": ACCOUNT, "group": ACCOUNT, "extra_groups": []} if os.geteuid() == 0 else {}
    serve, watch = commands(options, data)
    running = [
        subprocess.Popen([program, *serve], env=environment | with_broker, **account),
        subprocess.Popen([program, *watch], env=environment, **account),
    ]
    return _supervise(running, stops)


def _supervise(running: list["subprocess.Popen[bytes]"], stops: list[int]) -> int:
    while not stops and all(process.poll() is None for process in running):
        time.sleep(0.5)
    for process in running:
        process.terminate()
    for process in running:
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    return 0 if stops else 1


if __name__ == "__main__":
    sys.exit(main())
