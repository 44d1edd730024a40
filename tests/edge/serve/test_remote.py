"""`edge-detect classify --server`: another board as a classifier."""

import http.server
import json
import shutil
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from edge.errors import ServerError
from edge.serve.remote import RemoteClassifier, verdict_of
from edge.verdict import Failure, Verdict
from tests.conftest import DATA, MODELS, Run, environment, picture
from tests.edge.serve.conftest import MODEL, Start
from tests.support.packages import missing
from tests.support.serving import Serving


def without_time(lines: str) -> list[dict[str, Any]]:
    return [
        {name: value for name, value in json.loads(line).items() if name != "elapsed_ms"} for line in lines.splitlines()
    ]


@pytest.fixture
def token_file(guarded: Serving, tmp_path: Path) -> Path:
    file = tmp_path / "token"
    file.write_text(guarded.token + "\n")
    file.chmod(0o600)
    return file


def test_lines_and_json_are_those_of_local_classification(
    edge_detect: Run, guarded: Serving, token_file: Path, bright: Path, dark: Path, tmp_path: Path
) -> None:
    (tmp_path / "text.png").write_text("I am a text")
    paths = (bright, dark, "text.png", "missing.png")
    remote = ("--server", guarded.url, "--token-file", token_file)
    for form in ((), ("--json",), ("--json", "--explain"), ("--explain",)):
        here = edge_detect("classify", *form, "--model", MODEL, *paths)
        there = edge_detect("classify", *form, *remote, *paths)
        assert there.returncode == here.returncode == 1, there.stderr
        if "--json" in form:
            assert without_time(there.stdout) == without_time(here.stdout)
        else:
            assert (there.stdout, there.stderr) == (here.stdout, here.stderr)


def test_explanation_and_provenance_pass_through(edge_detect: Run, tmp_path: Path) -> None:
    model, photo = MODELS / "photo_like_int8.tflite", DATA / "photos" / "FAKE" / "hiker.webp"
    serving = Serving(tmp_path / "server", "--model", model).ready()
    try:
        here = edge_detect("classify", "--json", "--explain", "--model", model, photo)
        there = edge_detect("classify", "--json", "--explain", "--server", serving.url, photo)
    finally:
        serving.kill()
    assert without_time(there.stdout) == without_time(here.stdout)
    assert len(json.loads(there.stdout)["explain"]) == 5


@pytest.fixture
def telling(tmp_path: Path) -> list[Path]:
    """Images that say that they were generated: by settings, and by a signature of an authority in anchors.pem."""
    pytest.importorskip("c2pa", reason="c2pa-python is not installed; there is none for 32-bit systems")
    from tests.support.content_credentials import action, authority, sign

    texts = PngInfo()
    texts.add_text(
        "parameters", "a lighthouse in fog\nSteps: 20, Sampler: Euler a, Seed: 42, Size: 40x30, Model: harbour"
    )
    plain, signed = picture(tmp_path / "settings.png", 240), picture(tmp_path / "signed.png", 240)
    with Image.open(plain) as image:
        image.save(plain, pnginfo=texts)
    signed.write_bytes(sign(signed.read_bytes(), "image/png", [action("created", "trainedAlgorithmicMedia")])[0])
    (tmp_path / "anchors.pem").write_text(authority().root)
    return [plain, signed]


def test_evidence_of_files_is_that_of_local_classification(
    edge_detect: Run, telling: list[Path], start: Start, tmp_path: Path
) -> None:
    trust = ("--trust-list", tmp_path / "anchors.pem", "--trust-provenance")
    serving = start(*trust)
    for form in (("--json",), ("--json", "--explain")):
        here = edge_detect("classify", *form, *trust, "--model", MODEL, *telling)
        there = edge_detect("classify", *form, "--server", serving.url, *telling)
        assert without_time(there.stdout) == without_time(here.stdout)
    verdicts = without_time(there.stdout)
    assert [one["label"] for one in verdicts] == ["REAL", "FAKE"], "a verified signature decides"
    assert verdicts[1]["provenance"][0]["verified"] is True
    assert verdicts[0]["provenance"][0]["prompt"] == "a lighthouse in fog"


