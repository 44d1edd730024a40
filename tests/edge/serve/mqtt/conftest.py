"""Brokers, and servers that publish to them."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.edge.serve.conftest import MODEL
from tests.support.brokers import Mosquitto
from tests.support.histories import add
from tests.support.mqtt_servers import NODE, Begin
from tests.support.serving import Serving


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    """A broker that lets anybody in."""
    found = Mosquitto(tmp_path / "broker")
    yield found.start()
    found.kill()


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Begin]:
    """Starts servers that publish to a broker, with the ledger in `state`; a new one goes on where the last ended."""
    started: list[Serving] = []

    def serve(port: int, *options: str | Path, login: str = "", scheme: str = "mqtt") -> Serving:
        words = ("--mqtt", f"{scheme}://{login}127.0.0.1:{port}", "--mqtt-node", NODE, "--state", tmp_path / "state")
        started.append(Serving(tmp_path / "home", "--model", MODEL, *words, *options))
        return started[-1].ready()

    yield serve
    for serving in started:
        serving.kill()


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state folder whose ledger has one old answer."""
    add(tmp_path / "state", "old.jpg", at=time.time() - 100, source=str(tmp_path / "in"))
    return tmp_path / "state"
