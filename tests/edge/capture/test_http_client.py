"""Requests to cameras: authentication, redirects, TLS, and passwords that stay where they belong."""

import base64
import hashlib
import re
import shutil
import ssl
import subprocess
import traceback
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from edge.capture.http_client import HttpClient
from edge.capture.libav import StreamSettings
from edge.capture.open_camera import open_camera
from edge.errors import CameraError
from tests.support.http_cameras import OK, Request, http_camera
from tests.support.packages import missing
from tests.support.videos import jpeg, shows_quadrants

USER, PASSWORD = "us:er", 'p@ss"#?/%ü'
WRITTEN = "us%3Aer:p%40ss%22%23%3F%2F%25%C3%BC@"
PICTURE = OK + b"Content-Type: image/jpeg\r\n\r\n" + jpeg(64, 48)


def refusal(*challenges: str) -> bytes:
    lines = "".join(f"WWW-Authenticate: {challenge}\r\n" for challenge in challenges)
    return f"HTTP/1.1 401 Unauthorized\r\n{lines}Content-Length: 0\r\n\r\n".encode()


def guarded(challenges: tuple[str, ...], is_right: Callable[[Request], bool]) -> Callable[[Request], None]:
    return lambda request: request.send(PICTURE if is_right(request) else refusal(*challenges))


def has_basic(request: Request) -> bool:
    return request.headers.get("authorization") == "Basic " + base64.b64encode(f"user:{PASSWORD}".encode()).decode()


def digest_fields(request: Request) -> dict[str, str]:
    header = request.headers.get("authorization", "")
    if not header.startswith("Digest "):
        return {}
    found = re.findall(r'(\w+)=(?:"((?:[^"\\]|\\.)*)"|([^,\s]+))', header)
    return {name: (quoted or plain).replace('\\"', '"') for name, quoted, plain in found}


def has_digest(request: Request) -> bool:
    """Checks the answer to a challenge by RFC 7616, section 3.4.1."""
    given = digest_fields(request)
    if not given or given["uri"] != request.path or given["realm"] != 'the "camera"' or given["username"] != USER:
        return False
    algorithm = given.get("algorithm", "MD5")
    function = hashlib.sha256 if "256" in algorithm else hashlib.md5

    def hashed(text: str) -> str:
        return function(text.encode()).hexdigest()

    first = hashed(f"{USER}:{given['realm']}:{PASSWORD}")
    if algorithm.endswith("-sess"):
        first = hashed(f"{first}:{given['nonce']}:{given['cnonce']}")
    second = hashed(f"GET:{request.path}")
    middle = ":".join(given[name] for name in ("nonce", "nc", "cnonce", "qop") if name in given)
    return given["response"] == hashed(f"{first}:{middle}:{second}")


def digest(rest: str = "") -> str:
    return f'Digest realm="the \\"camera\\"", nonce="abc=="{rest}'


def first_frame(address: str) -> bool:
    camera = open_camera(address, stream=StreamSettings(connect_seconds=5))
    frame = camera.frame()
    camera.close()
    return frame is not None and shows_quadrants(frame.pixels)


def test_basic_password_with_any_characters_opens_the_camera() -> None:
    with http_camera(guarded(('Basic realm="a, b"',), has_basic)) as server:
        assert first_frame(server.address("/x", WRITTEN.replace("us%3Aer", "user")))
    assert "authorization" not in server.requests[0].headers, "it was not asked for"


@pytest.mark.parametrize(
    "challenges",
    [
        (digest(),),
        (digest(', qop="auth", opaque="x"'),),
        (digest(', qop="auth-int,auth", algorithm=MD5'),),
        (digest(", qop=auth, algorithm=SHA-256"),),
        (digest(', qop="auth", algorithm=MD5-sess'),),
        ('Basic realm="x"', digest(', qop="auth"')),
        ('Basic realm="x", ' + digest(', qop="auth"'),),
        (digest(", algorithm=SHA-512-256"), digest(', qop="auth"')),
    ],
    ids=range(8),
)
def test_digest_password_opens_the_camera(challenges: tuple[str, ...]) -> None:
    with http_camera(guarded(challenges, has_digest)) as server:
        assert first_frame(server.address("/x?channel=1&q=a%20b", WRITTEN))
    assert len(server.requests) == 2


def test_later_requests_send_the_password_at_once_and_count() -> None:
    with http_camera(guarded((digest(', qop="auth"'),), has_digest)) as server:
        client = HttpClient(server.address("/x", WRITTEN))
        for _ in range(3):
            client.get(5).close()
    counts = [digest_fields(request).get("nc") for request in server.requests]
    assert counts == [None, "00000001", "00000002", "00000003"]


def test_expired_challenge_is_answered_again() -> None:
    nonces = ["a", "b"]

    def is_right(request: Request) -> bool:
        return has_digest(request) and digest_fields(request)["nonce"] == nonces[0]

    def serve(request: Request) -> None:
        challenge = f'Digest realm="the \\"camera\\"", nonce="{nonces[0]}", qop="auth", stale=true'
        guarded((challenge,), is_right)(request)

    with http_camera(serve) as server:
        client = HttpClient(server.address("/x", WRITTEN))
        client.get(5).close()
        nonces.pop(0)
        client.get(5).close()
    assert len(server.requests) == 4