@pytest.mark.parametrize(
    "options",
    [
        ("--model", "x.tflite"),
        ("--threads", "2"),
        ("--no-unsure",),
        ("--false-alarms", "1%"),
        ("--tpu",),
        ("--figure",),
        ("--trust-provenance",),
        ("--trust-list", "x.pem"),
        ("--runtime", "ai-edge-litert"),
    ],
)
def test_options_of_model_are_refused_with_server(edge_detect: Run, options: tuple[str, ...], bright: Path) -> None:
    done = edge_detect("classify", "--server", "http://127.0.0.1:1", *options, bright)
    assert done.returncode == 2
    assert f"{options[0]} and --server exclude each other" in done.stderr


def one_line(done: "subprocess.CompletedProcess[str]") -> str:
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1, done.stderr
    return done.stderr


def test_unreachable_server_is_reported_in_one_line(edge_detect: Run, bright: Path) -> None:
    done = edge_detect("classify", "--server", "http://127.0.0.1:1", bright)
    assert "http://127.0.0.1:1: cannot reach the server: connection refused" in one_line(done)


@pytest.mark.parametrize("address", ["board", "ftp://x", "http://", "http://x:port", "http://x/?a=b", "http://a:b@x"])
def test_invalid_address_is_reported_in_one_line(edge_detect: Run, bright: Path, address: str) -> None:
    one_line(edge_detect("classify", "--server", address, bright))


def test_missing_and_wrong_token_are_reported_in_one_line(
    edge_detect: Run, guarded: Serving, bright: Path, tmp_path: Path
) -> None:
    assert "--token-file" in one_line(edge_detect("classify", "--server", guarded.url, bright))
    wrong = tmp_path / "wrong"
    wrong.write_text("x" * 32)
    wrong.chmod(0o600)
    refused = edge_detect("classify", "--server", guarded.url, "--token-file", wrong, bright)
    assert "refuses the token" in one_line(refused)
    assert "x" * 32 not in refused.stderr


def test_token_file_that_is_missing_or_readable_by_others_is_refused(
    edge_detect: Run, guarded: Serving, token_file: Path, bright: Path, tmp_path: Path
) -> None:
    def ask(file: Path) -> str:
        return one_line(edge_detect("classify", "--server", guarded.url, "--token-file", file, bright))

    assert "no such file" in ask(tmp_path / "missing")
    (tmp_path / "digest").write_text("sha256$00$00")
    (tmp_path / "digest").chmod(0o600)
    assert "holds the digest" in ask(tmp_path / "digest")
    token_file.chmod(0o644)
    assert "chmod 600" in ask(token_file)


