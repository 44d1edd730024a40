"""A board behind a slow network that loses packets: through a slow link, and in a network namespace of its own."""

import contextlib
import os
import shutil
import subprocess
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import MODELS, command
from tests.support.nats import Board, Nats, fleet, pictures, results, status, wait_until
from tests.support.packages import missing
from tests.support.slow_link import SlowLink

MODEL = MODELS / "brightness_int8.tflite"


@dataclass
class Link:
    """A pair of network devices: ours, and that in a namespace.

    Attributes:
        address: of our side.
        inside: prefix of a command line that runs in the namespace.
    """

    name: str
    address: str

    @property
    def inside(self) -> list[str]:
        return ["ip", "netns", "exec", self.name]

    def impair(self, *how: str) -> None:
        """Delay or lose packets in both directions; see tc-netem(8)."""
        for prefix, device in (([], f"{self.name}a"), (self.inside, f"{self.name}b")):
            run(*prefix, "tc", "qdisc", "replace", "dev", device, "root", "netem", *how)


def run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, timeout=30)
    if done.returncode:
        raise OSError(f"{' '.join(words)}: {done.stderr}")


@pytest.fixture
def link() -> Iterator[Link]:
    if os.geteuid():
        pytest.skip("only the super-user can make network namespaces")
    if not (shutil.which("ip") and shutil.which("tc")):
        missing("iproute2")
    name, number = f"ed{uuid.uuid4().hex[:8]}", os.getpid() % 64 * 4
    made = Link(name, f"10.213.{os.getpid() // 64 % 256}.{number + 1}")
    other = made.address.rpartition(".")[0] + f".{number + 2}"
    try:
        run("ip", "netns", "add", name)
        run("ip", "link", "add", f"{name}a", "type", "veth", "peer", "name", f"{name}b", "netns", name)
        run("ip", "address", "add", f"{made.address}/30", "dev", f"{name}a")
        run("ip", "link", "set", f"{name}a", "up")
        run(*made.inside, "ip", "address", "add", f"{other}/30", "dev", f"{name}b")
        run(*made.inside, "ip", "link", "set", f"{name}b", "up")
        made.impair("delay", "1ms")
    except OSError as error:
        _remove(name)
        pytest.skip(f"this kernel permits no network namespaces with delays: {error}")
    yield made
    _remove(name)


def _remove(name: str) -> None:
    with contextlib.suppress(OSError):
        run("ip", "link", "delete", f"{name}a")
    with contextlib.suppress(OSError):
        run("ip", "netns", "delete", name)


def test_slow_link_that_is_cut_for_a_while_costs_time_and_no_answer(tmp_path: Path) -> None:
    inbox = pictures(tmp_path / "inbox", 80)
    with Nats(tmp_path / "nats") as server, SlowLink(server.port) as link:
        near, far = ("--server", server.address), ("--server", f"nats://127.0.0.1:{link.port}")
        fleet(tmp_path, "submit", inbox, *near, "--ack-seconds", "5")
        board = Board(tmp_path, "far", *far, "--model", MODEL, "--workers", "1")
        try:
            wait_until(lambda: len(results(tmp_path, *near)) > 5, lambda: board.said)
            link.cut()
            with pytest.raises(subprocess.TimeoutExpired):
                board.process.wait(7)
            assert status(tmp_path, *near)["images"] > 0
            link.mend()
            wait_until(lambda: status(tmp_path, *near)["images"] == 0, lambda: board.said, 80)
            counts = Counter(Path(answer["path"]).name for answer in results(tmp_path, *near))
            assert counts == Counter(path.name for path in inbox.iterdir())
            assert status(tmp_path, *near)["dead"] == 0
            assert board.stop() == 0
        finally:
            board.kill()


def test_loss_and_delay_cost_time_and_no_answer(tmp_path: Path, link: Link) -> None:
    inbox = pictures(tmp_path / "inbox", 60)
    with Nats(tmp_path / "nats", host=link.address) as server:
        address = ("--server", server.address)
        fleet(tmp_path, "submit", inbox, *address, "--ack-seconds", "5")
        link.impair("delay", "80ms", "20ms", "loss", "5%")
        words = [*link.inside, *command("fleet", "work")]
        board = Board(tmp_path, "far", *address, "--model", MODEL, "--workers", "1", words=words)
        try:
            wait_until(lambda: len(results(tmp_path, *address)) > 5, lambda: board.said)
            link.impair("loss", "100%")  # the cable is out for a while
            with pytest.raises(subprocess.TimeoutExpired):
                board.process.wait(8)
            link.impair("delay", "80ms", "20ms", "loss", "5%")
            wait_until(lambda: status(tmp_path, *address)["images"] == 0, lambda: board.said, 100)
            counts = Counter(Path(answer["path"]).name for answer in results(tmp_path, *address))
            assert counts == Counter(path.name for path in inbox.iterdir())
        finally:
            board.kill()
