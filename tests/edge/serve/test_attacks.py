"""Ten attacks, against the real server in a real process. What needs a browser is in test_browser."""

import base64
import json
import os
import socket
import time
import zlib
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from edge.serve import guard, uploads
from edge.serve import server as server_module
from edge.serve.auth import FREE_FAILURES
from tests.conftest import Run, picture
from tests.edge.serve.conftest import MODEL, Start
from tests.support.serving import Answer, Serving, form, routes

JSON = {"Content-Type": "application/json"}
ROUTES = routes()
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


def require_alive(serving: Serving, image: Path, **options: Any) -> None:
    answer = serving.classify(image, **options)
    assert answer.status == 200, answer.body


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "1.2.3.4.nip.io",
        "",
        "localhost.evil.example",
        "127.0.0.1.nip.io",
        "127.0.0.1@evil.example",
        "1.2.3.4",
    ],
)
def test_attack_1_rebinding_another_host_name_is_refused(server: Serving, bright: Path, host: str) -> None:
    for path in ("/", "/api/v1/status", "/healthz", "/login"):
        assert server.ask(path, headers={"Host": host}).status == 421
    body = bright.read_bytes()
    assert server.ask("/api/v1/classify", "POST", body, {"Host": host}).status == 421
    for own in ("localhost", f"127.0.0.1:{server.port}", f"LOCALHOST:{server.port}", "[::1]:1"):
        assert server.ask("/healthz", headers={"Host": own}).status == 200


def test_attack_1_rebinding_only_allowed_names_are_added(start: Start) -> None:
    serving = start("--allow-host", "board.example.org")
    assert serving.ask("/healthz", headers={"Host": "board.example.org"}).status == 200
    assert serving.ask("/healthz", headers={"Host": "board.example.org:8443"}).status == 200
    assert serving.ask("/healthz", headers={"Host": "x.board.example.org"}).status == 421


@pytest.mark.parametrize("path", sorted({path for path, method in ROUTES if method not in ("GET", "HEAD")}))
def test_attack_2_csrf_a_page_of_another_site_can_post_nothing(server: Serving, bright: Path, path: str) -> None:
    body, multipart = form(("data", "a.png", bright.read_bytes()))
    own = f"http://127.0.0.1:{server.port}"
    for sender in (
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": f"http://127.0.0.1:{server.port + 1}"},
        {"Origin": f"https://127.0.0.1:{server.port}.evil.example"},
        {"Origin": f"{own}@evil.example"},
        {"Referer": "http://evil.example/page"},
        {"Origin": "http://evil.example", "Sec-Fetch-Site": "same-origin"},
    ):
        for content, kind in ((body, multipart), (b"{}", {"Content-Type": "text/plain"}), (b"", {})):
            answer = server.ask(path, "POST", content, {**kind, **sender})
            assert answer.status == 403, (sender, answer.body)
    assert server.ask(path, "POST", body, multipart | {"Origin": own}).status != 403


PATHS = [
    "/static/../../../../../../etc/passwd",
    "/static/..%2f..%2f..%2f..%2f..%2fetc/passwd",
    "/static/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
    "/static/%252e%252e/%252e%252e/etc/passwd",
    "/static//etc/passwd",
    "/static/%2fetc%2fpasswd",
    "/static/..\\..\\etc\\passwd",
    "/static/x%00.css",
    "/api/v1/results/..%2f..%2fetc%2fpasswd/thumbnail",
    "/api/v1/results/%2fetc%2fpasswd",
    "/api/v1/cameras/..%2f..%2fetc/latest.jpg",
    "/api/v1/cameras/%00/latest.jpg",
    "/../etc/passwd",
    "//etc/passwd",
]


@pytest.mark.parametrize("path", PATHS)
def test_attack_3_traversal_no_path_leads_out(server: Serving, path: str) -> None:
    answer = server.ask(path)
    assert answer.status in (400, 404), answer.body
    assert b"root:" not in answer.body


def test_attack_3_traversal_an_answer_whose_file_became_a_link_has_no_picture(
    edge_detect: Run, inbox: Path, start: Start, tmp_path: Path
) -> None:
    shown, linked = picture(inbox / "shown.png", 230), picture(inbox / "linked.png", 220)
    for path in (shown, linked):
        os.utime(path, (time.time() - 60,) * 2)
    state = tmp_path / "state"
    assert edge_detect("watch", inbox, "--once", "--model", MODEL, "--state", state).returncode == 0
    secret = picture(tmp_path / "secret.png", 30)
    linked.unlink()
    linked.symlink_to(secret)
    serving = start("--state", state)
    items = {Path(item["path"]).name: item["id"] for item in serving.ask("/api/v1/results").json["results"]}
    assert serving.ask(f"/api/v1/results/{items['shown.png']}/thumbnail").status == 200
    assert serving.ask(f"/api/v1/results/{items['linked.png']}/thumbnail").status == 404