@pytest.mark.parametrize("challenge", ['Basic realm="x"', digest(', qop="auth"')])
@pytest.mark.parametrize("user", ["", "user:GeHeim@", "user:Ge%25Heim@"])
def test_wrong_password_is_one_line_error_without_it(challenge: str, user: str) -> None:
    with http_camera(guarded((challenge,), lambda _: False)) as server:
        with pytest.raises(CameraError) as caught:
            first_frame(server.address("/x", user))
        shown = server.address("/x")
    assert str(caught.value) == f"{shown}: the user or the password is wrong or missing (401)"
    text = "".join(traceback.format_exception(caught.value))
    assert "Heim" not in text.replace(repr(user), "")
    assert len(server.requests) == (2 if user else 1), "a camera may lock the user out after some wrong passwords"


def test_unsupported_authentication_is_one_line_error() -> None:
    with (
        http_camera(guarded(("NTLM", digest(", algorithm=SHA-512-256")), lambda _: False)) as server,
        pytest.raises(CameraError, match=r"asks for the password in an unsupported way$"),
    ):
        first_frame(server.address("/x", "user:GeHeim@"))


def test_redirect_on_the_same_host_keeps_the_password() -> None:
    def serve(request: Request) -> None:
        if request.path == "/old":
            request.send(b"HTTP/1.1 302 Found\r\nLocation: new?x=1\r\n\r\n")
        else:
            guarded((digest(),), has_digest)(request)

    with http_camera(serve) as server:
        assert first_frame(server.address("/old", WRITTEN))
    assert [request.path for request in server.requests] == ["/old", "/new?x=1", "/new?x=1"]


@pytest.mark.parametrize("challenge", ['Basic realm="x"', digest()])
def test_redirect_to_another_host_does_not_give_it_the_password(challenge: str) -> None:
    with http_camera(guarded((challenge,), lambda _: False)) as other:

        def serve(request: Request) -> None:
            if "authorization" not in request.headers:
                request.send(refusal('Basic realm="x"'))
            else:
                target = other.address("/x", host="localhost").encode()
                request.send(b"HTTP/1.1 307 Moved\r\nLocation: " + target + b"\r\n\r\n")

        with http_camera(serve) as server, pytest.raises(CameraError, match=r"\(401\)$"):
            first_frame(server.address("/x", WRITTEN))
    assert "authorization" in server.requests[-1].headers
    assert len(other.requests) == 1
    assert "authorization" not in other.requests[0].headers


def test_camera_with_its_own_certificate_is_read(tmp_path: Path) -> None:
    if not shutil.which("openssl"):
        missing("openssl")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        [
            *[
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-days",
                "2",
                "-subj",
                "/CN=camera",
                "-keyout",
            ],
            key,
            "-out",
            certificate,
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with http_camera(lambda request: request.send(PICTURE), context) as server:
        assert first_frame(server.address())
        with http_camera(lambda request: request.send(redirect)) as plain:
            redirect = f"HTTP/1.1 301 Moved\r\nLocation: {server.address()}\r\n\r\n".encode()
            assert first_frame(plain.address())


def test_address_with_tls_sends_no_password_without_tls() -> None:
    client = HttpClient(f"https://{WRITTEN}camera/x")
    assert client._may_log_in(urlsplit("https://camera:8443/y"))
    assert not client._may_log_in(urlsplit("http://camera/y"))
    assert not client._may_log_in(urlsplit("https://other/y"))


@pytest.mark.parametrize("scheme", ["http", "rtsp"])
@pytest.mark.parametrize("password", ["Ge#Heim", "Ge?Heim", "Ge/Heim", "#GeHeim", "Ge#Heim@x"])
def test_password_with_a_character_that_cuts_the_address_is_explained(scheme: str, password: str) -> None:
    with pytest.raises(CameraError) as caught:
        open_camera(f"{scheme}://user:{password}@127.0.0.1:1/x")
    assert str(caught.value) == (
        f"{scheme}://127.0.0.1:1/x: not an address; in a user or password, # is written %23, ? is %3F, / is %2F,"
        " @ is %40 and % is %25"
    )


@pytest.mark.parametrize("scheme", ["http", "rtsp"])
def test_error_of_an_address_with_a_doubtful_password_says_how_to_write_it(scheme: str) -> None:
    for address in (f"{scheme}://127.0.0.1:1#GeHeim@cam/x", f"{scheme}://user:Ge%Heim@127.0.0.1:1/x"):
        with pytest.raises(CameraError, match=r"; in a user or password, # is written %23, .* and % is %25$") as caught:
            open_camera(address)
        assert "Heim" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["http", "rtsp"])
def test_error_of_any_other_address_does_not_speak_of_passwords(scheme: str) -> None:
    for rest in ("user:Ge%23Heim@127.0.0.1:1/x", "127.0.0.1:1/x", "user:GeHeim@127.0.0.1:1/stream@2"):
        with pytest.raises(CameraError, match=r"refused$"):
            open_camera(f"{scheme}://{rest}")


@pytest.mark.parametrize("wrong", ["http://cam:x/", "http://[::1/", "http://:80/", "http://cam:99999/"])
def test_invalid_host_or_port_is_one_line_error(wrong: str) -> None:
    with pytest.raises(CameraError, match=r"not an address; its host or port is invalid$"):
        open_camera(wrong)


def test_login_is_added_only_for_the_host_of_the_address() -> None:
    client = HttpClient("https://user:p%40ss@camera/master.m3u8")
    assert client.with_login("https://camera/low.m3u8?x=1") == "https://user:p%40ss@camera/low.m3u8?x=1"
    assert client.with_login("https://camera:8443/low.m3u8") == "https://user:p%40ss@camera:8443/low.m3u8"
    for other in ("https://other/low.m3u8", "http://camera/low.m3u8", "https://a:b@camera/low.m3u8"):
        assert client.with_login(other) == other
    assert HttpClient("http://camera/x").with_login("http://camera/y") == "http://camera/y"
