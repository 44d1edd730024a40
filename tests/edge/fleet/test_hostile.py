"""Poison images, damaged and foreign messages, odd names, wrong clocks: nothing is lost, and nothing stops a board."""

import asyncio
import hashlib
import http.server
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from edge.errors import printable
from edge.fleet.protocol import Job
from tests.conftest import CHECKOUT, MODELS, command, environment, picture
from tests.support.nats import Board, Nats, fleet, pictures, results, status, wait_until
from tests.support.packages import missing

MODEL = MODELS / "brightness_int8.tflite"
QUICK = ("--retry-seconds", "0.2")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Nats]:
    with Nats(tmp_path / "nats") as running:
        yield running


def publish(server: Nats, *messages: tuple[str, bytes, dict[str, str]]) -> None:
    """Publish messages as another program would."""
    import nats

    async def run() -> None:
        client = await nats.connect(server.address)
        try:
            for subject, body, headers in messages:
                await client.jetstream().publish(subject, body, headers=headers or None)
        finally:
            await client.close()

    asyncio.run(run())


def image_message(path: Path) -> tuple[str, bytes, dict[str, str]]:
    data = path.read_bytes()
    job = Job("any", hashlib.sha256(data).hexdigest(), str(path))
    return f"edge.work.{job.key}", data, job.headers


def test_damaged_image_ends_in_the_dead_list_and_can_be_given_up(tmp_path: Path, server: Nats) -> None:
    address = ("--server", server.address)
    fleet(tmp_path, "submit", pictures(tmp_path / "inbox", 3), *address)
    subject, data, headers = image_message(picture(tmp_path / "poison.png", seed=99))
    publish(server, (subject, data[:-1], headers))
    board = Board(tmp_path, "board", *address, "--model", MODEL, *QUICK)
    try:
        board.until("try 3 of 3 failed")
        wait_until(lambda: fleet(tmp_path, "dead", *address).stdout != "", lambda: board.said)
        assert board.said.count("of 3 failed") == 3
        listed = fleet(tmp_path, "dead", "--json", *address)
        assert listed.returncode == 1
        (dead,) = (json.loads(line) for line in listed.stdout.splitlines())
        assert (dead["path"], dead["board"], dead["tries"]) == (str(tmp_path / "poison.png"), "board", 3)
        assert "another image than the one that was submitted" in dead["reason"]
        assert status(tmp_path, *address)["dead"] == 1
        assert len(results(tmp_path, *address)) == 3
        given_up = fleet(tmp_path, "dead", "--give-up", *address)
        assert (given_up.returncode, given_up.stdout.endswith(": answered\n")) == (0, True)
        assert status(tmp_path, *address)["images"] == 0
        (answer,) = (one for one in results(tmp_path, *address) if "error" in one)
        assert answer["path"] == str(tmp_path / "poison.png")
        assert answer["error"].startswith("gave up after 3 tries: ")
        assert fleet(tmp_path, "dead", *address).returncode == 0
    finally:
        board.kill()


def test_image_that_kills_its_boards_is_dead_after_three_tries(tmp_path: Path, server: Nats) -> None:
    address = ("--server", server.address)
    fleet(tmp_path, "submit", picture(tmp_path / "poison.png"), *address, "--ack-seconds", "1")
    for _ in range(3):
        deadly = subprocess.run(  # takes the image, and dies
            [sys.executable, "-c", DEADLY, server.address], env=environment(), timeout=60, capture_output=True
        )
        assert deadly.returncode == -9, deadly.stderr
    board = Board(tmp_path, "board", *address, "--model", MODEL)
    try:
        wait_until(lambda: fleet(tmp_path, "dead", *address).stdout != "", lambda: board.said)
        listed = fleet(tmp_path, "dead", *address).stdout
        assert listed == f"{tmp_path / 'poison.png'}: each board that took it ended without a report\n"
        assert results(tmp_path, *address) == []
        again = fleet(tmp_path, "dead", "--retry", *address)
        assert again.stdout.endswith(": queued again\n")
        wait_until(lambda: len(results(tmp_path, *address)) == 1, lambda: board.said)
        wait_until(lambda: status(tmp_path, *address)["images"] == 0, lambda: board.said)
        assert fleet(tmp_path, "dead", *address).stdout == ""
    finally:
        board.kill()


