"""Discovery payloads, names and events, without a broker. The real Home Assistant checks them in
test_homeassistant; here they are held against what its documentation allows."""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.serve.cameras import Running
from edge.serve.history import History
from edge.serve.mqtt import discovery, messages
from edge.serve.mqtt.observation import Observation
from edge.serve.mqtt.progress import Progress
from edge.serve.mqtt.settings import broker, is_topic, settings
from edge.serve.mqtt.topics import BIRTH, BOARD, CAMERA, FOLDER, Place, Source
from edge.store import feed
from edge.store.history import Item
from tests.support.brokers import Mosquitto, listening, until
from tests.support.histories import add, add_event, verdict

# https://www.home-assistant.io/integrations/mqtt/ and the pages of the platforms, as of 2026.2: the keys of each.
DEVICE = {"identifiers", "name", "manufacturer", "model", "sw_version", "via_device", "configuration_url"}
ROOT = {"device", "origin", "availability", "availability_mode", "state_topic", "qos", "components"}
ENTITY = {"platform", "name", "unique_id", "entity_category", "state_topic"}
PLATFORMS = {
    "sensor": {
        "value_template", "device_class", "state_class", "unit_of_measurement", "expire_after", "options",
        "suggested_display_precision",
    },
    "binary_sensor": {"value_template", "device_class", "expire_after", "payload_on", "payload_off"},
    "event": {"event_types"},
    "image": {"image_topic", "content_type"},
}  # fmt: skip
CLASSES = {"sensor": {"temperature", "data_size", "enum"}, "binary_sensor": {"problem", "running"}}
UNITS = {"temperature": {"°C"}, "data_size": {"MB"}}
TOPIC = re.compile(r"[A-Za-z0-9_/-]+")

BOARD_PLACE = Place("edge-detect", "pi4")
PORCH = Source(CAMERA, "porch")
INBOX = Source(FOLDER, "/srv/in box")


def place_of(source: Source) -> Place:
    return Place("edge-detect", "pi4", source.kind, source.id)


def payloads() -> Iterator[tuple[Place, dict[str, Any]]]:
    for has in (False, True):
        url = "http://pi4.local:8642/" if has else None
        yield BOARD_PLACE, discovery.board(BOARD_PLACE, url, has_celsius=has, has_throttling=has)
    for source in (PORCH, INBOX):
        yield place_of(source), discovery.source(place_of(source), source)


@pytest.mark.parametrize(("place", "payload"), list(payloads()))
def test_payload_follows_the_documentation(place: Place, payload: dict[str, Any]) -> None:
    assert payload.keys() <= ROOT
    assert payload["device"].keys() <= DEVICE
    assert re.fullmatch(r"[A-Za-z0-9_-]+", place.config.split("/")[2]), "Home Assistant ignores other topics"
    assert payload["origin"]["name"]
    ids = set()
    for component in payload["components"].values():
        platform = component["platform"]
        assert component.keys() <= ENTITY | PLATFORMS[platform]
        assert component["name"]
        ids.add(component["unique_id"])
        kind = component.get("device_class")
        assert kind is None or kind in CLASSES[platform]
        if kind in UNITS:
            assert component["unit_of_measurement"] in UNITS[kind]
        if kind == "enum":
            assert component["options"]
            assert not component.keys() & {"state_class", "unit_of_measurement"}
        if platform == "event":
            assert component["event_types"]
            assert component["state_topic"].startswith(place.base)
        if platform == "image":
            assert component["image_topic"] in place.retained
        assert component.get("entity_category") in (None, "diagnostic")
    assert len(ids) == len(payload["components"])
    json.dumps(payload, allow_nan=False)


def test_payload_of_a_camera_is_available_only_with_board_and_camera() -> None:
    payload = discovery.source(place_of(PORCH), PORCH)
    assert payload["availability"] == [
        {"topic": "edge-detect/pi4/status"},
        {"topic": "edge-detect/pi4/camera/porch/status"},
    ]
    assert payload["availability_mode"] == "all"
    assert payload["device"]["via_device"] == "edge_detect_pi4_board"
    assert place_of(PORCH).config == "homeassistant/device/edge_detect_pi4_camera_porch/config"
    assert payload["state_topic"] == "edge-detect/pi4/camera/porch/state"


def test_every_field_of_a_template_is_in_the_state() -> None:
    states = {
        BOARD: messages.board_state(celsius=None, throttled=None, waiting=0, free_bytes=None, version="1"),
        CAMERA: messages.camera_state({}),
        FOLDER: messages.folder_state({}, {}, None),
    }
    for place, payload in payloads():
        for component in payload["components"].values():
            for path in re.findall(r"value_json\.([\w.]+)", component.get("value_template", "")):
                found: Any = states[place.kind]
                for part in path.split("."):
                    assert part in found
                    found = found[part]


