"""`serve --mqtt`: passwords, TLS, refusals, limits and names of a real broker, options, and a slow connection."""

import subprocess
import time
from pathlib import Path

import pytest

from tests.conftest import command, environment
from tests.edge.serve.conftest import MODEL
from tests.support.brokers import (
    PASSWORD,
    USER,
    WRITTEN_PASSWORD,
    Mosquitto,
    Throttle,
    certificates,
    listening,
    until,
)
from tests.support.histories import add, add_event
from tests.support.mqtt_servers import NODE, STATUS, Begin, log_of
from tests.support.serving import Serving

pytestmark = pytest.mark.timeout(240)


def test_password_is_accepted_and_shown_nowhere(begin: Begin, state: Path, tmp_path: Path) -> None:
    broker = Mosquitto(tmp_path / "broker", users={USER: PASSWORD}).start()
    try:
        with listening(broker.port, user=USER) as listener:
            serving = begin(broker.port, login=f"{USER}:{WRITTEN_PASSWORD}@")
            until(lambda: listener.last(STATUS) == b"online")
            shown = [serving.ask(path).body for path in ("/api/v1/status", "/metrics", "/", "/status", "/cameras")]
            broker.kill()
            until(lambda: not serving.ask("/api/v1/status").json["mqtt"]["connected"])
            until(lambda: "trying again" in log_of(serving))
            shown += [serving.ask("/api/v1/status").body, log_of(serving).encode()]
            shown += [payload for _, payload, _ in listener.received]
            shown += [file.read_bytes() for file in (state / "serve").iterdir() if file.is_file()]
            for text in shown:
                assert PASSWORD.encode() not in text
                assert WRITTEN_PASSWORD.encode() not in text
    finally:
        broker.kill()


@pytest.mark.parametrize("login", ["", f"{USER}:wrong@", "nobody:x@"])
def test_refused_login_is_reported_in_one_line_and_the_server_serves(
    begin: Begin, state: Path, tmp_path: Path, bright: Path, login: str
) -> None:
    broker = Mosquitto(tmp_path / "broker", users={USER: PASSWORD}).start()
    try:
        serving = begin(broker.port, login=login)
        until(lambda: "; trying again" in log_of(serving))
        time.sleep(4)  # further attempts
        (line,) = [line for line in serving.lines if "mqtt" in line]
        how = "user and password" if login else "connections without user and password"
        assert f"mqtt://127.0.0.1:{broker.port}: refuses {how}: " in line
        assert serving.classify(bright).status == 200
        status = serving.ask("/api/v1/status").json["mqtt"]
        assert not status["connected"]
        assert "refuses" in status["trouble"]
        assert "\nedge_detect_mqtt_connected 0\n" in serving.ask("/metrics").body.decode()
    finally:
        broker.kill()


def secure(folder: Path, files: tuple[Path, Path, Path]) -> Mosquitto:
    """A broker with TLS."""
    _, certificate, key = files
    return Mosquitto(folder, f"certfile {certificate}", f"keyfile {key}", users={USER: PASSWORD}).start()


def test_tls_with_the_right_authority(begin: Begin, state: Path, tmp_path: Path) -> None:
    files = certificates(tmp_path / "pki")
    broker = secure(tmp_path / "broker", files)
    try:
        with listening(broker.port, user=USER, ca=files[0]) as listener:
            begin(broker.port, "--mqtt-ca", files[0], login=f"{USER}:{WRITTEN_PASSWORD}@", scheme="mqtts")
            until(lambda: listener.last(STATUS) == b"online")
    finally:
        broker.kill()


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("other authority", "give the certificate of its authority with --mqtt-ca"),
        ("system's authorities", "give the certificate of its authority with --mqtt-ca"),
        ("other host", "not accepted: IP address mismatch"),
        ("expired", "certificate has expired; or the clock of this board is wrong"),
        ("clock an hour behind", "not yet valid; is the clock of this board right"),
        ("no TLS", "does it expect TLS (mqtts://)?"),
        ("TLS to a plain broker", "is this its port for TLS?"),
    ],
)
def test_tls_that_fails_is_explained_and_no_password_is_sent(
    begin: Begin, state: Path, tmp_path: Path, case: str, words: str
) -> None:
    days = {"expired": (-30, -1), "clock an hour behind": (1, 30)}.get(case, (-1, 30))
    files = certificates(tmp_path / "pki", days=days, host="127.0.0.2" if case == "other host" else "127.0.0.1")
    other = certificates(tmp_path / "other")[0]
    is_plain = case == "TLS to a plain broker"
    broker = Mosquitto(tmp_path / "broker").start() if is_plain else secure(tmp_path / "broker", files)
    try:
        options = ["--mqtt-ca", str(other if case == "other authority" else files[0])]
        if case in ("system's authorities", "no TLS"):
            options = []
        login = f"{USER}:{WRITTEN_PASSWORD}@"
        serving = begin(broker.port, *options, login=login, scheme="mqtt" if case == "no TLS" else "mqtts")
        until(lambda: words in log_of(serving))
        assert PASSWORD not in log_of(serving)
        assert len([line for line in serving.lines if "127.0.0.1:" in line and "mqtt" in line]) == 1
    finally:
        broker.kill()


