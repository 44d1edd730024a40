"""A hub on this machine, and a folder for what is installed from it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import hub as stub


@pytest.fixture
def hub() -> Iterator[stub.Hub]:
    with stub.serving() as hub:
        yield hub


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of installed models."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    for name in ("HF_ENDPOINT", "HF_TOKEN", "HF_HOME", "HF_TOKEN_PATH", "http_proxy", "HTTP_PROXY", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "data" / "edge-detect" / "models"