@given(st.text(max_size=300), st.text(max_size=300))
def test_any_two_names_have_different_plain_topics(one: str, other: str) -> None:
    sources = {Source(kind, name) for kind in (CAMERA, FOLDER) for name in (one, other) if encodable(name)}
    places = {place_of(source) for source in sources}
    assert len(places) == len(sources)
    for source in sources:
        place = place_of(source)
        for topic in (place.config, *place.retained, place.topic("event")):
            assert TOPIC.fullmatch(topic)
            assert len(topic) < 120
        assert place.id.strip("-_") or source.kind == CAMERA
        assert source.title.isprintable()


def encodable(name: str) -> bool:
    try:
        name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


@pytest.mark.parametrize("kind", [CAMERA, FOLDER, BOARD])
def test_every_retained_topic_is_one_that_is_published(kind: str) -> None:
    place = Place("p", "n", kind, "" if kind == BOARD else "i")
    payload = next(payload for found, payload in payloads() if found.kind == kind)
    assert place.retained[0] == place.config
    published = json.dumps(payload)
    for topic in place.retained[1:]:
        name = topic.rpartition("/")[2]
        assert f"/{name}" in published


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({}, ("stopped", None, None, False)),
        ({"state": "seeing", "label": "FAKE", "score": 0.1, "in_event": True}, ("seeing", "FAKE", 90.0, True)),
        ({"state": "resting", "label": "FAKE", "score": 0.1, "in_event": False}, ("resting", None, None, False)),
        (
            {"state": "other", "label": 5, "score": "x", "frames_per_second": float("nan")},
            ("waiting", None, None, False),
        ),
        ({"state": "seeing", "label": "x" * 9999, "score": float("inf")}, ("seeing", None, None, False)),
    ],
)
def test_state_of_a_camera(status: dict[str, Any], expected: tuple[Any, ...]) -> None:
    state = messages.camera_state(status)
    assert (state["state"], state["label"], state["fake_percent"], state["in_event"]) == expected
    messages.as_json(state)


def items(folder: Path) -> list[Item]:
    return feed.following(folder / "ledger.sqlite3", None, 100).items


def test_event_of_a_file_has_its_answer_as_attributes(tmp_path: Path) -> None:
    add(tmp_path, "a.jpg", "FAKE", at=1.5)
    add(tmp_path, "b.jpg", None, at=2.5)
    first, second = (messages.event(item) for item in items(tmp_path))
    assert first is not None
    assert second is not None
    assert first["event_type"] == "fake"
    assert (first["file"], first["path"], first["time"]) == ("a.jpg", "/in/a.jpg", "1970-01-01T00:00:01.500Z")
    assert second["event_type"] == "error"
    assert second["error"] == "damaged image data"


def test_long_and_unprintable_texts_are_shortened(tmp_path: Path) -> None:
    provenance = json.dumps(
        [{"kind": "text", "says": "generated", "program": "\x1b[31m" + "x" * 5000, "detail": "", "verified": None}] * 50
    )
    add(tmp_path, "\udcff" + "n" * 200 + "\n.jpg", at=1, provenance=provenance)
    (item,) = items(tmp_path)
    fields = messages.event(item)
    assert fields is not None
    assert len(fields["provenance"]) == messages.MAX_EVIDENCE
    payload = messages.as_json(fields)
    assert len(payload) < 8000
    assert json.loads(payload.decode("ascii"))["file"].startswith("\\udcff")


def test_cursor_passes_single_frames_and_leaves_nothing_out(tmp_path: Path) -> None:
    from edge.store.ledger import Ledger
    from edge.verdict import FRAME, CameraEvent

    add(tmp_path, "a.jpg", at=1)
    with Ledger(tmp_path) as ledger:
        for number in range(7):
            ledger.record_event(verdict("porch"), CameraEvent(FRAME, float(number)), "m", f"frame{number}".encode())
    add_event(tmp_path, "porch", at=3)
    found, cursor = list[int](), None
    while (step := feed.following(tmp_path / "ledger.sqlite3", cursor, 3)).last is not None:
        found += [item.recorded.id for item in step.items]
        cursor = step.last
    assert found == [1, 9, 10]
    assert cursor == feed.end(tmp_path / "ledger.sqlite3")


def test_cursor_of_another_ledger_begins_again(tmp_path: Path) -> None:
    add(tmp_path, "a.jpg", at=1)
    assert feed.following(tmp_path / "ledger.sqlite3", (1, 1.0), 9).items == []
    assert len(feed.following(tmp_path / "ledger.sqlite3", (1, 2.0), 9).items) == 1
    assert len(feed.following(tmp_path / "ledger.sqlite3", (5, 1.0), 9).items) == 1


