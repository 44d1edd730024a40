"""MQTT: the sources of this board as devices of Home Assistant, and their answers as events."""
