"""Servers that publish to a broker, and what they leave there."""

from collections.abc import Callable

from tests.support.brokers import (
    Listener,
)
from tests.support.serving import Serving

NODE = "pi4"
STATUS = f"edge-detect/{NODE}/status"
Begin = Callable[..., Serving]


def folder_topic(listener: Listener, name: str) -> str:
    """The topic of the only watched folder; empty as long as there is none."""
    found = {topic for topic in listener.topics() if "/folder/" in topic and topic.endswith(f"/{name}")}
    assert len(found) <= 1
    return next(iter(found), "")


def log_of(serving: Serving) -> str:
    return "".join(serving.lines)
