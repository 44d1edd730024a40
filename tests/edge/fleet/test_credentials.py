"""Credentials, permissions and TLS: who may enter, and one line for each reason why not."""

import datetime
from pathlib import Path

import nkeys
import pytest

from tests.conftest import MODELS, picture
from tests.support.certificates import Authority
from tests.support.nats import Board, Nats, fleet, results, status, wait_until

MODEL = MODELS / "brightness_int8.tflite"

# What a board needs, and nothing else; docs/fleet.md has the same lines.
BOARD_PERMISSIONS = """
    publish: ["edge.answers.>", "edge.failed.>", "$JS.API.INFO", "$JS.API.STREAM.INFO.*",
              "$JS.API.CONSUMER.INFO.EDGE_WORK.*", "$JS.API.CONSUMER.CREATE.EDGE_WORK.>",
              "$JS.API.CONSUMER.MSG.NEXT.EDGE_WORK.*", "$JS.API.DIRECT.GET.EDGE_ANSWERS.>", "$JS.ACK.EDGE_WORK.>"]
    subscribe: ["_INBOX.>"]
"""


def test_password_of_each_user_is_required(tmp_path: Path) -> None:
    users = 'authorization { users: [{user: "ann", password: "p@ss word"}] }'
    with Nats(tmp_path / "nats", users) as server:
        image = picture(tmp_path / "a.png")
        assert fleet(tmp_path, "submit", image, "--server", server.address, "--user", "ann").returncode == 2
        wrong = fleet(tmp_path, "submit", image, "--server", server.address.replace("//", "//ann:secret@"))
        assert wrong.returncode == 2
        assert wrong.stderr.splitlines() == [f"edge-detect: {server.address}: the server refuses these credentials"]
        right = server.address.replace("//", "//ann:p%40ss%20word@")
        done = fleet(tmp_path, "submit", image, "--server", right)
        assert "1 queued" in done.stderr
        by_options = ("--server", server.address, "--user", "ann")
        assert status(tmp_path, *by_options, "--password", "p@ss word")["images"] == 1
        assert fleet(tmp_path, "status", *by_options, EDGE_DETECT_PASSWORD="p@ss word").returncode == 0


def test_board_with_wrong_password_ends_with_one_line(tmp_path: Path) -> None:
    with Nats(tmp_path / "nats", 'authorization { token: "right" }') as server:
        board = Board(tmp_path, "board", "--server", server.address, "--token", "wrong", "--model", MODEL)
        assert board.process.wait(60) == 2
        assert board.said.splitlines() == [f"edge-detect: {server.address}: the server refuses these credentials"]


def test_key_of_each_board_is_required(tmp_path: Path) -> None:
    seed = nkeys.encode_seed(b"\1" * 32, nkeys.PREFIX_BYTE_USER)
    public = nkeys.from_seed(bytearray(seed)).public_key.decode()
    (tmp_path / "right.nk").write_bytes(seed)
    (tmp_path / "wrong.nk").write_bytes(nkeys.encode_seed(b"\2" * 32, nkeys.PREFIX_BYTE_USER))
    with Nats(tmp_path / "nats", f'authorization {{ users: [{{nkey: "{public}"}}] }}') as server:
        address = ("--server", server.address)
        image = picture(tmp_path / "a.png")
        assert "1 queued" in fleet(tmp_path, "submit", image, *address, "--nkey", tmp_path / "right.nk").stderr
        wrong = fleet(tmp_path, "status", *address, "--nkey", tmp_path / "wrong.nk")
        assert (wrong.returncode, len(wrong.stderr.splitlines())) == (2, 1)
        assert "refuses these credentials" in wrong.stderr
        missing = fleet(tmp_path, "status", *address, "--nkey", tmp_path / "none.nk")
        assert missing.stderr.endswith("none.nk: no such file or directory\n")


