"""The real core of Home Assistant finds the board, and shows every state: entities by name, after each step."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import age, picture
from tests.edge.serve.conftest import MODEL
from tests.support.brokers import Mosquitto
from tests.support.histories import add, add_event
from tests.support.home_assistant import HomeAssistant
from tests.support.network_camera import network_camera
from tests.support.serving import Serving
from tests.support.watching import Running

pytestmark = [pytest.mark.homeassistant, pytest.mark.timeout(2400)]

BOARD = "edge_detect_pi4_board"
CAMERA = "edge_detect_pi4_camera_porch"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    found = Mosquitto(tmp_path / "broker")
    yield found.start()
    found.kill()


def served(tmp_path: Path, port: int) -> Serving:
    words = ("--mqtt", f"mqtt://127.0.0.1:{port}", "--mqtt-node", "pi4", "--state", tmp_path / "state")
    return Serving(tmp_path / "home", "--model", MODEL, *words, "--host", "0.0.0.0").ready()


def folder_id(home: HomeAssistant) -> str:
    """The identifier of the only watched folder."""
    found = [name for name in home.seen["devices"] if "_folder_" in name]
    return found[0] if len(found) == 1 else ""


def test_home_assistant_shows_devices_entities_and_states(broker: Mosquitto, tmp_path: Path) -> None:
    state, inbox = tmp_path / "state", tmp_path / "inbox"
    inbox.mkdir()
    add(state, "old.jpg", at=time.time() - 100, source=str(inbox))
    running: list[Any] = []
    home = HomeAssistant(tmp_path / "config", broker.port)
    try:
        serving = served(tmp_path, broker.port)
        running.append(serving)
        # What it finds.
        home.until(lambda home: folder_id(home) and BOARD in home.seen["devices"])
        folder = folder_id(home)
        home.until(lambda home: home.state(f"{folder}_verdict") == "REAL")
        board = home.seen["devices"][BOARD]
        assert (board["name"], board["manufacturer"]) == ("edge-detect pi4", "edge-detect")
        assert board["url"].startswith("http://")
        assert home.seen["devices"][folder] == {
            "name": "inbox",
            "model": "Watched folder",
            "manufacturer": "edge-detect",
            "via": True,
            "url": None,
        }
        names = {id_.removeprefix(f"{folder}_"): one["entity_id"] for id_, one in home.seen["entities"].items()}
        assert names["verdict"] == "sensor.inbox_last_verdict"
        assert names["fake"] == "sensor.inbox_fake_images"
        assert names["error"] == "sensor.inbox_images_without_verdict"
        assert names["events"] == "event.inbox_event"
        assert names["thumbnail"] == "image.inbox_last_image"
        assert names["running"] == "binary_sensor.inbox_watcher"
        assert home.entity(f"{BOARD}_free")["entity_id"] == "sensor.edge_detect_pi4_free_disk_space"
        assert home.state(f"{folder}_real") == "1"
        assert home.state(f"{folder}_running") == "off"
        assert home.state(f"{folder}_events") == "unknown", "nothing new was answered"
        # A watcher and a new image.
        watcher = Running(tmp_path / "home", "watch", inbox, "--model", MODEL, "--state", state)
        running.append(watcher)
        home.until(lambda home: home.state(f"{folder}_running") == "on")
        age(picture(tmp_path / "dark.png", 15)).rename(inbox / "dark.png")
        event = home.until(
            lambda home: (one := home.entity(f"{folder}_events"))["attributes"].get("event_type") == "fake" and one
        )
        assert event["attributes"]["file"] == "dark.png"
        home.until(lambda home: home.state(f"{folder}_fake") == "1" and home.state(f"{folder}_verdict") == "FAKE")
        home.until(lambda home: home.state(f"{folder}_thumbnail") not in ("unknown", "unavailable"))
        # A camera, first only its event, then its process.
        add_event(state, "porch", at=time.time(), snapshot=str(picture(tmp_path / "seen.jpg", 100)))
        home.until(lambda home: f"{CAMERA}_events" in home.seen["entities"])
        assert home.state(f"{CAMERA}_events") == "unavailable", "no camera runs"
        shown = picture(tmp_path / "shown.jpg", 15).read_bytes()
        with network_camera(shown) as source:
            words = ("--source", source.address(), "--name", "porch", "--model", MODEL, "--state", state)
            camera = Running(tmp_path / "home", "camera", *words)
            running.append(camera)
            home.until(lambda home: home.state(f"{CAMERA}_event") == "on")
            assert home.entity(f"{CAMERA}_event")["entity_id"] == "binary_sensor.porch_event_in_progress"
            home.until(lambda home: home.entity(f"{CAMERA}_events")["attributes"].get("event_type") == "began")
            assert float(home.state(f"{CAMERA}_probability") or 0) > 50
            assert home.state(f"{CAMERA}_label") == "FAKE"
            assert home.state(f"{CAMERA}_state") == "seeing"
            home.until(lambda home: home.state(f"{CAMERA}_snapshot") not in ("unknown", "unavailable"))
            camera.kill()
            home.until(lambda home: home.state(f"{CAMERA}_event") == "unavailable")
        # The server is killed, and comes back.
        serving.kill()
        home.until(lambda home: {one["state"] for one in home.seen["entities"].values()} == {"unavailable"})
        serving = served(tmp_path, broker.port)
        running.append(serving)
        home.until(lambda home: home.state(f"{folder}_fake") == "1")
        # The broker is killed, and has lost all.
        broker.restart()
        home.until(lambda home: home.state(f"{folder}_fake") == "unavailable")
        home.until(lambda home: home.state(f"{folder}_fake") == "1")
        # Home Assistant itself starts again, when the broker has lost all.
        home.kill()
        home.start()
        home.until(lambda home: home.state(f"{folder}_fake") == "1" and home.state(f"{folder}_running") == "on")
        watcher.kill()
        home.until(lambda home: home.state(f"{folder}_running") == "off")
        # The board gets another name: the devices of the former one are gone.
        assert serving.stop() == 0
        words = ("--mqtt", f"mqtt://127.0.0.1:{broker.port}", "--mqtt-node", "other", "--state", state)
        running.append(Serving(tmp_path / "home", "--model", MODEL, *words).ready())
        home.until(lambda home: home.seen["devices"] and not [name for name in home.seen["devices"] if "pi4" in name])
        assert {id_.split("_")[2] for id_ in home.seen["entities"]} == {"other"}
    finally:
        for one in running:
            one.kill()
        home.kill()
        shutil.rmtree(tmp_path / "config", ignore_errors=True)
    assert not [line for line in home.errors if line.startswith(("ERROR", "Traceback")) or "edge" in line]
