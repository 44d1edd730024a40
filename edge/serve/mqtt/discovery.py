"""What Home Assistant discovers: one message for each device, which lists its entities.

The form is that of MQTT device discovery, Home Assistant 2024.11 and later
(https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload).
"""

from typing import Any

from edge import __version__
from edge.serve.mqtt.topics import CAMERA, Place, Source
from edge.verdict import BEGAN, ENDED, INTERRUPTED, LABELS, UNSURE

ERROR = "ERROR"  # in place of a label: an image without a verdict
VERDICTS = (*LABELS, UNSURE, ERROR)
FOLDER_EVENTS = tuple(label.lower() for label in VERDICTS)
CAMERA_EVENTS = (BEGAN, ENDED, INTERRUPTED)
CAMERA_STATES = ("seeing", "resting", "waiting", "stopped")
EXPIRE_SECONDS = 120  # after which a measurement that is not repeated is unknown; states are sent every 30 s
ONLINE, OFFLINE = "online", "offline"

Fields = dict[str, Any]


def board(place: Place, url: str | None, *, has_celsius: bool, has_throttling: bool) -> Fields:
    """The message that makes the board a device.

    Args:
        url: address of its page; None if nobody else can open it.
        has_celsius, has_throttling: whether the board measures its temperature, and knows whether it is slowed down.
    """
    components: Fields = {
        "waiting": _measurement("Waiting images", "waiting"),
        "free": _measurement("Free disk space", "free_megabytes", "MB", device_class="data_size", precision=0),
        "version": _sensor("Version", "version"),
    }
    if has_celsius:
        components["celsius"] = _measurement("Temperature", "celsius", "°C", device_class="temperature", precision=0)
    if has_throttling:
        components["throttled"] = _binary("Throttled", "throttled", device_class="problem")
    for component in components.values():
        component["entity_category"] = "diagnostic"
    device = {"name": f"edge-detect {place.node}", "model": "Board"} | ({"configuration_url": url} if url else {})
    return _config(place, device, components)


def source(place: Place, source: Source) -> Fields:
    """The message that makes a camera or a watched folder a device of the board."""
    components = _camera(place) if source.kind == CAMERA else _folder(place)
    model = "Camera" if source.kind == CAMERA else "Watched folder"
    device = {"name": source.title or model, "model": model, "via_device": place.board.device}
    return _config(place, device, components)


def _camera(place: Place) -> Fields:
    return {
        "event": _binary("Event in progress", "in_event", expire_after=EXPIRE_SECONDS),
        "probability": _measurement("Probability of fake", "fake_percent", "%", precision=1),
        "label": _sensor("Label", "label", device_class="enum", options=[*LABELS, UNSURE]),
        "events": _event(place, CAMERA_EVENTS),
        "snapshot": _image(place, "Last snapshot", "snapshot"),
        "state": _sensor(
            "State", "state", device_class="enum", options=list(CAMERA_STATES), entity_category="diagnostic"
        ),
        "fps": _measurement("Frames per second", "frames_per_second", precision=1, entity_category="diagnostic"),
    }


def _folder(place: Place) -> Fields:
    counts = {
        label.lower(): {
            **_sensor(f"{label.capitalize()} images", f"counts.{label}"),
            "state_class": "total_increasing",
        }
        for label in VERDICTS
    }
    counts[ERROR.lower()]["name"] = "Images without verdict"
    return {
        "verdict": _sensor("Last verdict", "label", device_class="enum", options=list(VERDICTS)),
        **counts,
        "waiting": _measurement("Waiting images", "waiting"),
        "events": _event(place, FOLDER_EVENTS),
        "thumbnail": _image(place, "Last image", "thumbnail"),
        # The counts hold while no watcher runs, so this is no condition for the other entities.
        "running": {
            "platform": "binary_sensor",
            "name": "Watcher",
            "device_class": "running",
            "entity_category": "diagnostic",
            "state_topic": place.topic("status"),
            "payload_on": ONLINE,
            "payload_off": OFFLINE,
        },
    }


def _config(place: Place, device: Fields, components: Fields) -> Fields:
    availability = [{"topic": place.board.topic("status")}]
    if place.kind == CAMERA:
        availability.append({"topic": place.topic("status")})
    for name, component in components.items():
        component["unique_id"] = f"{place.device}_{name}"
    return {
        "device": {
            "identifiers": [place.device],
            "manufacturer": "edge-detect",
            "sw_version": __version__,
            **device,
        },
        "origin": {"name": "edge-detect", "sw_version": __version__},
        "availability": availability,
        "availability_mode": "all",
        "state_topic": place.topic("state"),
        "qos": 1,
        "components": components,
    }


def _sensor(name: str, field: str, **more: Any) -> Fields:
    return {"platform": "sensor", "name": name, "value_template": f"{{{{ value_json.{field} }}}}", **more}


def _measurement(name: str, field: str, unit: str | None = None, *, precision: int = 0, **more: Any) -> Fields:
    found = _sensor(name, field, state_class="measurement", suggested_display_precision=precision, **more)
    found["expire_after"] = EXPIRE_SECONDS
    return found | ({"unit_of_measurement": unit} if unit else {})


def _binary(name: str, field: str, **more: Any) -> Fields:
    template = f"{{{{ 'ON' if value_json.{field} else 'OFF' }}}}"
    return {"platform": "binary_sensor", "name": name, "value_template": template, **more}


def _event(place: Place, kinds: tuple[str, ...]) -> Fields:
    return {"platform": "event", "name": "Event", "state_topic": place.topic("event"), "event_types": list(kinds)}


def _image(place: Place, name: str, topic: str) -> Fields:
    return {"platform": "image", "name": name, "image_topic": place.topic(topic), "content_type": "image/jpeg"}
