"""The oldest versions of other packages with which the server works, as setup.cfg names them."""

import http.client
from contextlib import closing
from pathlib import Path

import pytest

from edge.requirements import PACKAGES, SERVE
from tests.conftest import CHECKOUT
from tests.edge.serve.conftest import MODEL
from tests.support.clients import packages_with
from tests.support.serving import Serving, form


@pytest.mark.timeout(400)  # the first time, they are installed
def test_server_works_with_the_oldest_versions(bright: Path, tmp_path: Path) -> None:
    oldest = [f"{PACKAGES[module].name}=={PACKAGES[module].least}" for module in SERVE]
    folder = packages_with("serve-" + "-".join(one.rpartition("=")[2] for one in oldest), *oldest)
    serving = Serving(tmp_path, "--model", MODEL, PYTHONPATH=f"{folder}:{CHECKOUT}")
    try:
        serving.ready()
        assert serving.classify(bright).json["label"] == "REAL"
        body, headers = form(("image", "a.png", bright.read_bytes()))
        assert serving.ask("/api/v1/classify", "POST", body, headers).json["path"] == "a.png"
        assert serving.ask("/api/v1/classify", "POST", body[:-40], headers).status == 400
        many, headers = form(*((f"f{number}", None, b"x") for number in range(1000)))
        assert serving.ask("/api/v1/classify", "POST", many, headers).status == 413
        for path in ("/", "/history", "/cameras", "/status", "/metrics", "/api/v1/results", "/api/v1/openapi.json"):
            assert serving.ask(path).status == 200, path
        assert serving.ask("/nothing").status == 404
        assert serving.ask("/healthz", "POST", b"").status == 405
        with closing(http.client.HTTPConnection("127.0.0.1", serving.port, timeout=30)) as connection:
            connection.request("GET", "/api/v1/events")
            assert connection.getresponse().readline() == b"retry: 3000\n"
            assert serving.stop() == 0
        assert not any("Traceback" in line for line in serving.lines), serving.lines
    finally:
        serving.kill()
