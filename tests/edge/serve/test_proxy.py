"""The server behind a real nginx with TLS, configured as docs/serve-api.md says."""

import http.client
import json
import re
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import CHECKOUT, Run, age, environment, picture
from tests.edge.serve.conftest import MODEL
from tests.support.packages import missing
from tests.support.serving import PATIENCE, Answer, Serving

NAME = "board.example.org"
CONFIGURATION = """
daemon off;
master_process off;
pid {folder}/pid;
error_log {folder}/errors;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/1; proxy_temp_path {folder}/2; fastcgi_temp_path {folder}/3;
    uwsgi_temp_path {folder}/4; scgi_temp_path {folder}/5;
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {folder}/cert.pem;
        ssl_certificate_key {folder}/key.pem;
        {location}
    }}
}}
"""


@dataclass(frozen=True)
class Proxy:
    """nginx before a server."""

    port: int
    folder: Path
    serving: Serving

    def connection(self) -> http.client.HTTPSConnection:
        context = ssl.create_default_context(cafile=str(self.folder / "cert.pem"))
        context.check_hostname = False
        return http.client.HTTPSConnection("127.0.0.1", self.port, context=context, timeout=PATIENCE)

    def ask(self, path: str, method: str = "GET", body: bytes | None = None, **headers: str) -> Answer:
        with closing(self.connection()) as connection:
            connection.request(method, path, body, {"Host": f"{NAME}:{self.port}", **headers})
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[Proxy]:
    for program, package in (("nginx", "nginx-light"), ("openssl", "openssl")):
        if not shutil.which(program):
            missing(package)
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={NAME}"]
    names = f"subjectAltName=DNS:{NAME},DNS:localhost"
    words += ["-addext", names, "-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run(words, cwd=tmp_path, check=True, capture_output=True)
    options = ("--base-path", "/edge", "--allow-host", NAME, "--allow-host", "localhost", "--state", tmp_path / "state")
    serving = Serving(tmp_path / "home", "--model", MODEL, *options).ready()
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    (location,) = re.findall(r"^```nginx\n(.*?)^```", (CHECKOUT / "docs/serve-api.md").read_text(), re.DOTALL | re.M)
    assert "127.0.0.1:8642" in location
    location = location.replace("127.0.0.1:8642", f"127.0.0.1:{serving.port}")
    text = CONFIGURATION.format(folder=tmp_path, port=port, location=location)
    (tmp_path / "nginx.conf").write_text(text)
    nginx = subprocess.Popen(["nginx", "-p", tmp_path, "-c", tmp_path / "nginx.conf"], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + PATIENCE
        while nginx.poll() is None and time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                time.sleep(0.05)
        assert nginx.poll() is None, (tmp_path / "errors").read_text()
        yield Proxy(port, tmp_path, serving)
    finally:
        nginx.terminate()
        nginx.wait()
        serving.kill()


def test_requests_pass_with_token_and_without_are_led_to_sign_in(proxy: Proxy, bright: Path, tmp_path: Path) -> None:
    token = {"Authorization": f"Bearer {proxy.serving.token}"}
    answer = proxy.ask("/edge/api/v1/classify", "POST", bright.read_bytes(), **token)
    assert (answer.status, answer.json["label"]) == (200, "REAL")
    assert proxy.ask("/edge/api/v1/status").status == 401
    assert proxy.ask("/edge/api/v1/status", **{"X-Forwarded-For": "127.0.0.1"}).status == 401
    asked = proxy.ask("/edge/history", Accept="text/html")
    assert (asked.status, asked.headers["Location"]) == (303, "/edge/login?next=history")
    body, own = f"token={proxy.serving.token}".encode(), f"https://{NAME}:{proxy.port}"
    foreign = proxy.ask("/edge/login", "POST", body, Origin="https://evil.example")
    assert foreign.status == 403
    signed = proxy.ask("/edge/login", "POST", body, Origin=own)
    assert (signed.status, signed.headers["Location"]) == (303, "/edge/")
    cookie = signed.headers["Set-Cookie"]
    assert "Secure" in cookie
    assert "Path=/edge/" in cookie
    assert proxy.ask("/edge/api/v1/status", Cookie=cookie.partition(";")[0]).status == 200
    assert proxy.ask("/edge/healthz", Host="evil.example").status == 421


def test_large_images_and_remote_classification_pass(proxy: Proxy, edge_detect: Run, tmp_path: Path) -> None:
    large = tmp_path / "large.bmp"
    Image.new("RGB", (4000, 1700), (240, 240, 240)).save(large)
    assert large.stat().st_size > 20_000_000
    (tmp_path / "token").write_text(proxy.serving.token)
    (tmp_path / "token").chmod(0o600)
    done = edge_detect(
        *("classify", "--server", f"https://localhost:{proxy.port}/edge", "--token-file", tmp_path / "token", large),
        env=environment(HOME=str(tmp_path), SSL_CERT_FILE=str(tmp_path / "cert.pem")),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("REAL")


def test_events_pass_at_once(proxy: Proxy, edge_detect: Run, inbox: Path, tmp_path: Path) -> None:
    headers = {"Host": NAME, "Authorization": f"Bearer {proxy.serving.token}"}
    with closing(proxy.connection()) as connection:
        connection.request("GET", "/edge/api/v1/events", headers=headers)
        stream = connection.getresponse()
        assert stream.readline() == b"retry: 3000\n"
        time.sleep(1.5)  # the feed knows the end of the ledger
        age(picture(inbox / "new.png", 100))
        assert edge_detect("watch", inbox, "--once", "--model", MODEL, "--state", tmp_path / "state").returncode == 0
        lines = [stream.readline()]
        while not lines[-1].startswith(b"data: "):
            lines.append(stream.readline())
        stream.close()
    assert json.loads(lines[-1].removeprefix(b"data: "))["path"] == f"{inbox}/new.png"
