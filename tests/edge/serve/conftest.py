"""Servers in processes of their own, and images for them."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import MODELS, picture
from tests.support.serving import Serving

pytest.importorskip("starlette", reason="needs Starlette: pip install 'edge-detect[serve]'")
pytest.importorskip("uvicorn", reason="needs uvicorn: pip install 'edge-detect[serve]'")

MODEL = MODELS / "brightness_int8.tflite"  # calls bright images REAL and dark ones FAKE
Start = Callable[..., Serving]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts servers, each with a home of its own, and kills them at the end."""
    started: list[Serving] = []

    def begin(*options: str | Path, **variables: str) -> Serving:
        home = tmp_path / f"home{len(started)}"
        started.append(Serving(home, "--model", MODEL, *options, **variables))
        return started[-1].ready()

    yield begin
    for serving in started:
        serving.kill()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A server at loopback without a token, shared by the tests of a module."""
    serving = Serving(tmp_path_factory.mktemp("serve"), "--model", MODEL)
    yield serving.ready()
    serving.kill()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A server that needs a token, shared by the tests of a module."""
    serving = Serving(tmp_path_factory.mktemp("guarded"), "--model", MODEL, "--host", "0.0.0.0")
    yield serving.ready()
    serving.kill()


@pytest.fixture(scope="session")
def bright(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image that the model calls REAL."""
    return picture(tmp_path_factory.mktemp("bright") / "bright.png", 240)


@pytest.fixture(scope="session")
def dark(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image that the model calls FAKE."""
    return picture(tmp_path_factory.mktemp("dark") / "dark.png", 15)