def test_attack_4_every_route_and_method_needs_the_token(guarded: Serving) -> None:
    public = {path for path, _ in ROUTES if path in guard.PUBLIC or path.startswith("/static/")}
    assert public == {"/healthz", "/login", "/static/x"}, "nothing else may be reached without a token"
    paths = {path for path, _ in ROUTES} - public
    assert len(paths) > 20
    for path in sorted(paths | {"/nothing/here", "/api/v1/", "/docs"}):
        for method in METHODS:
            for headers in ({}, {"Cookie": f"edge_detect_{guarded.port}=ff.00"}):
                answer = guarded.ask(path, method, b"" if method in ("POST", "PUT", "PATCH") else None, headers)
                assert answer.status == 401, (method, path, answer.status)
                assert method == "HEAD" or answer.json["status"] == 401
                assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    for empty in ("Bearer ", "Bearer", "Basic Og==", "Basic !", "x"):
        assert guarded.ask("/api/v1/status", headers={"Authorization": empty}).status == 401
    assert guarded.ask("/api/v1/status", token=guarded.token).status == 200


def test_attack_4_addresses_beyond_loopback_need_a_token(start: Start) -> None:
    for host in ("0.0.0.0", "::", socket.gethostname()):
        serving = start("--host", host)
        assert serving.ask("/api/v1/status").status == 401
        assert serving.ask("/api/v1/status", token=serving.token).status == 200


def test_attack_4_host_name_of_a_proxy_needs_a_token(start: Start) -> None:
    serving = start("--allow-host", "board.example.org")
    assert serving.ask("/api/v1/status").status == 401
    assert serving.ask("/api/v1/status", token=serving.token).status == 200


ADDRESSES = [
    "http://127.0.0.1:PORT/x.jpg",
    "https://127.0.0.1:PORT/x.jpg",
    "http://169.254.169.254/latest/meta-data/",
    "file:///etc/passwd",
    "/etc/passwd",
    "ftp://127.0.0.1:PORT/x",
    "//127.0.0.1:PORT/x",
]


@pytest.mark.parametrize("address", ADDRESSES)
def test_attack_5_ssrf_no_address_is_fetched(server: Serving, address: str) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as trap:
        trap.settimeout(0.2)
        url = address.replace("PORT", str(trap.getsockname()[1]))
        fields: list[tuple[str, Any]] = [
            ("/api/v1/classify", {"url": url}),
            ("/api/v1/classify", {"path": url}),
            ("/models/a/b", {"inputs": url}),
            ("/models/a/b", {"inputs": {"url": url}}),
        ]
        for prefix in ("", "/gradio_api"):
            for data in (url, {"path": url}, {"url": url}, {"path": url, "meta": {"_type": "gradio.FileData"}}):
                fields += [
                    (f"{prefix}/{one}", {"data": [data]}) for one in ("api/predict", "run/predict", "call/predict")
                ]
                fields.append((f"{prefix}/queue/join", {"data": [data], "fn_index": 0, "session_hash": "s"}))
        for path, body in fields:
            answer = server.ask(path, "POST", json.dumps(body).encode(), JSON)
            assert answer.status == 422, (path, body, answer.body)
            assert b"root:" not in answer.body
        for name in ("url", "path"):
            body, headers = form((name, None, url.encode()))
            for path in ("/api/v1/classify", "/api/predict", "/upload", "/models/a/b"):
                assert server.ask(path, "POST", body, headers).status == 422
        assert server.ask(f"/api/v1/classify?url={url}", "POST", b"").status == 422
        with pytest.raises(TimeoutError):
            trap.accept()


