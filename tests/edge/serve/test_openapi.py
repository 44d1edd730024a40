"""The description of the API agrees with the server: with its routes, and with answers to generated requests."""

import os
import subprocess
from pathlib import Path

import pytest

from edge import __version__
from edge.serve.openapi import description
from tests.conftest import Run, age, picture
from tests.edge.serve.conftest import MODEL, Start
from tests.support.clients import python_with
from tests.support.serving import Serving, routes

# Addresses of other projects' clients, pages and signing in are not part of the API.
API = ("/api/v1/", "/metrics", "/healthz")

# A stream of events never ends. Random bytes are no image, though the description cannot say so.
SETTINGS = """
[[operations]]
include-path = "/api/v1/events"
enabled = false

[[operations]]
include-path = "/api/v1/classify"
checks.positive_data_acceptance.enabled = false
"""


def test_every_route_of_the_api_is_described_and_no_other() -> None:
    described = {
        (path.replace("{id}", "0a1b2c3d-1"), method.upper())
        for path, operations in description("")["paths"].items()
        for method in operations
    }
    found = {(path, method) for path, method in routes() if path.startswith(API) and method != "HEAD"}
    assert described == found


def test_description_names_version_and_base_path(server: Serving) -> None:
    found = server.ask("/api/v1/openapi.json").json
    assert found["info"]["version"] == __version__
    assert found["servers"] == [{"url": "/"}]
    assert description("/a")["servers"] == [{"url": "/a"}]


@pytest.mark.timeout(400)
@pytest.mark.parametrize("has_token", [False, True], ids=["open", "with token"])
def test_server_answers_generated_requests_as_described(
    has_token: bool, edge_detect: Run, inbox: Path, start: Start, tmp_path: Path
) -> None:
    # In an environment of its own: its plugin for pytest would change all other tests.
    python = python_with("schemathesis-4", "schemathesis>=4.32,<5")
    for number in range(3):
        age(picture(inbox / f"{number}.png", 240 if number % 2 else 15, seed=number))
    (inbox / "text.png").write_text("I am a text")
    age(inbox / "text.png")
    state = tmp_path / "state"
    assert edge_detect("watch", inbox, "--once", "--model", MODEL, "--state", state).returncode == 1
    serving = start("--state", state, *(("--host", "0.0.0.0") if has_token else ()))
    words = [str(python), "-m", "schemathesis.cli", "run", f"{serving.url}/api/v1/openapi.json"]
    (tmp_path / "schemathesis.toml").write_text(SETTINGS)
    words += ["--max-examples", "40", "--seed", "1", "--phases", "examples,coverage,fuzzing", "--no-color"]
    if has_token:
        words += ["--header", f"Authorization: Bearer {serving.token}", "--exclude-checks", "ignored_auth"]
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(words, cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=380)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert not any("Traceback" in line for line in serving.lines), serving.lines