@contextmanager
def stub(answer: Callable[[http.server.BaseHTTPRequestHandler], None], context: Any = None) -> Iterator[str]:
    """The address of a server that answers POSTs by a function."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            answer(self)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        server.handle_error = lambda *_: None  # type: ignore[method-assign]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"{'https' if context else 'http'}://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def reply(handler: http.server.BaseHTTPRequestHandler, code: int, body: bytes, **headers: str) -> None:
    handler.rfile.read(int(handler.headers.get("Content-Length", "0")))
    handler.send_response(code)
    for name, value in {"Content-Length": str(len(body)), **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


VERDICT = {
    "path": "x",
    "label": "REAL",
    "confidence": 0.9,
    "score": 0.9,
    "outside": None,
    "model": "m",
    "elapsed_ms": 1.0,
    "provenance": [],
}


def test_busy_server_is_asked_again_with_back_off(bright: Path) -> None:
    asked: list[int] = []

    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        asked.append(1)
        if len(asked) < 4:
            reply(handler, 503, b'{"detail": "busy"}', Retry_After="3" if len(asked) == 1 else "1")
        else:
            reply(handler, 200, json.dumps(VERDICT).encode())

    waits: list[float] = []
    with stub(answer) as address, closing(RemoteClassifier(address, sleep=waits.append)) as remote:
        found = remote.answer(str(bright))
    assert isinstance(found, Verdict)
    assert found.label == "REAL"
    assert waits == [3.0, 2.0, 4.0], "Retry-After, or the back-off if that is longer"


def test_server_that_stays_busy_is_reported_after_some_attempts(bright: Path) -> None:
    waits: list[float] = []
    busy = b'{"detail": "32 images are waiting"}'
    with (
        stub(lambda handler: reply(handler, 503, busy)) as address,
        closing(RemoteClassifier(address, sleep=waits.append)) as remote,
        pytest.raises(ServerError, match="32 images are waiting"),
    ):
        remote.answer(str(bright))
    assert len(waits) == 9
    assert max(waits) == 30.0


@pytest.mark.parametrize(
    ("code", "body"),
    [
        (200, b"hello"),
        (200, b"[" * 100_000),
        (200, b"x" * (5 * 1024 * 1024)),
        (200, json.dumps(VERDICT | {"label": "\x1b[31mREAL"}).encode()),
        (200, json.dumps(VERDICT | {"score": float("nan")}).encode()),
        (200, json.dumps(VERDICT | {"score": 7}).encode()),
        (200, json.dumps(VERDICT | {"provenance": [{}]}).encode()),
        (200, json.dumps(VERDICT | {"explain": [{}] * 10_000}).encode()),
        (404, b"<html>"),
        (500, b"\x1b[31m"),
        (302, b""),
        (421, b'{"detail": "\\u001b[31m"}'),
    ],
)
def test_foreign_answers_are_reported_in_one_safe_line(edge_detect: Run, bright: Path, code: int, body: bytes) -> None:
    with stub(lambda handler: reply(handler, code, body, Location="http://127.0.0.1:1/")) as address:
        line = one_line(edge_detect("classify", "--server", address, bright))
    assert line.startswith(f"edge-detect: {address}: ")
    assert "\x1b" not in line


def test_hostile_texts_of_a_server_are_escaped(edge_detect: Run, bright: Path) -> None:
    evil = {"outside": "a\nb\x1b[31m", "provenance": [EVIDENCE | {"program": "\x1b[2J", "kind": "c2pa\n"}]}
    with stub(lambda handler: reply(handler, 200, json.dumps(VERDICT | evil).encode())) as address:
        done = edge_detect("classify", "--server", address, "--explain", bright)
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout
    assert len(done.stdout.splitlines()) == 1


EVIDENCE = {"kind": "c2pa", "says": "generated", "program": "p", "detail": None, "verified": None}


def test_verdict_survives_the_way_through_json() -> None:
    fields = VERDICT | {"provenance": [EVIDENCE], "path": "here"}
    assert verdict_of(fields, "here").as_json() == fields


def test_image_that_is_too_large_for_the_server_is_an_error_of_the_image(tmp_path: Path, bright: Path) -> None:
    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        body = b'{"detail": "the image has more than 10 bytes"}'
        handler.wfile.write(
            b"HTTP/1.1 413 Too large\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
        )
        handler.close_connection = True

    with stub(answer) as address, closing(RemoteClassifier(address)) as remote:
        found = remote.answer(str(bright))
    assert found == Failure(str(bright), "the image has more than 10 bytes")


def test_server_that_was_started_again_is_reached_over_a_new_connection(start: Start, bright: Path) -> None:
    serving = start()
    remote = RemoteClassifier(serving.url)
    assert isinstance(remote.answer(str(bright)), Verdict)
    serving.stop()
    again = start("--port", str(serving.port))
    assert again.port == serving.port
    assert isinstance(remote.answer(str(bright)), Verdict)
    remote.close()


def test_untrusted_certificate_is_reported_in_one_line(edge_detect: Run, bright: Path, tmp_path: Path) -> None:
    if not shutil.which("openssl"):
        missing("openssl")
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    words += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run(words, cwd=tmp_path, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    with stub(lambda handler: reply(handler, 200, json.dumps(VERDICT).encode()), context) as address:
        assert "its certificate is not trusted" in one_line(edge_detect("classify", "--server", address, bright))
        trusting = environment(HOME=str(tmp_path), SSL_CERT_FILE=str(tmp_path / "cert.pem"))
        done = edge_detect("classify", "--server", address, bright, env=trusting)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("REAL")
