"""`serve --mqtt`: no answer is lost while the broker or the server is away, and over kills of both."""

import json
import random
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.brokers import (
    Listener,
    Mosquitto,
    listening,
    until,
)
from tests.support.histories import add
from tests.support.mqtt_servers import NODE, STATUS, Begin, log_of

pytestmark = pytest.mark.timeout(240)


def as_numbers(listener: Listener) -> list[int]:
    """The ids of the reported answers, in the order of their events."""
    return [int(json.loads(payload)["id"].partition("-")[2]) for _, payload, _ in events_of(listener)]


def events_of(listener: Listener) -> list[Any]:
    return [one for one in list(listener.received) if one[0].endswith("/event")]


def test_answers_while_the_broker_is_away_are_reported_later(broker: Mosquitto, begin: Begin, state: Path) -> None:
    with listening(broker.port) as listener:
        serving = begin(broker.port)
        until(lambda: listener.last(STATUS) == b"online")
        broker.kill()
        until(lambda: "trying again" in log_of(serving))
        ids = [add(state, f"{number}.jpg", at=time.time()) for number in range(120)]
        broker.start()  # it has forgotten all
        until(lambda: set(as_numbers(listener)) >= set(ids))
        assert as_numbers(listener) == ids, "in their order"
        until(lambda: (listener.json(folder_topic_of(listener, "/in")) or {"counts": {}})["counts"].get("REAL") == 120)


def folder_topic_of(listener: Listener, name: str) -> str:
    from edge.serve.mqtt.topics import FOLDER, Place, Source

    return Place("edge-detect", NODE, FOLDER, Source(FOLDER, name).id).topic("state")


def test_answers_while_the_server_is_away_are_reported_at_its_start(
    broker: Mosquitto, begin: Begin, state: Path
) -> None:
    with listening(broker.port) as listener:
        serving = begin(broker.port)
        until(lambda: listener.last(STATUS) == b"online")
        assert serving.stop() == 0
        ids = [add(state, f"{number}.jpg", at=time.time()) for number in range(5)]
        begin(broker.port)
        until(lambda: as_numbers(listener) == ids)


def test_ledger_that_is_replaced_is_reported_from_its_beginning(broker: Mosquitto, begin: Begin, state: Path) -> None:
    with listening(broker.port) as listener:
        begin(broker.port)
        until(lambda: listener.last(STATUS) == b"online")
        add(state, "one.jpg", at=time.time())
        until(lambda: len(events_of(listener)) == 1)
        for file in state.glob("ledger.sqlite3*"):
            file.unlink()
        for number in range(3):
            add(state, f"new{number}.jpg", at=time.time())
        until(lambda: [event["file"] for event in listener.all("/event")][1:] == ["new0.jpg", "new1.jpg", "new2.jpg"])


def test_damaged_progress_reports_the_last_answers_again(broker: Mosquitto, begin: Begin, state: Path) -> None:
    (state / "serve").mkdir()
    (state / "serve" / "mqtt.json").write_bytes(b"\x00" * 100)
    with listening(broker.port) as listener:
        serving = begin(broker.port)
        until(lambda: as_numbers(listener) == [1])
        assert "mqtt.json: damaged" in log_of(serving)


@pytest.mark.timeout(600)
def test_every_answer_is_reported_over_kills_of_server_and_broker(
    begin: Begin, state: Path, tmp_path: Path, kills: int
) -> None:
    broker = Mosquitto(tmp_path / "broker").start()
    ids: list[int] = []
    stop = threading.Event()

    def answer() -> None:
        number = 0
        while not stop.is_set():
            ids.append(add(state, f"{number}.jpg", at=time.time()))
            number += 1
            stop.wait(0.05)

    chance = random.Random(16)
    serving = begin(broker.port)
    writer = threading.Thread(target=answer)
    with listening(broker.port) as listener:
        until(lambda: listener.last(STATUS) == b"online")
        writer.start()
        try:
            for number in range(kills):
                time.sleep(chance.uniform(0.5, 6))
                if number % 2:
                    broker.restart()
                else:
                    serving.kill()
                    serving = begin(broker.port)
        finally:
            stop.set()
            writer.join()
        until(lambda: set(ids) <= set(as_numbers(listener)))
        assert len(ids) > 20 * kills / 4
        broker.kill()
