"""`serve --mqtt` with a real broker: discovery, states, events and pictures, and hostile messages and names."""

import contextlib
import json
import socket
import struct
import threading
import time
from pathlib import Path

import pytest

from tests.conftest import age, picture
from tests.edge.serve.conftest import MODEL
from tests.support.brokers import (
    Mosquitto,
    listening,
    until,
)
from tests.support.histories import add, add_event
from tests.support.mqtt_servers import NODE, STATUS, Begin, folder_topic, log_of
from tests.support.network_camera import network_camera
from tests.support.watching import Running

pytestmark = pytest.mark.timeout(240)


def test_board_and_folder_are_discovered_with_states(broker: Mosquitto, begin: Begin, state: Path) -> None:
    with listening(broker.port) as listener:
        serving = begin(broker.port)
        until(lambda: any("/folder/" in topic and topic.endswith("/state") for topic in listener.topics()))
        until(lambda: listener.last(STATUS) == b"online")
        config = listener.json(f"homeassistant/device/edge_detect_{NODE}_board/config")
        assert config["availability"] == [{"topic": STATUS}]
        assert listener.json(f"edge-detect/{NODE}/state")["version"] == serving.ask("/api/v1/status").json["version"]
        counts = listener.json(folder_topic(listener, "state"))["counts"]
        assert counts == {"FAKE": 0, "REAL": 1, "UNSURE": 0, "ERROR": 0}
        assert listener.all("/event") == [], "what was answered before the first start is not an event"
        assert serving.ask("/api/v1/status").json["mqtt"] == {
            "broker": f"mqtt://127.0.0.1:{broker.port}",
            "node": NODE,
            "connected": True,
            "trouble": None,
        }
        assert "\nedge_detect_mqtt_connected 1\n" in serving.ask("/metrics").body.decode()
        assert serving.stop() == 0
        until(lambda: listener.last(STATUS) == b"offline")


def test_killed_server_is_offline_by_its_will(broker: Mosquitto, begin: Begin, state: Path) -> None:
    with listening(broker.port) as listener:
        serving = begin(broker.port)
        until(lambda: listener.last(STATUS) == b"online")
        serving.kill()
        until(lambda: listener.last(STATUS) == b"offline")