def test_board_works_with_the_least_permissions(tmp_path: Path) -> None:
    users = (
        'authorization { users: [{user: "owner", password: "o"},'
        f' {{user: "board", password: "b", permissions: {{{BOARD_PERMISSIONS}}}}}] }}'
    )
    with Nats(tmp_path / "nats", users) as server:
        owner = ("--server", server.address, "--user", "owner", "--password", "o")
        fleet(tmp_path, "submit", picture(tmp_path / "a.png"), *owner)
        login = ("--server", server.address, "--user", "board", "--password", "b")
        board = Board(tmp_path, "board", *login, "--model", MODEL, "--once")
        assert board.process.wait(60) == 0, board.said
        assert "ermission" not in board.said
        assert [Path(answer["path"]).name for answer in results(tmp_path, *owner)] == ["a.png"]
        refused = fleet(tmp_path, "submit", picture(tmp_path / "b.png", seed=1), *login)
        assert refused.returncode == 2
        assert 'permissions violation for publish to "edge.work.' in refused.stderr.splitlines()[-1]


def test_tls_with_certificates_of_both_sides(tmp_path: Path) -> None:
    authority, other = Authority(tmp_path / "ca"), Authority(tmp_path / "other", "other")
    certificate, key = authority.sign("server")
    tls = f'tls {{ cert_file: "{certificate}", key_file: "{key}", ca_file: "{authority.file}", verify: true }}'
    with Nats(tmp_path / "nats", tls) as server:
        address = ("--server", server.address)
        own, own_key = authority.sign("board")
        login = (*address, "--tls-ca", authority.file, "--tls-cert", own, "--tls-key", own_key)
        assert "1 queued" in fleet(tmp_path, "submit", picture(tmp_path / "a.png"), *login).stderr
        board = Board(tmp_path, "board", *login, "--model", MODEL)
        wait_until(lambda: len(results(tmp_path, *login)) == 1, lambda: board.said)
        server.kill()
        server.start()
        fleet(tmp_path, "submit", picture(tmp_path / "b.png", seed=1), *login)
        wait_until(lambda: len(results(tmp_path, *login)) == 2, lambda: board.said)
        assert board.stop() == 0
        untrusted = fleet(tmp_path, "status", *address, "--tls-ca", other.file)
        assert untrusted.returncode == 2
        assert "its certificate is not trusted" in untrusted.stderr
        assert "--tls-ca" in untrusted.stderr
        assert len(untrusted.stderr.splitlines()) == 1
        nameless = fleet(tmp_path, "status", *address, "--tls-ca", authority.file)
        assert (nameless.returncode, len(nameless.stderr.splitlines())) == (2, 1)
        swapped = fleet(tmp_path, "status", *address, "--tls-ca", own_key)
        assert swapped.stderr.endswith("board.key: holds no certificate in PEM\n")


def test_certificate_of_tomorrow_reports_the_clock(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    certificate, key = authority.sign("server", datetime.timedelta(hours=1))  # as with a clock an hour slow
    with Nats(tmp_path / "nats", f'tls {{ cert_file: "{certificate}", key_file: "{key}" }}') as server:
        done = fleet(tmp_path, "status", "--server", server.address, "--tls-ca", authority.file)
        assert done.returncode == 2
        assert "not yet valid; this board's clock says 2" in done.stderr
        assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("http://host", "invalid address; write nats://host:4222, or tls://host:4222"),
        ("nats://ann:secret@host:port", "invalid address: Port could not be cast to integer value as 'port'"),
        ("nats://ann:secret@", "invalid address"),
        ("nats://127.0.0.1:9", "connection refused"),
        ("nats://no-such-host.invalid", "not known"),
    ],
)
def test_invalid_server_reports_one_line_without_the_password(tmp_path: Path, address: str, reason: str) -> None:
    done = fleet(tmp_path, "status", "--server", address)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert reason in done.stderr
    assert "secret" not in done.stderr


def test_server_without_jetstream_reports_the_setting(tmp_path: Path) -> None:
    server = Nats(tmp_path / "nats")
    settings = tmp_path / "nats" / "nats.conf"
    settings.write_text(f'listen: "127.0.0.1:{server.port}"\n')
    with server:
        done = fleet(tmp_path, "status", "--server", server.address)
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
        assert "JetStream is not enabled: add `jetstream {" in done.stderr