def test_messages_that_the_broker_refuses_are_reported_and_sent_later(
    begin: Begin, state: Path, tmp_path: Path
) -> None:
    rules = tmp_path / "acl"
    rules.write_text(f"user {USER}\ntopic readwrite homeassistant/#\nuser all\ntopic readwrite #\n")
    rules.chmod(0o600)
    broker = Mosquitto(tmp_path / "broker", f"acl_file {rules}", users={USER: PASSWORD, "all": PASSWORD}).start()
    try:
        with listening(broker.port, user="all") as listener:
            serving = begin(broker.port, login=f"{USER}:{WRITTEN_PASSWORD}@")
            until(lambda: "refuses messages: not authorized" in log_of(serving))
            add(state, "waits.jpg", "FAKE", at=time.time())
            rules.write_text(f"user {USER}\ntopic readwrite #\nuser all\ntopic readwrite #\n")
            broker.restart()
            until(lambda: [event["file"] for event in listener.all("/event")] == ["waits.jpg"])
    finally:
        broker.kill()


def test_picture_above_the_limit_of_the_broker_is_left_out_with_one_line(
    begin: Begin, state: Path, tmp_path: Path
) -> None:
    from PIL import Image

    broker = Mosquitto(tmp_path / "broker", "max_packet_size 20000").start()
    snapshot = tmp_path / "large.jpg"
    Image.effect_noise((1200, 900), 100).convert("RGB").save(snapshot)
    try:
        with listening(broker.port) as listener:
            serving = begin(broker.port)
            until(lambda: listener.last(STATUS) == b"online")
            add_event(state, "porch", at=time.time(), snapshot=str(snapshot))
            until(lambda: "accepts messages of 20000 bytes" in log_of(serving))
            add(state, "after.jpg", at=time.time())
            until(lambda: len(listener.all("/event")) == 3)
            assert not any(topic.endswith("/snapshot") for topic in listener.topics())
    finally:
        broker.kill()


def test_second_board_of_the_same_name_is_explained(
    broker: Mosquitto, begin: Begin, state: Path, tmp_path: Path
) -> None:
    with listening(broker.port) as listener:
        first = begin(broker.port)
        until(lambda: listener.last(STATUS) == b"online")
        words = ("--mqtt", f"mqtt://127.0.0.1:{broker.port}", "--mqtt-node", NODE)
        second = Serving(tmp_path / "second", "--model", MODEL, *words).ready()
        try:
            until(lambda: "has another board the same --mqtt-node?" in log_of(first))
            time.sleep(5)
            assert len(first.lines) + len(second.lines) < 16, "they do not fill the log"
        finally:
            second.kill()


