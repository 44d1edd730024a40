"""The payloads: states and events as JSON. Every text in them is printable, and of limited length."""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edge.errors import printable
from edge.serve.mqtt.discovery import CAMERA_EVENTS, CAMERA_STATES, ERROR, FOLDER_EVENTS, VERDICTS
from edge.store.history import Item
from edge.verdict import FRAME, Failure, Verdict

MAX_TEXT = 300  # characters of a text in an event
MAX_EVIDENCE = 10  # of a file's statements about its origin


@dataclass(frozen=True)
class Message:
    """What is published.

    Attributes:
        payload: empty and retained: what the broker keeps for this topic is removed.
    """

    topic: str
    payload: bytes
    is_retained: bool = True


def as_json(fields: Mapping[str, Any]) -> bytes:
    """Fields as a JSON payload, in ASCII."""
    return json.dumps(fields, allow_nan=False).encode("ascii")


def board_state(
    *, celsius: float | None, throttled: bool | None, waiting: int, free_bytes: int | None, version: str
) -> dict[str, Any]:
    """The state of the board; None for what is not known."""
    return {
        "celsius": None if celsius is None else round(celsius, 1),
        "throttled": throttled,
        "waiting": waiting,
        "free_megabytes": None if free_bytes is None else free_bytes // 1_000_000,
        "version": version,
    }


def camera_state(status: Mapping[str, Any]) -> dict[str, Any]:
    """The state of a camera.

    Args:
        status: the fields of `edge-detect status --json`; empty if it does not run or does not answer.
    """
    state, label, score = status.get("state"), status.get("label"), number(status.get("score"))
    rate = number(status.get("frames_per_second"))
    is_seeing = state == "seeing"
    return {
        "state": state if state in CAMERA_STATES else "waiting" if status else "stopped",
        "label": label if is_seeing and label in VERDICTS else None,
        "score": score if is_seeing else None,
        "fake_percent": None if score is None or not is_seeing else round(100 * (1 - score), 1),
        "in_event": bool(status.get("in_event")),
        "frames_per_second": None if rate is None else round(rate, 1),
    }


def is_watching(status: Mapping[str, Any]) -> bool:
    """Whether a camera gives frames, or is closed by its schedule."""
    return status.get("state") in ("seeing", "resting")


def folder_state(status: Mapping[str, Any], counts: Mapping[str, int], label: str | None) -> dict[str, Any]:
    """The state of a watched folder.

    Args:
        status: as for `camera_state`.
        counts: number of answers by label so far.
        label: of the last answer; None if there is none.
    """
    waiting = number(status.get("waiting"))
    return {
        "label": label,
        "counts": {one: counts.get(one, 0) for one in VERDICTS},
        "waiting": 0 if waiting is None else int(waiting),
    }


def label_of(item: Item) -> str:
    """The label of an answer, ERROR for an image without a verdict."""
    answer = item.recorded.answer
    return answer.label if isinstance(answer, Verdict) and answer.label in VERDICTS else ERROR


def event(item: Item) -> dict[str, Any] | None:
    """An answer as an event of Home Assistant: its type and its attributes; None for a single frame of a camera."""
    recorded = item.recorded
    answer, camera = recorded.answer, recorded.event
    if camera is not None and (camera.state == FRAME or camera.state not in CAMERA_EVENTS):
        return None
    kind = label_of(item).lower() if camera is None else camera.state
    assert camera is not None or kind in FOLDER_EVENTS
    fields: dict[str, Any] = {"event_type": kind, "id": item.key, "time": recorded.time}
    if isinstance(answer, Failure):
        fields |= {"label": ERROR, "error": _text(answer.reason)}
    else:
        fields |= {
            "label": _text(answer.label),
            "confidence": round(answer.confidence, 6),
            "score": round(answer.score, 6),
            "outside": _text(answer.outside),
            "model": _text(answer.model),
        }
        if answer.provenance:
            fields["provenance"] = [
                {"says": _text(one.says), "program": _text(one.program), "verified": one.verified}
                for one in answer.provenance[:MAX_EVIDENCE]
            ]
    if camera is not None:
        return fields | {name: _text(value) for name, value in camera.as_json().items() if name != "state"}
    fields |= {"file": _text(os.path.basename(answer.path)), "path": _text(answer.path)}
    return fields | ({"moved_to": _text(recorded.moved_to)} if recorded.moved_to else {})


def has_picture(item: Item) -> bool:
    """Whether there may be a picture of an answer: it has a verdict, and of a camera a snapshot."""
    event = item.recorded.event
    return isinstance(item.recorded.answer, Verdict) and (event is None or event.snapshot is not None)


def number(value: object) -> float | None:
    """A finite number as such; None for anything else."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if is_number else None  # type: ignore[arg-type]


def _text(value: Any) -> Any:
    """A text as one printable line of at most MAX_TEXT characters, None for an empty one; else the value itself."""
    return (printable(value)[:MAX_TEXT] or None) if isinstance(value, str) else value