def png_bomb(side: int) -> bytes:
    """A black and white PNG of side x side pixels in some kilobytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    head = side.to_bytes(4, "big") * 2 + bytes([1, 0, 0, 0, 0])
    deflate = zlib.compressobj(9)
    row = bytes(1 + side // 8)
    pixels = b"".join(deflate.compress(row) for _ in range(side)) + deflate.flush()
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def resident_megabytes(serving: Serving) -> float:
    """Of the server and the processes that it has started; without the pages of libraries that they share."""
    import psutil

    main = psutil.Process(serving.process.pid)
    return sum(one.memory_full_info().uss for one in (main, *main.children(recursive=True))) / 1e6


def flood(serving: Serving, head: str, piece: bytes, most: int) -> tuple[int, bytes]:
    """Send a head, and pieces of a body until the server ends that: how many bytes went, and what it answered."""
    with socket.create_connection(("127.0.0.1", serving.port), 30) as client:
        client.sendall(head.encode() + (b"Host: 127.0.0.1\r\n\r\n" if head.endswith("\n") else b""))
        sent, answer, rest = 0, b"", b""
        client.settimeout(0.0)
        deadline = time.monotonic() + 30
        while sent < most and time.monotonic() < deadline and not answer:
            try:
                rest = rest or piece
                gone = client.send(rest)
                sent, rest = sent + gone, rest[gone:]
            except BlockingIOError:
                time.sleep(0.002)
            except (BrokenPipeError, ConnectionResetError):
                break
            try:
                answer = client.recv(65536)
            except (BlockingIOError, ConnectionResetError):
                continue
        return sent, answer


def test_attack_6_bombs_of_bytes_end_early_and_leave_nothing(start: Start, bright: Path, tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    serving = start(TMPDIR=str(tmp_path / "tmp"))
    require_alive(serving, bright)
    before = resident_megabytes(serving)
    chunk = b"%x\r\n%s\r\n" % (1 << 20, bytes(1 << 20))
    head = "POST /api/v1/classify HTTP/1.1\r\n"
    for headers in (
        "Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Type: application/json\r\n",
    ):
        sent, answer = flood(serving, head + headers, chunk, 300 << 20)
        assert sent < 100 << 20, "it goes on reading"
        assert b" 413 " in answer or b" 422 " in answer, answer
    begin = b"--b\r\nContent-Disposition: form-data; name=x; filename=y\r\n\r\n"
    multipart = head + "Transfer-Encoding: chunked\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    piece = b"%x\r\n%s\r\n" % (len(begin), begin)
    sent, answer = flood(serving, multipart, piece + chunk, 300 << 20)
    assert sent < 100 << 20
    assert b" 413 " in answer
    sent, answer = flood(serving, f"{head}Content-Length: {300 << 20}\r\n", chunk, 300 << 20)
    assert b" 413 " in answer
    for path in ("/api/predict", "/models/a/b", "/queue/join", "/call/predict"):
        json_head = f"POST {path} HTTP/1.1\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n"
        sent, answer = flood(serving, json_head, b"100000\r\n" + b"A" * (1 << 20) + b"\r\n", 300 << 20)
        assert sent < 60 << 20
        assert b" 413 " in answer
    require_alive(serving, bright)
    (folder,) = [one for one in (tmp_path / "tmp").iterdir() if one.name.startswith(uploads.PREFIX)]
    assert list(folder.iterdir()) == []
    assert resident_megabytes(serving) < before + 40


def test_attack_6_bombs_of_pixels_fields_and_nesting_are_refused(server: Serving, bright: Path) -> None:
    bomb = png_bomb(60_000)
    assert len(bomb) < 1_000_000
    answer = server.ask("/api/v1/classify", "POST", bomb)
    assert answer.status == 422, answer.body
    text = "data:image/png;base64," + base64.b64encode(bomb).decode()
    assert server.ask("/api/predict", "POST", json.dumps({"data": [text]}).encode(), JSON).status == 422
    body, headers = form(*((f"f{number}", None, b"x") for number in range(10_000)))
    for path in ("/api/v1/classify", "/api/predict", "/upload"):
        assert server.ask(path, "POST", body, headers).status == 413
    body, headers = form(*(("files", f"{number}.png", b"x") for number in range(20)))
    assert server.ask("/upload", "POST", body, headers).status == 413
    body, headers = form(("text", None, b"x" * 100_000))
    assert server.ask("/api/v1/classify", "POST", body, headers).status == 413
    for nested in (b"[" * 100_000, b'{"data":' * 5000, b"[" * 20 + b"]" * 20, b"[" + b"[]," * 3_000_000 + b"1]"):
        assert server.ask("/api/predict", "POST", nested, JSON).status in (400, 413)
    sent, answer = flood(server, "GET /healthz HTTP/1.1\r\nX-Long: ", b"x" * 65536, 100 << 20)
    assert sent < 10 << 20
    assert b"200 OK" not in answer
    require_alive(server, bright)


@pytest.mark.timeout(180)
def test_attack_7_slowloris_connections_are_closed_and_others_answered(start: Start, bright: Path) -> None:
    serving = start()
    with ExitStack() as stack:
        began, heads = time.monotonic(), list[socket.socket]()
        for _ in range(60):
            one = stack.enter_context(socket.create_connection(("127.0.0.1", serving.port)))
            one.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ")
            heads.append(one)
        body = stack.enter_context(socket.create_connection(("127.0.0.1", serving.port)))
        body.sendall(b"POST /api/v1/classify HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\nx")
        require_alive(serving, bright)
        closed = 0
        while time.monotonic() < began + server_module.HEAD_SECONDS + 5 and closed < len(heads):
            for one in [one for one in heads if one.fileno() >= 0]:
                one.settimeout(0.01)
                try:
                    one.sendall(b"x")
                    is_over = one.recv(1) == b""
                except TimeoutError:
                    is_over = False
                except OSError:
                    is_over = True
                if is_over:
                    closed += 1
                    one.close()
            time.sleep(0.2)
        assert closed == len(heads)
        require_alive(serving, bright)
        body.settimeout(guard.IDLE_SECONDS + 10)
        assert b" 408 " in body.recv(65536), "a body that does not go on"


def test_attack_7_too_many_connections_leave_room_for_others(start: Start, bright: Path) -> None:
    serving = start()
    with ExitStack() as stack:
        for _ in range(server_module.MOST_CONNECTIONS + 50):
            one = stack.enter_context(socket.create_connection(("127.0.0.1", serving.port)))
            one.sendall(b"GET / HTTP/1.1\r\n")
        require_alive(serving, bright)


EVIL = "<img src=x onerror=alert(1)>\"'.png"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"><script>alert(1)</script></svg>'


def test_attack_8_stored_xss_names_come_back_as_inert_json(server: Serving, bright: Path) -> None:
    name = EVIL.replace('"', "%22")
    body, headers = form(("image", name, bright.read_bytes()))
    answer = server.ask("/api/v1/classify", "POST", body, headers)
    assert answer.status == 200, answer.body
    assert "<img" in answer.json["path"]
    assert answer.headers["Content-Type"] == "application/json"
    for path in ("/api/v1/status", "/api/v1/results", "/healthz", "/", "/nothing", "/login", "/static/x"):
        seen = server.ask(path)
        assert seen.headers["X-Content-Type-Options"] == "nosniff"
        policy = seen.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert "Access-Control-Allow-Origin" not in seen.headers
    assert b"onerror" not in server.ask("/").body
    svg = server.ask("/api/v1/classify", "POST", SVG, {"Content-Type": "image/svg+xml"})
    assert svg.status == 422
    assert svg.headers["Content-Type"] == "application/problem+json"


def test_attack_8_stored_xss_metadata_of_an_image_stays_text(server: Serving, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010F], exif[0x0131] = EVIL, f"{EVIL}\x1b[31m\n"
    Image.new("RGB", (64, 64), "white").save(tmp_path / "evil.jpg", exif=exif)
    answer = server.classify(tmp_path / "evil.jpg")
    assert answer.status == 200
    assert b"\x1b" not in answer.body
    assert answer.headers["Content-Type"] == "application/json"


FORWARDED = {
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Proto": "javascript",
    "X-Forwarded-Prefix": "//evil.example",
    "X-Forwarded-For": "127.0.0.1",
    "Forwarded": "for=127.0.0.1;host=evil.example",
    "X-Ingress-Path": "//evil.example",
    "X-Original-URL": "/healthz",
    "X-Rewrite-URL": "/healthz",
    "X-Real-IP": "127.0.0.1",
}


def test_attack_9_spoofed_headers_of_proxies_change_nothing(guarded: Serving) -> None:
    for path in ("/login", "/healthz", "/nothing"):
        plain, spoofed = guarded.ask(path), guarded.ask(path, headers=FORWARDED)
        assert (spoofed.status, spoofed.body) == (plain.status, plain.body)
    assert guarded.ask("/api/v1/status", headers=FORWARDED).status == 401
    assert b"evil" not in guarded.ask("/", headers=FORWARDED, token=guarded.token).body
    assert b"evil" not in guarded.ask("/api/v1/openapi.json", headers=FORWARDED, token=guarded.token).body


@pytest.mark.parametrize(
    "wanted",
    [
        "//evil.example",
        "https://evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "javascript:alert(1)",
        "/%2fevil.example",
        "%0d%0aX:%20y",
        "a//b",
        "..%2f",
    ],
)
def test_attack_9_open_redirect_sign_in_leads_to_own_pages_only(guarded: Serving, wanted: str) -> None:
    body = f"token={guarded.token}".encode()
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = guarded.ask(f"/login?next={wanted}", "POST", body, kind)
    assert answer.status == 303
    assert answer.headers["Location"] == "/"
    assert "evil" not in answer.headers.as_string()


@pytest.mark.parametrize("path", sorted({path for path, method in ROUTES if method == "GET"}))
def test_attack_9_open_redirect_change_of_language_stays_here(server: Serving, path: str) -> None:
    for shown in (
        path,
        path.replace("0a1b2c3d-1", "https:evil.example"),
        path.replace("0a1b2c3d-1", "%2f%2fevil.example"),
    ):
        if "events" in path or "heartbeat" in path or "queue/data" in path:
            continue  # never ends
        answer = server.ask(f"{shown}?lang=de", headers={"Accept": "text/html"})
        location = answer.headers.get("Location", "")
        assert not location or location.startswith("./"), location
        assert "//" not in location


def test_attack_9_browser_without_session_is_led_to_sign_in_and_back(guarded: Serving) -> None:
    page = {"Accept": "text/html,*/*"}
    asked = guarded.ask("/history?label=FAKE", headers=page)
    assert asked.status == 303
    assert asked.headers["Location"] == "/login?next=history%3Flabel%3DFAKE"
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    signed = guarded.ask(asked.headers["Location"], "POST", f"token={guarded.token}".encode(), kind)
    assert signed.headers["Location"] == "/history?label=FAKE"
    cookie = signed.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert guarded.token not in cookie
    session = cookie.partition(";")[0]
    assert guarded.ask("/api/v1/status", headers={"Cookie": session}).status == 200
    assert (
        guarded.ask("/api/v1/status", headers={"Cookie": session[:-1] + ("0" if session[-1] != "0" else "1")}).status
        == 401
    )
    outside = guarded.ask("//evil.example/", headers=page)
    assert outside.status in (303, 400, 401)
    assert "//evil" not in outside.headers.get("Location", "")


def test_attack_10_guessing_is_slowed_down_whatever_it_claims(start: Start) -> None:
    serving = start("--host", "0.0.0.0")
    tried: list[Answer] = []
    for number in range(FREE_FAILURES + 5):
        headers = {"X-Forwarded-For": f"10.0.0.{number}"}
        tried.append(serving.ask("/api/v1/status", headers=headers, token=f"wrong{number:027}"))
    assert [one.status for one in tried[:FREE_FAILURES]] == [401] * FREE_FAILURES
    assert {one.status for one in tried[FREE_FAILURES:]} == {429}
    assert int(tried[-1].headers["Retry-After"]) >= 1
    assert serving.ask("/login", "POST", b"token=wrong").status == 429
    assert serving.ask("/healthz").status == 200


def test_attack_10_token_is_in_no_log_page_status_file_or_query(start: Start, bright: Path) -> None:
    serving = start("--host", "0.0.0.0", "--allow-host", "board.example")
    token = serving.token
    require_alive(serving, bright, token=token)
    found = [
        serving.ask(path, token=token).body for path in ("/", "/api/v1/status", "/metrics", "/api/v1/openapi.json")
    ]
    found.append(serving.ask(f"/login?token={token}").body)
    assert serving.ask(f"/api/v1/status?token={token}").status == 401
    assert serving.ask(f"/api/v1/status?access_token={token}").status == 401
    serving.ask(f"/nothing/{token}", token=token)
    serving.ask("/api/v1/classify", "POST", b"x", token=token)
    assert serving.stop() == 0
    assert not any(token.encode() in one for one in found)
    assert token not in "".join(serving.lines)
    assert "".join(serving.printed).count(token) == 1
    kept = [path for path in serving.home.rglob("*") if path.is_file()]
    assert any(path.name == "token" for path in kept)
    assert not any(token.encode() in path.read_bytes() for path in kept)
    (stored,) = [path for path in kept if path.name == "token"]
    assert stored.stat().st_mode & 0o777 == 0o600
