"""What goes wrong around a server: bad uploads, ledgers, cameras, disks, ports, signals. It answers, and goes on."""

import http.client
import json
import os
import signal
import socket
import sqlite3
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest
from PIL import Image

from edge.serve.classification import MOST_WAITING_BYTES
from edge.serve.uploads import PREFIX
from edge.store.schema import FILE, VERSION
from tests.conftest import Run, age, command, environment, picture, systemd
from tests.edge.serve.conftest import MODEL, Start
from tests.support.network_camera import network_camera
from tests.support.serving import PATIENCE, Answer, Serving, form
from tests.support.watching import Running


def require_problem(answer: Answer, status: int, words: str = "") -> None:
    assert answer.status == status, answer.body
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json["status"] == status
    assert words in answer.json["detail"]
    assert len(answer.json["detail"].splitlines()) == 1
    assert (status == 503) <= (int(answer.headers.get("Retry-After", "0")) >= 1)


def until(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


@pytest.mark.parametrize("content", [b"I am a text", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", bytes(1000)])
def test_upload_that_is_no_image_is_refused(server: Serving, content: bytes, bright: Path) -> None:
    require_problem(server.ask("/api/v1/classify", "POST", content), 422, "upload: ")
    body, headers = form(("image", "x.png", content))
    require_problem(server.ask("/api/v1/classify", "POST", body, headers), 422, "x.png: ")
    assert server.classify(bright).status == 200


def test_request_without_image_is_refused(server: Serving) -> None:
    require_problem(server.ask("/api/v1/classify", "POST", b""), 422, "no image")
    for parts in ([], [("image", "a.png", b"")], [("image", None, b"text")]):
        body, headers = form(*parts)
        require_problem(server.ask("/api/v1/classify", "POST", body, headers), 422, "no image")


def test_malformed_forms_are_refused(server: Serving, bright: Path) -> None:
    body, headers = form(("image", "a.png", bright.read_bytes()))
    cut = body[:-30]
    require_problem(server.ask("/api/v1/classify", "POST", cut, headers), 400, "cut off")
    require_problem(server.ask("/api/v1/classify", "POST", b"x" * 1000, headers), 400, "malformed form")
    nameless = {"Content-Type": "multipart/form-data"}
    require_problem(server.ask("/api/v1/classify", "POST", body, nameless), 400, "boundary")
    heads = b"--0123456789abcdef\r\n" + b"A: b\r\n" * 100 + b"\r\n"
    require_problem(server.ask("/api/v1/classify", "POST", heads, headers), 400, "malformed form")


def test_upload_that_is_cut_off_leaves_no_file(start: Start, bright: Path, tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    serving = start(TMPDIR=str(tmp_path / "tmp"))
    body, headers = form(("image", "a.png", bright.read_bytes() * 10))
    heads = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    for head in ("", heads):
        with socket.create_connection(("127.0.0.1", serving.port)) as client:
            line = f"POST /api/v1/classify HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n{head}\r\n"
            client.sendall(line.encode() + body[: len(body) // 2])
            (folder,) = (one for one in (tmp_path / "tmp").iterdir() if one.name.startswith(PREFIX))
            until(lambda folder=folder: list(folder.iterdir()))
        until(lambda folder=folder: not list(folder.iterdir()))
    assert serving.classify(bright).status == 200
    assert serving.stop() == 0
    assert not list((tmp_path / "tmp").glob(f"{PREFIX}*"))


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\pictures\\a.png", "a.png"),
        ("/", "upload"),
        ("", "upload"),
        ("..", ".."),
        ("a\x1b[31mb.png", "a\\x1b[31mb.png"),
        ("x" * 5000 + ".png", "x" * 200),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("-rf", "-rf"),
        ("caf\u00e9.png", "caf\u00e9.png"),
        ("$(reboot).png", "$(reboot).png"),
    ],
)
def test_hostile_names_of_uploads_are_only_shown(server: Serving, bright: Path, name: str, shown: str) -> None:
    body, headers = form(("image", name, bright.read_bytes()))
    if len(body) > 4096 + len(bright.read_bytes()):
        require_problem(server.ask("/api/v1/classify", "POST", body, headers), 400, "malformed form")
        return
    answer = server.ask("/api/v1/classify", "POST", body, headers)
    assert answer.status == 200, answer.body
    assert answer.json["path"] == shown


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "limit=201", "since=yesterday", "before=x", "provenance=x"])
def test_invalid_parameters_are_refused(server: Serving, query: str) -> None:
    require_problem(server.ask(f"/api/v1/results?{query}"), 400, query.partition("=")[0])


def answered(edge_detect: Run, inbox: Path, state: Path, count: int = 3) -> Path:
    """A ledger with some answers."""
    for number in range(count):
        age(picture(inbox / f"{number}.png", 240 if number % 2 else 15, seed=number))
    assert edge_detect("watch", inbox, "--once", "--model", MODEL, "--state", state).returncode == 0
    return state / FILE


def test_missing_ledger_is_an_empty_history_until_it_appears(
    edge_detect: Run, inbox: Path, start: Start, tmp_path: Path
) -> None:
    serving = start("--state", tmp_path / "state")
    empty = serving.ask("/api/v1/results")
    assert empty.json == {"results": [], "newer": None, "older": None, "errors": []}
    assert serving.ask("/api/v1/results/01234567-1").status == 404
    assert serving.ask("/metrics").status == 200
    answered(edge_detect, inbox, tmp_path / "state")
    assert len(serving.ask("/api/v1/results").json["results"]) == 3


def test_pages_of_results_follow_each_other(edge_detect: Run, inbox: Path, start: Start, tmp_path: Path) -> None:
    answered(edge_detect, inbox, tmp_path / "state", 5)
    serving = start("--state", tmp_path / "state")
    first = serving.ask("/api/v1/results?limit=2").json
    second = serving.ask(f"/api/v1/results?limit=2&before={first['older']}").json
    back = serving.ask(f"/api/v1/results?limit=2&after={second['newer']}").json
    assert [one["id"] for one in back["results"]] == [one["id"] for one in first["results"]]
    ids = [one["id"] for one in first["results"] + second["results"]]
    assert len(set(ids)) == 4
    (one,) = serving.ask("/api/v1/results?label=FAKE&limit=1").json["results"]
    assert serving.ask(f"/api/v1/results/{one['id']}").json == one
    jpeg = serving.ask(f"/api/v1/results/{one['id']}/thumbnail")
    assert jpeg.headers["Content-Type"] == "image/jpeg"
    assert jpeg.body.startswith(b"\xff\xd8")


def test_damaged_ledger_is_reported_and_uploads_are_answered(
    edge_detect: Run, inbox: Path, start: Start, bright: Path, tmp_path: Path
) -> None:
    ledger = answered(edge_detect, inbox, tmp_path / "state")
    ledger.write_bytes(b"x" * 10_000)
    serving = start("--state", tmp_path / "state")
    require_problem(serving.ask("/api/v1/results"), 503, "ledger.sqlite3")
    assert serving.ask("/metrics").status == 200
    assert serving.ask("/healthz").status == 200
    assert serving.classify(bright).status == 200


def test_ledger_of_later_version_is_reported(edge_detect: Run, inbox: Path, start: Start, tmp_path: Path) -> None:
    ledger = answered(edge_detect, inbox, tmp_path / "state")
    with closing(sqlite3.connect(ledger)) as database:
        database.execute(f"PRAGMA user_version = {VERSION + 1}")
        database.commit()
    serving = start("--state", tmp_path / "state")
    require_problem(serving.ask("/api/v1/results"), 503, "later")


def mounted(folder: Path, size: str, more: str = "true") -> tuple[str, ...]:
    """Words before a command that run it with a small disk at a folder; `more` is run on it first."""
    folder.mkdir(exist_ok=True)
    script = f"mount -t tmpfs -o size={size} tmpfs '{folder}' && {more} && exec \"$@\""
    words = ("unshare", "--mount", "sh", "-c", script, "sh")
    if os.geteuid() or subprocess.run([*words, "true"], capture_output=True).returncode:
        pytest.skip("needs the super-user, who may mount a small disk")
    return words


def test_ledger_on_full_disk_is_read(edge_detect: Run, inbox: Path, tmp_path: Path) -> None:
    ledger = answered(edge_detect, inbox, tmp_path / "state")
    fill = f"cp -r '{ledger.parent}'/. '{tmp_path}/disk' && (dd if=/dev/zero of='{tmp_path}/disk/x' bs=4k 2>&- || true)"
    words = mounted(tmp_path / "disk", "2m", fill)
    serving = Serving(tmp_path / "home", "--model", MODEL, "--state", tmp_path / "disk", prefix=words)
    try:
        assert len(serving.ready().ask("/api/v1/results").json["results"]) == 3
        assert serving.ask("/metrics").status == 200
    finally:
        serving.kill()


def test_full_disk_of_uploads_is_reported_until_there_is_room(bright: Path, tmp_path: Path) -> None:
    words = mounted(tmp_path / "disk", "200k")
    serving = Serving(tmp_path / "home", "--model", MODEL, prefix=words, TMPDIR=str(tmp_path / "disk")).ready()
    try:
        require_problem(serving.ask("/api/v1/classify", "POST", bytes(1_000_000)), 503, "no room")
        body, headers = form(("image", "a.png", bytes(1_000_000)))
        require_problem(serving.ask("/api/v1/classify", "POST", body, headers), 503, "no room")
        assert serving.classify(bright).status == 200
    finally:
        serving.kill()


def test_camera_that_goes_away_is_gone_and_the_server_goes_on(start: Start, bright: Path) -> None:
    serving = start()
    with network_camera(picture(serving.home / "shown.jpg").read_bytes()) as source:
        camera = Running(serving.home, "camera", "--source", source.address(), "--record", "0", "--model", MODEL)
        try:
            (found,) = until(lambda: serving.ask("/api/v1/cameras").json["cameras"])
            latest = f"/api/v1/cameras/{found['id']}/latest.jpg"
            frame = until(lambda: (one := serving.ask(latest)).status == 200 and one)
            assert frame.body.startswith(b"\xff\xd8")
            (status,) = serving.ask("/api/v1/status").json["services"]
            assert status["folder"] == found["name"]
        finally:
            camera.kill()
    require_problem(serving.ask(latest), 404)
    assert until(lambda: not serving.ask("/api/v1/cameras").json["cameras"])
    assert serving.classify(bright).status == 200


def test_second_server_at_one_port_ends_with_one_line(server: Serving, tmp_path: Path) -> None:
    words = command("serve", "--port", str(server.port), "--model", MODEL)
    done = subprocess.run(words, env=environment(HOME=str(tmp_path)), capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert f"127.0.0.1:{server.port}: cannot listen: another program listens there already" in line
    assert server.ask("/healthz").status == 200


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--host", "192.0.2.1"), "cannot listen"),
        (("--host", "no.such.name.invalid"), "cannot listen"),
        (("--base-path", "/a b"), "--base-path"),
        (("--base-path", "/a/../b"), "--base-path"),
        (("--token-file", "readable"), "chmod 600"),
        (("--token-file", "garbage"), "holds no token"),
        (("--token-file", "."), "is a directory"),
        (("--model", "missing.tflite"), "missing.tflite"),
    ],
)
def test_server_that_cannot_start_ends_with_one_line(
    edge_detect: Run, tmp_path: Path, options: tuple[str, ...], words: str
) -> None:
    (tmp_path / "readable").write_text("0123456789abcdef0123456789abcdef")
    (tmp_path / "garbage").write_bytes(b"\xff\x00 no")
    (tmp_path / "garbage").chmod(0o600)
    chosen = () if "--model" in options else ("--model", MODEL)
    done = edge_detect("serve", "--port", "0", *chosen, *options)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert words in line


def test_service_without_token_does_not_print_one(tmp_path: Path) -> None:
    with systemd(tmp_path):
        variables = environment(HOME=str(tmp_path), NOTIFY_SOCKET=str(tmp_path / "notify"))
        words = command("serve", "--port", "0", "--host", "0.0.0.0", "--model", MODEL)
        done = subprocess.run(words, env=variables, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "service install serve" in done.stderr


def test_readable_token_of_user_is_accepted_from_a_private_file(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "mine"
    file.write_text("a-token-that-I-have-chosen\n")
    file.chmod(0o600)
    serving = start("--token-file", file)
    assert serving.ask("/api/v1/status").status == 401
    assert serving.ask("/api/v1/status", token="a-token-that-I-have-chosen").status == 200
    assert serving.printed == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_server_with_open_streams(start: Start, number: signal.Signals) -> None:
    serving = start()
    connections = []
    for path in ("/api/v1/events", "/heartbeat/a", "/gradio_api/heartbeat/b", "/queue/data?session_hash=s"):
        connection = http.client.HTTPConnection("127.0.0.1", serving.port, timeout=30)
        connection.request("GET", path)
        connections.append(connection)
    half = socket.create_connection(("127.0.0.1", serving.port))
    half.sendall(b"POST /api/v1/classify HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\nx")
    for connection in connections[:3]:
        assert connection.getresponse().status == 200
    began = time.monotonic()
    assert serving.stop(number) == 0
    assert time.monotonic() - began < 15
    for connection in connections:
        connection.close()
    half.close()
    assert len(serving.lines) == 1, serving.lines


def test_new_answer_arrives_as_an_event(edge_detect: Run, inbox: Path, start: Start, tmp_path: Path) -> None:
    answered(edge_detect, inbox, tmp_path / "state")
    serving = start("--state", tmp_path / "state")
    with closing(http.client.HTTPConnection("127.0.0.1", serving.port, timeout=PATIENCE)) as connection:
        connection.request("GET", "/api/v1/events")
        stream = connection.getresponse()
        assert stream.headers["Content-Type"].startswith("text/event-stream")
        assert stream.readline() == b"retry: 3000\n"
        time.sleep(1.5)  # the feed knows the end of the ledger
        age(picture(inbox / "new.png", 100))
        assert edge_detect("watch", inbox, "--once", "--model", MODEL, "--state", tmp_path / "state").returncode == 0
        lines = []
        while not (lines and lines[-1].startswith(b"data: ")):
            lines.append(stream.readline())
        fields = json.loads(lines[-1].removeprefix(b"data: "))
        assert fields["path"] == f"{inbox}/new.png"
        assert serving.ask(f"/api/v1/results/{fields['id']}").json == fields


def test_too_many_streams_are_refused(start: Start) -> None:
    from edge.serve.app import MOST_STREAMS

    serving = start()
    connections = []
    for _ in range(MOST_STREAMS):
        connection = http.client.HTTPConnection("127.0.0.1", serving.port, timeout=30)
        connection.request("GET", "/heartbeat/x")
        assert connection.getresponse().status == 200
        connections.append(connection)
    assert serving.ask("/heartbeat/x").status == 503
    connections.pop().close()
    until(lambda: serving.ask("/api/v1/status").status == 200)
    for connection in connections:
        connection.close()


def test_more_images_than_the_queue_holds_are_refused_and_the_others_answered(server: Serving, tmp_path: Path) -> None:
    large = tmp_path / "large.png"
    Image.effect_noise((2000, 1500), 100).convert("RGB").save(large, compress_level=0)
    found: list[Answer] = []

    def ask() -> None:
        found.append(server.classify(large))

    assert large.stat().st_size * 60 > MOST_WAITING_BYTES
    threads = [threading.Thread(target=ask) for _ in range(60)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counts = Counter(answer.status for answer in found)
    assert set(counts) <= {200, 503}
    assert counts[200] >= MOST_WAITING_BYTES // large.stat().st_size
    assert counts[503]
    for answer in found:
        if answer.status == 503:
            require_problem(answer, 503)
    assert server.ask("/api/v1/status").json["server"]["waiting"] == 0


def test_base_path_is_optional_and_shown(start: Start, bright: Path) -> None:
    serving = start("--base-path", "edge/box/")
    for prefix in ("", "/edge/box"):
        answer = serving.ask(f"{prefix}/api/v1/classify", "POST", bright.read_bytes())
        assert answer.json["label"] == "REAL"
        assert serving.ask(f"{prefix}/healthz").status == 200
    assert serving.ask("/edge/boxx/healthz").status == 404
    assert serving.ask("/api/v1/openapi.json").json["servers"] == [{"url": "/edge/box"}]


def test_reload_takes_new_settings_and_keeps_old_ones_that_fail(tmp_path: Path, bright: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    settings = tmp_path / "home" / ".config" / "edge-detect.toml"
    settings.parent.mkdir(parents=True)
    settings.write_text(f'[serve]\nbase-path = "one"\nmodel = "{MODEL}"\n')
    serving = Serving(tmp_path / "home", "--port", str(port)).ready()
    try:

        def base() -> Any:
            try:
                return serving.ask("/api/v1/openapi.json").json["servers"][0]["url"]
            except OSError:
                return None

        assert base() == "/one"
        settings.write_text(f'[serve]\nbase-path = "two"\nmodel = "{MODEL}"\n')
        serving.process.send_signal(signal.SIGHUP)
        until(lambda: base() == "/two")
        settings.write_text(f'[serve]\nbase-path = "../x"\nmodel = "{MODEL}"\n')
        serving.process.send_signal(signal.SIGHUP)
        until(lambda: any("settings stay as they were" in line for line in serving.lines))
        until(lambda: base() == "/two")
        assert serving.classify(bright).status == 200
    finally:
        serving.kill()


def test_watchdog_gets_heartbeats_of_the_event_loop(tmp_path: Path) -> None:
    with systemd(tmp_path) as heard:
        serving = Serving(
            tmp_path / "home",
            *("--model", MODEL),
            NOTIFY_SOCKET=str(tmp_path / "notify"),
            WATCHDOG_USEC="1000000",
        )
        try:
            messages = ""
            while messages.count("WATCHDOG=1") < 3:
                messages += heard.recv(4096).decode() + "\n"
            assert "READY=1" in messages
        finally:
            serving.kill()


def test_decoder_that_crashes_costs_one_request(server: Serving, bright: Path) -> None:
    main = psutil.Process(server.process.pid)
    assert server.classify(bright).status == 200
    workers = [one for one in main.children(recursive=True) if not one.children()]
    assert workers
    for worker in workers:
        worker.kill()
    statuses = [server.classify(bright).status for _ in range(10)]
    assert statuses[-1] == 200
    assert set(statuses) <= {200, 422, 503}


@pytest.mark.timeout(300)
def test_memory_stays_flat_over_many_requests(start: Start, bright: Path) -> None:
    serving = start()
    main = psutil.Process(serving.process.pid)

    def resident() -> float:
        return sum(one.memory_info().rss for one in (main, *main.children(recursive=True))) / 1e6

    body, headers = form(("data", "a.png", bright.read_bytes()))
    with closing(http.client.HTTPConnection("127.0.0.1", serving.port, timeout=60)) as connection:

        def ask(count: int) -> None:
            for number in range(count):
                if number % 2:
                    connection.request("POST", "/api/v1/classify", bright.read_bytes())
                else:
                    connection.request("POST", "/api/predict", body, headers)
                answer = connection.getresponse()
                answer.read()
                assert answer.status == 200

        ask(500)
        before = resident()
        ask(2000)
        assert resident() < before + 5


def test_missing_extra_is_reported_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "starlette.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'starlette'\", name='starlette')"
    )
    variables = environment(HOME=str(tmp_path))
    variables["PYTHONPATH"] = f"{tmp_path}:{variables['PYTHONPATH']}"
    done = subprocess.run(command("serve"), env=variables, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "pip install 'edge-detect[serve]'" in line
    other = subprocess.run(command("classify", "x.png"), env=variables, capture_output=True, text=True, timeout=60)
    assert "starlette" not in other.stderr, "the other commands do not need it"