def test_new_answers_of_a_watcher_become_events_and_a_thumbnail(
    broker: Mosquitto, begin: Begin, state: Path, tmp_path: Path
) -> None:
    inbox = tmp_path / "in"
    inbox.mkdir()
    with listening(broker.port) as listener:
        begin(broker.port)
        until(lambda: listener.last(STATUS) == b"online")
        watcher = Running(tmp_path / "home", "watch", inbox, "--model", MODEL, "--state", state)
        try:
            until(lambda: listener.last(folder_topic(listener, "status")) == b"online")
            (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xffdamaged")
            picture(tmp_path / "bright.png", 240)
            picture(tmp_path / "dark.png", 15)
            for name in ("broken.jpg", "bright.png", "dark.png"):
                age(tmp_path / name).rename(inbox / name)
            events = until(lambda: len(found := listener.all("/event")) >= 3 and found)
            kinds = {event["file"]: event["event_type"] for event in events}
            assert kinds == {"bright.png": "real", "dark.png": "fake", "broken.jpg": "error"}
            until(lambda: listener.json(folder_topic(listener, "state"))["counts"]["FAKE"] == 1)
            until(lambda: (listener.last(folder_topic(listener, "thumbnail")) or b"").startswith(b"\xff\xd8"))
        finally:
            watcher.kill()
        until(lambda: listener.last(folder_topic(listener, "status")) == b"offline")


def test_events_of_a_camera_come_with_its_snapshot(
    broker: Mosquitto, begin: Begin, state: Path, tmp_path: Path
) -> None:
    snapshot = picture(tmp_path / "snapshot.jpg", 100)
    with listening(broker.port) as listener:
        begin(broker.port)
        until(lambda: listener.last(STATUS) == b"online")
        add_event(state, "porch", at=time.time(), snapshot=str(snapshot))
        base = f"edge-detect/{NODE}/camera/porch"
        until(lambda: len(listener.all("/porch/event")) == 2)
        assert [event["event_type"] for event in listener.all("/porch/event")] == ["began", "ended"]
        until(lambda: (listener.last(f"{base}/snapshot") or b"").startswith(b"\xff\xd8"))
        until(lambda: listener.last(f"{base}/status") == b"offline")  # no camera runs
    with listening(broker.port) as late:
        until(lambda: late.last(f"{base}/snapshot"))
        assert f"{base}/state" in late.topics()
        assert f"{base}/event" not in late.topics(), "an event is no state"


def test_running_camera_reports_its_state(broker: Mosquitto, begin: Begin, state: Path, tmp_path: Path) -> None:
    shown = picture(tmp_path / "shown.jpg", 15).read_bytes()
    with listening(broker.port) as listener, network_camera(shown) as source:
        begin(broker.port)
        words = ("--source", source.address(), "--name", "garden", "--model", MODEL, "--state", state)
        camera = Running(tmp_path / "home", "camera", *words)
        try:
            base = f"edge-detect/{NODE}/camera/garden"
            until(lambda: listener.last(f"{base}/status") == b"online")
            seen = until(lambda: (one := listener.json(f"{base}/state")) and one["in_event"] and one)
            assert seen["state"] == "seeing"
            assert seen["label"] == "FAKE"
            assert seen["fake_percent"] > 50
        finally:
            camera.kill()
        until(lambda: listener.last(f"{base}/status") == b"offline")
        assert listener.json(f"{base}/state")["state"] == "stopped"


def test_birth_of_home_assistant_causes_all_to_be_sent_again(broker: Mosquitto, begin: Begin, state: Path) -> None:
    config = f"homeassistant/device/edge_detect_{NODE}_board/config"
    with listening(broker.port) as listener:
        begin(broker.port)
        until(lambda: listener.json(f"edge-detect/{NODE}/state"))
        until(lambda: any("/folder/" in topic and topic.endswith("/status") for topic in listener.topics()))
        sent = sorted(listener.topics())
        listener.received.clear()
        for _ in range(200):  # a client that never stops
            listener.publish("homeassistant/status", b"online")
        until(lambda: sorted(listener.topics() - {"homeassistant/status"}) == sent)
        time.sleep(3)
        assert sum(topic == config for topic, _, _ in listener.received) <= 3


def test_hostile_messages_are_ignored_and_events_go_on(broker: Mosquitto, begin: Begin, state: Path) -> None:
    with listening(broker.port, "edge-detect/#") as listener:
        serving = begin(broker.port)
        until(lambda: listener.last(STATUS) == b"online")
        for payload in (bytes(10_000_000), b"\xff\xfe\x80", b"", b"offline", b'{"a":' * 5000):
            listener.publish("homeassistant/status", payload)
        for topic in ("edge-detect/pi4/state", "edge-detect/pi4/set", "homeassistant/device/x/config"):
            listener.publish(topic, b"\xc3\x28" * 100)
        add(state, "after.jpg", "FAKE", at=time.time())
        until(lambda: listener.topics() and any(topic.endswith("/event") for topic in listener.topics()))
        assert serving.ask("/api/v1/status").json["mqtt"]["connected"]
        assert "lost" not in log_of(serving)


def test_old_broker_that_sends_too_much_is_left(tmp_path: Path) -> None:
    """A broker that ignores what this client accepts: its bytes are not taken into memory."""
    from edge.errors import BrokerError
    from edge.serve.mqtt.connection import Connection
    from edge.serve.mqtt.messages import Message
    from edge.serve.mqtt.settings import settings

    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            client, _ = server.accept()
            with client:
                client.recv(4096)
                client.sendall(b"\x20\x03\x00\x00\x00")  # CONNACK of version 5
                client.sendall(b"\x30\xff\xff\xff\x7f" + struct.pack(">H", 1) + b"a")  # PUBLISH of 256 MB
                client.settimeout(30)
                with contextlib.suppress(ConnectionResetError):
                    while client.recv(4096):
                        pass

        thread = threading.Thread(target=answer)
        thread.start()
        connection = Connection(settings(f"mqtt://127.0.0.1:{server.getsockname()[1]}"))
        connection.open()
        until(lambda: not connection.is_up)
        with pytest.raises(BrokerError, match=r"sent a message of 268435455 bytes, of which 65536 are accepted"):
            connection.publish([Message("a", b"")])
        connection.close()
        thread.join(30)
        assert not thread.is_alive()


def test_hostile_names_become_plain_topics_and_valid_json(
    broker: Mosquitto, begin: Begin, state: Path, tmp_path: Path
) -> None:
    names = ["a+b", "c#d", "e.f", "g>h", "i*j", "ü", "tab\there", "x" * 200]
    with listening(broker.port) as listener:
        begin(broker.port)
        until(lambda: listener.last(STATUS) == b"online")
        for name in names:
            add(state, "bad\udcff+#\x1b[31m.jpg", "FAKE", at=time.time(), source=f"{tmp_path}/{name}")
            add_event(state, f"cam {name}/+/#", at=time.time())
        until(lambda: len({event["id"] for event in listener.all("/event")}) == 3 * len(names))
        for topic, payload, _ in listener.received:
            assert set(topic) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_/"), topic
            assert len(topic) < 160
            if topic.endswith(("/event", "/config")):
                fields = json.dumps(json.loads(payload.decode("ascii")), ensure_ascii=False)
                assert fields.encode("utf-8"), "it has no half of a character"
                assert fields.isprintable()
        kinds = [topic for topic in listener.topics() if topic.endswith("/event")]
        assert len(kinds) == 2 * len(names), "each source has topics of its own"