def test_progress_survives_a_restart_and_refuses_what_is_damaged(tmp_path: Path) -> None:
    progress = Progress(tmp_path / "mqtt.json")
    assert progress.is_first
    progress.advance("01234567", 5, 1.5)
    progress.saw(("mqtt://a:1883", place_of(PORCH)))
    progress.save(now=True)
    again = Progress(tmp_path / "mqtt.json")
    assert not again.is_first
    assert again.cursors == {"01234567": (5, 1.5)}
    assert again.devices == progress.devices
    for damage in (
        b"",
        b"[]",
        b'{"format": 2}',
        b"\xff",
        b"[" * 100_000,
        b'{"format": 1, "cursors": 5, "devices": []}',
    ):
        (tmp_path / "mqtt.json").write_bytes(damage)
        found = Progress(tmp_path / "mqtt.json")
        assert found.is_damaged
        assert found.cursors == {}


@given(st.text(min_size=1, max_size=30).filter(lambda text: "\0" not in text and encodable(text)))
def test_any_password_can_be_written_in_an_address(password: str) -> None:
    from urllib.parse import quote

    try:
        written = quote(password, safe="")
    except UnicodeEncodeError:
        return
    found = broker(f"mqtt://user:{written}@host")
    assert found.password == password
    assert written not in f"{found}{found!r}" or written in "mqtt://host:1883 is_secure=False Broker(port="


def test_address_with_everything() -> None:
    found = broker("MQTTS://a%40b:p%3A%2F@[fe80::1]:1234/")
    assert (found.host, found.port, found.is_secure) == ("fe80::1", 1234, True)
    assert (found.user, found.password) == ("a@b", "p:/")
    assert str(found) == "mqtts://[fe80::1]:1234"
    assert settings("mqtt://h").prefix == "edge-detect"


@pytest.mark.parametrize("text", ["", "+", "a/#", "$SYS/x", "/a", "a/", "a\n", "a\0", "x" * 101])
def test_prefix_that_is_no_topic_is_refused(text: str) -> None:
    assert not is_topic(text)


def test_birth_topic_is_the_one_of_the_discovery_prefix() -> None:
    assert BIRTH == "homeassistant/status"


def test_source_that_is_gone_is_removed_from_the_broker(tmp_path: Path) -> None:
    from edge.serve.mqtt.publisher import Publisher

    found = Mosquitto(tmp_path / "broker").start()
    running: list[Running] = [Running("0" * 16, "porch", True, {"state": "seeing"})]
    ledger = tmp_path / "state" / "ledger.sqlite3"
    add(ledger.parent, "a.jpg", at=time.time())
    ledgers = History(lambda: [ledger] if ledger.exists() else [])
    publisher = Publisher(
        settings(f"mqtt://127.0.0.1:{found.port}", node="pi4"),
        Observation(ledgers, lambda: running, tmp_path),
        lambda: ledgers.ledgers,
        tmp_path / "mqtt.json",
        {CAMERA: lambda item: b"\xff\xd8", FOLDER: lambda item: b"\xff\xd8"},
        gone_seconds=0.5,
    )
    folder = place_of(Source(FOLDER, "/in"))
    try:
        with listening(found.port) as listener, publisher:
            until(lambda: listener.last(folder.topic("thumbnail")))
            until(lambda: listener.last(place_of(PORCH).topic("status")) == b"online")
            running.clear()
            until(lambda: listener.last(place_of(PORCH).config) == b"")
            assert listener.last(folder.config)
            for file in ledger.parent.iterdir():
                file.unlink()
            own = [folder.config, *map(folder.topic, ("state", "status", "thumbnail"))]
            until(lambda: [listener.last(topic) for topic in own] == [b""] * len(own))
        with listening(found.port, "#") as late:
            time.sleep(0.5)
            assert {topic for topic in late.topics() if "/pi4/" in topic or "pi4" in topic} == {
                "homeassistant/device/edge_detect_pi4_board/config",
                "edge-detect/pi4/state",
                "edge-detect/pi4/status",
            }
    finally:
        found.kill()


def test_ledger_that_cannot_be_read_removes_nothing(tmp_path: Path) -> None:
    add(tmp_path / "one", "a.jpg", at=time.time())
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "ledger.sqlite3").write_bytes(b"x" * 5000)
    ledgers = History(lambda: sorted(tmp_path.glob("*/ledger.sqlite3")))
    found = Observation(ledgers, lambda: [], tmp_path).sources()
    assert not found.is_complete
    assert {source.name for source in found.all} == {"/in"}


def test_process_that_does_not_answer_still_counts_as_running(tmp_path: Path) -> None:
    from edge.daemon.status import source_id

    add(tmp_path, "a.jpg", at=1)
    hanging = Running(source_id("/in"), "123-0", False, {}, "does not answer")
    ledgers = History(lambda: [tmp_path / "ledger.sqlite3"])
    found = Observation(ledgers, lambda: [hanging], tmp_path).sources()
    assert found.running == {Source(FOLDER, "/in"): {}}
