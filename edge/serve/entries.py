"""What the pages show of answers, cameras and services, made ready for the templates."""

import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from edge.errors import printable
from edge.serve.cameras import Running, id_of
from edge.serve.history import SourceCounts
from edge.stats import Stats
from edge.store.history import Item
from edge.verdict import LABELS, Recorded, Verdict

GONE_SECONDS = 7 * 86_400.0  # since its last answer, for which a camera that has ended is still shown
STALE_SECONDS = 3.0  # age from which a camera's frame is old
LIVE, STALE, GONE, RESTING = "live", "stale", "gone", "resting"
WORKING, PROBLEM, IDLE = "working", "problem", "idle"


@dataclass(frozen=True)
class Entry:
    """An answer in the history."""

    item: Item

    @property
    def recorded(self) -> Recorded:
        return self.item.recorded

    @property
    def key(self) -> str:
        return self.item.key

    @property
    def title(self) -> str:
        """The file's name without folders, or the camera's name."""
        path = self.recorded.answer.path
        return path if self.recorded.event is not None else os.path.basename(path) or path

    @property
    def has_picture(self) -> bool:
        """Whether a thumbnail is worth asking for: not of errors, nor of a camera's frames without a snapshot."""
        event = self.recorded.event
        return isinstance(self.recorded.answer, Verdict) and (event is None or event.snapshot is not None)


@dataclass(frozen=True)
class Camera:
    """A camera's card.

    Attributes:
        id: see `edge.serve.cameras.Running.id`.
        state: LIVE, STALE, GONE or RESTING.
        watched: the label that makes an event.
        probability: smoothed, of the watched label; None if unknown.
        age: of the last frame, seconds; None if there was none.
        fps: classified frames a second; None if unknown.
        label: of the last frame; None if there is none.
        event: whether an event is going on.
        trouble: one line; empty if there is none.
        last: of a camera that is gone, when it gave its last answer, seconds since the epoch.
    """

    id: str
    name: str
    state: str
    watched: str = LABELS[False]
    probability: float | None = None
    age: float | None = None
    fps: float | None = None
    label: str | None = None
    event: bool = False
    trouble: str = ""
    last: float | None = None

    @property
    def has_frames(self) -> bool:
        """Whether its frames can be asked for."""
        return self.state in (LIVE, STALE)


def cameras(running: Iterable[Running], known: Iterable[SourceCounts]) -> list[Camera]:
    """The cards of the running cameras, and of those that have answered before but do not run.

    Args:
        known: all sources of the ledgers.
    """
    now = time.time()
    found = [_camera(one) for one in running if one.is_camera]
    names = {camera.id for camera in found}
    gone = [
        Camera(id_of(one.name), one.name, GONE, last=one.latest)
        for one in known
        if one.is_camera and id_of(one.name) not in names and now - one.latest < GONE_SECONDS
    ]
    return sorted(found, key=lambda one: one.name) + gone


def _camera(one: Running) -> Camera:
    if one.error:
        return Camera(one.id, one.name, GONE, trouble=one.error)
    fields = one.status
    age = number(fields.get("frame_seconds"))
    state = fields.get("state")
    if state == "resting":
        shown = RESTING
    elif state == "seeing" and age is not None and age < STALE_SECONDS:
        shown = LIVE
    else:
        shown = STALE
    label, watched = fields.get("label"), fields.get("event")
    return Camera(
        one.id,
        one.name,
        shown,
        watched if isinstance(watched, str) else LABELS[False],
        number(fields.get("smoothed")),
        age,
        number(fields.get("frames_per_second")),
        label if isinstance(label, str) else None,
        fields.get("in_event") is True,
        _line(fields.get("trouble")),
    )


@dataclass(frozen=True)
class Service:
    """A watcher, a camera, or this server (whose name is empty).

    Attributes:
        state: WORKING or PROBLEM.
        labels: number of answers with each label.
        since: when it was started, seconds since the epoch; None if unknown.
        last_error, trouble: one line; empty if there is none.
    """

    name: str
    state: str
    labels: dict[str, int]
    failed: int
    per_second: float
    waiting: int
    model: str
    since: float | None
    version: str
    last_error: str
    trouble: str


def services(running: Iterable[Running]) -> list[Service]:
    """The watchers and cameras that answer."""
    return [_service(one.name, one.status) for one in running if not one.error]


def this_server(stats: Stats, waiting: int, trouble: str, models: str) -> Service:
    """This server.

    Args:
        models: their names.
    """
    status = stats.as_json() | {"waiting": waiting, "trouble": trouble}
    service = _service("", status)
    return Service(**{**vars(service), "model": models or service.model})


def _service(name: str, status: Mapping[str, Any]) -> Service:
    last, error, labels = (_fields(status.get(key)) for key in ("last", "last_error", "labels"))
    trouble = _line(status.get("trouble"))
    last_error = f"{_line(error.get('path'))}: {_line(error.get('error'))}" if error else ""
    return Service(
        name,
        PROBLEM if trouble else WORKING,
        {label: count for label, count in labels.items() if isinstance(count, int)},
        int(number(status.get("failed")) or 0),
        number(status.get("per_second")) or 0.0,
        int(number(status.get("waiting")) or 0),
        _line(last.get("model")),
        number(status.get("since")),
        _line(status.get("version")),
        last_error,
        trouble,
    )


def number(value: object) -> float | None:
    """A JSON number; None for anything else."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _fields(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _line(value: object) -> str:
    return printable(value)[:500] if isinstance(value, str) else ""
