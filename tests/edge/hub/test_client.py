"""Requests to a hub: redirects, tokens, time limits, and hubs that refuse or are none."""

import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest

from edge.errors import HubError
from edge.hub import client
from edge.hub.client import Hub, token
from edge.hub.pull import Pulled, commit_of
from edge.hub.pull import pull as pull_models
from tests.conftest import MODELS
from tests.support import hub as stub
from tests.support.hub import TOKEN, model_files

PHOTO_LIKE = MODELS / "photo_like_int8.tflite"
REPOSITORY = "user/name"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def pull(hub: stub.Hub, commit: str, *wanted: str, seconds: float = 60, token: str | None = None) -> list[Pulled]:
    return pull_models(Hub(hub.endpoint, token, seconds), REPOSITORY, commit, commit, wanted, lambda _: None)


def test_html_instead_of_json_is_one_line(hub: stub.Hub) -> None:
    hub.special["/"] = stub.html
    with pytest.raises(HubError, match=r"not JSON; is this a hub\?"):
        commit_of(Hub(hub.endpoint), REPOSITORY, "main")


def test_redirect_loop_ends(hub: stub.Hub, folder: Path) -> None:
    hub.special["/"] = lambda handler: handler.reply(302, b"", Location=handler.path)
    with pytest.raises(HubError, match="redirects in a circle"):
        pull(hub, COMMIT)
    assert len(hub.calls) <= client.REDIRECTS + 1


def test_long_chain_of_redirects_ends(hub: stub.Hub, folder: Path) -> None:
    hub.special["/"] = lambda handler: handler.reply(302, b"", Location=f"{handler.path}x")
    with pytest.raises(HubError, match="more than 5 times"):
        pull(hub, COMMIT)
    assert len(hub.calls) <= client.REDIRECTS + 1


@pytest.mark.parametrize("target", ["http://127.0.0.1:9/x", "http://example.org/x", "file:///etc/passwd", "ftp://a/b"])
def test_redirect_to_other_host_without_https_is_refused(hub: stub.Hub, folder: Path, target: str) -> None:
    hub.special["SHA256SUMS"] = stub.redirect(target)
    with pytest.raises(HubError, match="which is not HTTPS"):
        pull(hub, COMMIT)


def test_token_is_sent_to_own_host_only(hub: stub.Hub, folder: Path) -> None:
    commit = hub.add(REPOSITORY, model_files(PHOTO_LIKE))
    hub.repositories[REPOSITORY].is_private = True
    with pytest.raises(HubError, match=r"refused \(401\).*needs a token"):
        pull(hub, commit)
    pull(hub, commit, token=TOKEN)
    assert {header for _, path, header in hub.calls[1:] if "resolve" in path} == {f"Bearer {TOKEN}"}
    with stub.serving() as other:
        hub.special["SHA256SUMS"] = stub.redirect(f"{other.endpoint}/x")
        with pytest.raises(HubError, match="not HTTPS"):
            pull(hub, commit, token=TOKEN)
        assert other.calls == []


def test_token_does_not_follow_redirect_to_other_host() -> None:
    handler = client._Redirects(("https", "hub.example", 443), {"Authorization": "Bearer x"})
    request = client.urllib.request.Request("https://hub.example/a")
    request.add_unredirected_header("Authorization", "Bearer x")

    def redirected(url: str) -> dict[str, str]:
        found = handler.redirect_request(request, None, 302, "", {}, url)  # type: ignore[arg-type]
        assert found is not None
        return dict(found.header_items())

    assert "Authorization" not in redirected("https://storage.example/a")
    assert "Authorization" not in redirected("https://hub.example:444/a")
    assert redirected("https://hub.example/b")["Authorization"] == "Bearer x"


def test_dripping_answer_ends_with_time_limit(hub: stub.Hub, folder: Path) -> None:
    hub.special["/"] = stub.dripping
    began = time.monotonic()
    with pytest.raises(HubError, match="not complete after 1 s"):
        pull(hub, COMMIT, seconds=1)
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    ("status", "reason"), [(403, "refused"), (404, "not there"), (429, "too many"), (503, "later")]
)
def test_refusal_is_one_line_with_status(hub: stub.Hub, folder: Path, status: int, reason: str) -> None:
    hub.special["/"] = stub.refuse(status)
    with pytest.raises(HubError, match=reason) as error:
        pull(hub, COMMIT, token=TOKEN)
    assert f"({status})" in str(error.value)
    assert TOKEN not in str(error.value)


def test_hub_that_does_not_listen_is_one_line(folder: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(HubError, match=f"cannot reach {endpoint}: connection refused"):
            commit_of(Hub(endpoint), REPOSITORY, "main")


def test_tls_with_unknown_certificate_is_refused(tmp_path: Path, folder: Path) -> None:
    if not shutil.which("openssl"):
        pytest.skip("openssl makes the certificate")
    import ssl
    import threading

    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subject = ["-subj", "/CN=127.0.0.1", "-days", "1", "-nodes", "-newkey", "rsa:2048"]
    made = ["openssl", "req", "-x509", *subject, "-keyout", key, "-out", certificate]
    subprocess.run(made, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            connection, _ = listening.accept()
            with connection, pytest.raises(ssl.SSLError):
                context.wrap_socket(connection, server_side=True)

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(HubError, match=r"(?i)certificate"):
            commit_of(Hub(f"https://127.0.0.1:{listening.getsockname()[1]}"), REPOSITORY, "main")
        thread.join()


@pytest.mark.parametrize(
    "endpoint", ["", "hub", "ftp://hub", "https://", "https://user:pw@hub", "http://[", "file:///x"]
)
def test_invalid_endpoint_is_refused_without_its_password(endpoint: str) -> None:
    with pytest.raises(HubError, match="invalid address") as error:
        Hub(endpoint)
    assert "pw" not in str(error.value)


def test_plain_http_needs_checksum_and_gets_no_token(folder: Path) -> None:
    plain = Hub("http://mirror.example", TOKEN)
    assert not plain.is_protected
    assert plain._authorization() == {}
    with pytest.raises(HubError, match="give its --sha256"):
        pull_models(plain, REPOSITORY, COMMIT, COMMIT, (), lambda _: None)


def test_token_comes_from_variable_or_file(tmp_path: Path) -> None:
    (tmp_path / "huggingface").mkdir()
    (tmp_path / "huggingface" / "token").write_text("from-cache\n")
    (tmp_path / "own").write_text("from-file")
    cache = {"XDG_CACHE_HOME": str(tmp_path)}
    assert token(cache) == "from-cache"
    assert token({"HF_HOME": str(tmp_path / "huggingface")}) == "from-cache"
    assert token(cache | {"HF_TOKEN_PATH": str(tmp_path / "own")}) == "from-file"
    assert token(cache | {"HF_TOKEN": " given "}) == "given"
    assert token({"HF_TOKEN_PATH": str(tmp_path / "none")}) is None
    assert token({"HF_TOKEN": "a\nb"}) is None
