"""Runs the core of Home Assistant with its MQTT integration alone; started by tests.support.home_assistant.

Arguments: folder of its configuration, port of a broker at 127.0.0.1, free port for its own pages. A line of JSON with
devices and entities is printed whenever they have changed.
"""

import asyncio
import json
import logging
import sys
from pathlib import Path
from types import MappingProxyType
from typing import Any

from homeassistant import bootstrap, config_entries, core, loader
from homeassistant.auth import auth_manager_from_config
from homeassistant.helpers import device_registry, entity_registry
from homeassistant.setup import async_setup_component

SHOWN = ("friendly_name", "unit_of_measurement", "device_class", "state_class", "event_type", "event_types", "options")
SHOWN += ("file", "id")


def seen(hass: core.HomeAssistant) -> dict[str, Any]:
    """The devices by identifier, and the entities by unique id."""
    entities = {}
    registry = entity_registry.async_get(hass)
    for entry in registry.entities.values():
        state = hass.states.get(entry.entity_id)
        if entry.platform == "mqtt":
            entities[entry.unique_id] = {
                "entity_id": entry.entity_id,
                "state": None if state is None else state.state,
                "category": entry.entity_category,
                "attributes": {} if state is None else {k: v for k, v in state.attributes.items() if k in SHOWN},
            }
    devices = {
        next(iter(device.identifiers))[1]: {
            "name": device.name,
            "model": device.model,
            "manufacturer": device.manufacturer,
            "via": device.via_device_id is not None,
            "url": device.configuration_url,
        }
        for device in device_registry.async_get(hass).devices.values()
        if device.identifiers
    }
    return {"devices": devices, "entities": entities}


async def main(folder: str, port: int, own_port: int) -> None:
    hass = core.HomeAssistant(folder)
    hass.config.skip_pip = True
    hass.config.internal_url = "http://127.0.0.1"
    loader.async_setup(hass)
    hass.config_entries = config_entries.ConfigEntries(hass, {})
    await bootstrap.async_load_base_functionality(hass)
    hass.auth = await auth_manager_from_config(hass, [], [])
    assert await async_setup_component(hass, "homeassistant", {})
    http = {"server_host": ["127.0.0.1"], "server_port": own_port}
    assert await async_setup_component(hass, "http", {"http": http})
    if not hass.config_entries.async_entries("mqtt"):
        entry = config_entries.ConfigEntry(
            data={"broker": "127.0.0.1", "port": port, "protocol": "5"},
            discovery_keys=MappingProxyType({}),
            domain="mqtt",
            minor_version=2,
            options={},
            source=config_entries.SOURCE_USER,
            subentries_data=[],
            title="broker",
            unique_id=None,
            version=1,
        )
        await hass.config_entries.async_add(entry)
    else:
        assert await async_setup_component(hass, "mqtt", {})
    await hass.async_start()
    last = ""
    while True:
        now = json.dumps(seen(hass), default=str)
        if now != last:
            print(now, flush=True)
            last = now
        await asyncio.sleep(0.2)


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    Path(sys.argv[1], "configuration.yaml").touch()
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