DEADLY = """
import asyncio, os, signal, sys, nats

async def main():
    client = await nats.connect(sys.argv[1])
    queue = await client.jetstream().pull_subscribe_bind("fleet-any", "EDGE_WORK")
    while True:
        try:
            await queue.fetch(1, timeout=5)
        except TimeoutError:
            continue
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


def test_foreign_messages_stop_no_board(tmp_path: Path, server: Nats) -> None:
    address = ("--server", server.address)
    good = picture(tmp_path / "good.png")
    fleet(tmp_path, "submit", good, *address)
    sha256 = "ab" * 32
    publish(
        server,
        ("edge.work.any.x", b"text", {}),
        (f"edge.work.any.{sha256[:32]}", b"text", {"Edge-Sha256": "é" * 20}),
        (f"edge.work.any.{'cd' * 16}", b"text", {"Edge-Sha256": "cd" * 32, "Edge-Name": "%ff%1b[2Jx", "Edge-Url": "x"}),
        ("edge.answers.any.y", b"\xff\xfe{", {}),
        ("edge.answers.any.z", b'{"path": "a", "label": "REAL"}', {}),
    )
    _publish_raw(server, b"edge.work.any.raw", b"NATS/1.0\r\nEdge-Name: \xff\xfe\r\n\xff\xfe\r\n\r\n", b"\xff")
    board = Board(tmp_path, "board", *address, "--model", MODEL, *QUICK)
    try:
        wait_until(lambda: status(tmp_path, *address)["dead"] == 4, lambda: board.said)
        assert board.process.poll() is None
        printed = fleet(tmp_path, "results", "--json", *address)
        assert [json.loads(line)["path"] for line in printed.stdout.splitlines()] == [str(good)]
        assert printed.stderr.count("not an answer") == 2
        listed = fleet(tmp_path, "dead", *address).stdout
        assert len(listed.splitlines()) == 4
        assert listed.replace("\n", "").isprintable()
        assert board.said.replace("\n", "").isprintable()
        assert fleet(tmp_path, "dead", "--give-up", *address).returncode == 0
        assert status(tmp_path, *address)["images"] == 0
    finally:
        board.kill()


def _publish_raw(server: Nats, subject: bytes, headers: bytes, body: bytes) -> None:
    """Publish bytes that no client would send."""
    with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
        connection.recv(65_536)
        connection.sendall(b'CONNECT {"headers":true,"verbose":false,"pedantic":false}\r\n')
        size = len(headers) + len(body)
        connection.sendall(b"HPUB %s %d %d\r\n%s%s\r\nPING\r\n" % (subject, len(headers), size, headers, body))
        assert b"PONG" in connection.recv(65_536)


def test_message_of_10_mb_is_refused_and_nothing_else_is_lost(tmp_path: Path) -> None:
    with Nats(tmp_path / "nats", "max_payload: 33554432") as server:
        address = ("--server", server.address)
        fleet(tmp_path, "submit", picture(tmp_path / "a.png"), *address)
        with pytest.raises(Exception, match="message size exceeds maximum allowed"):
            publish(server, ("edge.work.any.big", b"x" * 10_000_000, {}))
        large = tmp_path / "large.bmp"
        picture(large, 100, (2000, 1700))  # 10 MB
        refused = fleet(tmp_path, "submit", large, *address)
        assert refused.returncode == 1
        assert "more than the 1000000 that a message holds; serve the folder by HTTP, and add --url" in refused.stderr
        board = Board(tmp_path, "board", *address, "--model", MODEL, "--once")
        assert board.process.wait(60) == 0, board.said
        assert len(results(tmp_path, *address)) == 1


@pytest.mark.parametrize(
    "name",
    [b"a*b.png", b"a>b c.png", b"a\xff\xfe.png", b"a\n\x1b[2J.png", "\xe4%41 \U0001f600.png".encode()],
    ids=["star", "greater", "no UTF-8", "controls", "Unicode"],
)
def test_any_name_of_a_file_comes_back_in_its_answer(tmp_path: Path, server: Nats, name: bytes) -> None:
    address, folder = ("--server", server.address), tmp_path / "in"
    folder.mkdir()
    os.rename(picture(tmp_path / "a.png"), os.fsencode(folder) + b"/" + name)
    fleet(tmp_path, "submit", folder, *address)
    assert Board(tmp_path, "board*", *address, "--model", MODEL, "--once").process.wait(60) == 0
    (answer,) = results(tmp_path, *address)
    assert os.fsencode(answer["path"]) == os.fsencode(folder) + b"/" + name
    assert answer["board"] == "board*"
    shown = fleet(tmp_path, "results", *address).stdout
    assert printable(os.fsdecode(name)) in shown
    assert len(shown.splitlines()) == 1


class Store(http.server.BaseHTTPRequestHandler):
    """Serves a folder; /away/ redirects, /endless/ never ends."""

    folder = Path()

    def do_GET(self) -> None:
        path = self.folder / os.path.basename(unquote(self.path))
        if self.path.startswith("/away/"):
            self.send_response(302)
            self.send_header("Location", f"/images/{path.name}")
            self.end_headers()
            return
        data = path.read_bytes() if self.path.startswith("/images/") else b"other"
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def store(tmp_path: Path) -> Iterator[str]:
    handler = type("Handler", (Store,), {"folder": tmp_path / "large"})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def test_large_images_travel_by_url(tmp_path: Path, server: Nats, store: str) -> None:
    address, folder = ("--server", server.address), tmp_path / "large"
    folder.mkdir()
    picture(folder / "a b.bmp", 100, (800, 600))
    picture(folder / "small.png", 100)
    done = fleet(tmp_path, "submit", folder, *address, "--url", f"{store}/images/")
    assert "2 queued" in done.stderr
    assert status(tmp_path, *address)["bytes"] < 100_000
    board = Board(tmp_path, "board", *address, "--model", MODEL, "--once", "--allow-url", f"{store}/images/")
    assert board.process.wait(60) == 0, board.said
    assert {Path(answer["path"]).name for answer in results(tmp_path, *address)} == {"a b.bmp", "small.png"}
    assert all("label" in answer for answer in results(tmp_path, *address))


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("/away/", "status 302"),
        ("/changed/", "holds another image than the one that was submitted"),
        ("/elsewhere/", "not below a prefix of --allow-url"),
    ],
)
def test_unacceptable_url_is_a_failed_try(tmp_path: Path, server: Nats, store: str, place: str, reason: str) -> None:
    address, folder = ("--server", server.address), tmp_path / "large"
    folder.mkdir()
    picture(folder / "a.bmp", 100, (800, 600))
    fleet(tmp_path, "submit", folder, *address, "--url", f"{store}{place}")
    allowed = [word for path in ("/away/", "/changed/") for word in ("--allow-url", store + path)]
    board = Board(tmp_path, "board", *address, "--model", MODEL, *QUICK, *allowed)
    try:
        board.until("try 3 of 3 failed")
        assert reason in board.said
        wait_until(lambda: fleet(tmp_path, "dead", *address).stdout != "", lambda: board.said)
        assert reason in fleet(tmp_path, "dead", *address).stdout
        assert results(tmp_path, *address) == []
    finally:
        board.kill()


def test_board_with_a_clock_an_hour_fast_answers_with_the_servers_time(tmp_path: Path, server: Nats) -> None:
    if not shutil.which("faketime"):
        missing("faketime")
    address = ("--server", server.address)
    fleet(tmp_path, "submit", pictures(tmp_path / "inbox", 3), *address)
    words = ["faketime", "-f", "+1h", *command("fleet", "work", *address, "--model", MODEL, "--once")]
    variables = environment(HOME=str(tmp_path), FAKETIME_DONT_FAKE_MONOTONIC="1")
    done = subprocess.run(words, env=variables, cwd=CHECKOUT, capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stderr
    own = ["faketime", "-f", "+1h", *command("fleet", "status", "--json", *address)]
    found = json.loads(subprocess.run(own, env=variables, cwd=CHECKOUT, capture_output=True, text=True).stdout)
    assert found["clock_ahead_seconds"] == pytest.approx(3600, abs=60)
    assert (found["images"], found["answers"]) == (0, 3)
    sent = status(tmp_path, *address)
    assert sent["clock_ahead_seconds"] == pytest.approx(0, abs=60)
    now = time.strftime("%Y-%m-%dT%H", time.gmtime())
    assert all(answer["time"][:13] <= now for answer in results(tmp_path, *address))