def test_renamed_board_removes_what_it_had_left(broker: Mosquitto, begin: Begin, state: Path) -> None:
    with listening(broker.port) as listener:
        serving = begin(broker.port)
        until(lambda: any("/folder/" in topic and topic.endswith("/state") for topic in listener.topics()))
        time.sleep(1)
        assert serving.stop() == 0
        begin(broker.port, "--mqtt-node", "new", "--mqtt-prefix", "home/edge")
        until(lambda: listener.last(f"homeassistant/device/edge_detect_{NODE}_board/config") == b"")
    with listening(broker.port, "#") as late:
        until(lambda: late.last("home/edge/new/status") == b"online")
        time.sleep(0.5)
        assert not [topic for topic in late.topics() if NODE in topic]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--mqtt", "http://x"), "not the address of a broker"),
        (("--mqtt", "mqtt://"), "not the address of a broker"),
        (("--mqtt", f"mqtt://u:{PASSWORD}@host"), "# is written %23"),
        (("--mqtt", "mqtt://u:%ff@host"), "not UTF-8"),
        (("--mqtt", "mqtt://host:99999"), "invalid port"),
        (("--mqtt", "mqtt://:secret@host"), "a password needs a user"),
        (("--mqtt", "mqtt://host/\x1b[31m"), "not the address of a broker"),
        (("--mqtt", "mqtt://h", "--mqtt-prefix", "a/#"), "--mqtt-prefix a/#"),
        (("--mqtt", "mqtt://h", "--mqtt-prefix", "$SYS"), "--mqtt-prefix $SYS"),
        (("--mqtt", "mqtt://h", "--mqtt-prefix", "x" * 200), "not the beginning of a topic"),
        (("--mqtt", "mqtt://h", "--mqtt-node", "a+b"), "--mqtt-node a+b"),
        (("--mqtt", "mqtt://h", "--mqtt-ca", "missing.pem"), "is not encrypted"),
        (("--mqtt", "mqtts://h", "--mqtt-ca", "missing.pem"), "missing.pem: no such file"),
        (("--mqtt", "mqtts://h", "--mqtt-ca", "garbage.pem"), "holds no certificate"),
    ],
)
def test_invalid_option_ends_with_one_line_without_the_password(
    tmp_path: Path, options: tuple[str, ...], words: str
) -> None:
    (tmp_path / "garbage.pem").write_bytes(b"\xff garbage")
    done = subprocess.run(
        command("serve", "--port", "0", "--model", MODEL, *options),
        cwd=tmp_path,
        env=environment(HOME=str(tmp_path)),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert words in line
    assert "secret" not in line
    assert PASSWORD not in line
    assert "\x1b" not in line


def test_missing_package_is_reported_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "paho.py").write_text("raise ModuleNotFoundError(\"No module named 'paho'\", name='paho')")
    variables = environment(HOME=str(tmp_path))
    variables["PYTHONPATH"] = f"{tmp_path}:{variables['PYTHONPATH']}"
    words = command("serve", "--port", "0", "--model", MODEL, "--mqtt", "mqtt://127.0.0.1")
    done = subprocess.run(words, env=variables, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "pip install 'edge-detect[mqtt]'" in line


def test_settings_file_sets_the_broker(broker: Mosquitto, state: Path, tmp_path: Path) -> None:
    file = tmp_path / "home" / ".config" / "edge-detect.toml"
    file.parent.mkdir(parents=True)
    address = f"mqtt://127.0.0.1:{broker.port}"
    file.write_text(f'[serve]\nmqtt = "{address}"\nmqtt-node = "{NODE}"\nmqtt-prefix = "a/b"\nmodel = "{MODEL}"\n')
    with listening(broker.port, "a/#") as listener:
        serving = Serving(tmp_path / "home", "--state", state)
        try:
            until(lambda: listener.last(f"a/b/{NODE}/status") == b"online")
        finally:
            serving.kill()


def test_slow_broker_gets_everything_and_the_server_answers_meanwhile(
    broker: Mosquitto, begin: Begin, state: Path, bright: Path
) -> None:
    proxy = Throttle(broker.port, 20_000)
    try:
        with listening(broker.port) as listener:
            serving = begin(proxy.port)
            until(lambda: listener.last(STATUS) == b"online")
            ids = {add(state, f"{number}.jpg", at=time.time()) for number in range(60)}
            proxy.bytes_per_second = 0
            time.sleep(3)
            began = time.monotonic()
            assert serving.classify(bright).status == 200
            assert serving.ask("/api/v1/status").status == 200
            assert time.monotonic() - began < 5
            proxy.bytes_per_second = 20_000
            until(lambda: {int(event["id"].partition("-")[2]) for event in listener.all("/event")} >= ids)
    finally:
        proxy.close()
