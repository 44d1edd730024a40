"""The proxy that the environment names is used for cameras by HTTP, except for hosts of no_proxy."""

from pathlib import Path

import pytest

from edge.capture.libav import LibavCamera
from edge.capture.open_camera import open_camera
from edge.capture.proxy import proxy_for
from edge.errors import CameraError
from tests.support.http_cameras import OK, Request, http_camera, opened
from tests.support.videos import jpeg, video

ADDRESS = "http://user:word@camera.invalid:8080/snapshot.jpg"
PICTURE = OK + b"Content-Type: image/jpeg\r\n\r\n" + jpeg(64, 48)


@pytest.fixture(autouse=True)
def _no_proxy_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for scheme in ("http", "https", "all", "no"):
        monkeypatch.delenv(f"{scheme}_proxy", raising=False)
        monkeypatch.delenv(f"{scheme}_PROXY".upper(), raising=False)


@pytest.mark.parametrize("prefix", ["http://us%40er:pa@", "http://", ""])
def test_camera_is_asked_by_the_proxy(monkeypatch: pytest.MonkeyPatch, prefix: str) -> None:
    with http_camera(lambda request: request.send(PICTURE)) as server:
        monkeypatch.setenv("http_proxy", f"{prefix}127.0.0.1:{server.port}")
        camera = opened(ADDRESS)
        assert camera.frame() is not None
        camera.close()
    assert server.requests[0].path == "http://camera.invalid:8080/snapshot.jpg"
    assert server.requests[0].headers["host"] == "camera.invalid:8080"
    assert server.requests[0].headers.get("proxy-authorization") == ("Basic dXNAZXI6cGE=" if "@" in prefix else None)


def test_camera_of_no_proxy_is_asked_directly(monkeypatch: pytest.MonkeyPatch) -> None:
    with http_camera(lambda request: request.send(PICTURE)) as server:
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
        monkeypatch.setenv("no_proxy", "example.org,127.0.0.1")
        camera = opened(server.address("/snapshot.jpg"))
        assert camera.frame() is not None
        camera.close()
    assert server.requests[0].path == "/snapshot.jpg"


def test_ffmpeg_uses_the_same_proxy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    content = video(tmp_path / "a.mkv").read_bytes()

    def answer(request: Request) -> None:
        request.send(OK + b"Content-Length: %d\r\n\r\n" % len(content) + content)

    with http_camera(answer) as server:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{server.port}")  # FFmpeg itself does not read capitals
        camera = LibavCamera("http://camera.invalid/a.mkv")
        assert camera.frame() is not None
        camera.close()
    assert server.requests[0].path in ("http://camera.invalid/a.mkv", "http://camera.invalid:80/a.mkv")


def test_proxy_that_refuses_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with http_camera(lambda request: request.send(b"HTTP/1.1 407 Who are you\r\nContent-Length: 0\r\n\r\n")) as server:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{server.port}")
        with pytest.raises(CameraError) as caught:
            open_camera("https://camera.invalid/x")
    name = f"the proxy 127.0.0.1:{server.port} of https_proxy"
    assert str(caught.value) == f"https://camera.invalid/x: tunnel connection failed: 407 who are you; by {name}"
    assert server.requests[0].path == "camera.invalid:443"
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with pytest.raises(CameraError) as caught:
        open_camera("http://camera.invalid/x")
    assert str(caught.value).endswith("/x: connection refused; by the proxy 127.0.0.1:1 of http_proxy")


@pytest.mark.parametrize(
    ("variables", "address", "port"),
    [
        ({"http_proxy": "http://proxy"}, "http://camera/x", 1080),
        ({"http_proxy": "http://proxy:3128"}, "https://camera/x", None),
        ({"http_proxy": "http://proxy:3128"}, "rtsp://camera/x", None),
        ({"http_proxy": "socks5://proxy:3128"}, "http://camera/x", None),
        ({"http_proxy": "http://proxy:port"}, "http://camera/x", None),
        ({"http_proxy": "http://proxy:3128", "no_proxy": "*"}, "http://camera/x", None),
        ({"http_proxy": "http://proxy:3128", "no_proxy": ".local"}, "http://camera.local:80/x", None),
        ({"http_proxy": "http://proxy:3128", "no_proxy": "camera:81"}, "http://camera:81/x", None),
        ({"http_proxy": "http://proxy:3128", "no_proxy": "camera:81"}, "http://camera:82/x", 3128),
        ({"http_proxy": "http://proxy:3128"}, "http://[/x", None),
    ],
)
def test_variables_decide_about_the_proxy(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], address: str, port: int | None
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    found = proxy_for(address)
    assert (found and found.port) == port
