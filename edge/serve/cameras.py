"""The running watchers and cameras of this board: their status, and the live pictures of cameras."""

import contextlib
import re
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.daemon.live import receive
from edge.daemon.status import LIVE_SUFFIX, SUFFIX, sockets, source_id, status_of
from edge.errors import printable

STATUS_SECONDS = 1.0  # age of a status from which it is asked for again
ANSWER_SECONDS = 2.0  # longest wait for a status; work loops answer every half second
LATEST_SECONDS = 2.0  # longest wait for a picture
_ID = re.compile(r"[0-9a-f]{16}", re.ASCII)
_STEM = re.compile(r"([0-9]{1,10})-([0-9a-f]{16})", re.ASCII)


@dataclass(frozen=True)
class Running:
    """A running watcher or camera.

    Attributes:
        id: names its folder or camera, also after a restart: 16 hexadecimal digits.
        name: real path of the watched folder, or name of the camera; the socket's name if it does not answer.
        is_camera: whether it is a camera.
        status: the fields of `edge-detect status --json`; empty if it does not answer.
        error: why it does not answer, in one line; empty if it does.
    """

    id: str
    name: str
    is_camera: bool
    status: dict[str, Any]
    error: str = ""


class Cameras:
    """What runs on this board, and its live pictures. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: list[Running] | None = None
        self._asked_at = float("-inf")

    def running(self) -> list[Running]:
        """All watchers and cameras of this account and of the services, sorted by name; at most STATUS_SECONDS old.

        One that hangs is waited for, ANSWER_SECONDS; other threads get the former list meanwhile.
        """
        if not self._lock.acquire(blocking=self._running is None):
            return self._running or []  # another thread is asking
        try:
            if self._running is None or time.monotonic() - self._asked_at >= STATUS_SECONDS:
                found = [one for path in sockets(SUFFIX) if (one := _asked(path)) is not None]
                self._running = sorted(found, key=lambda one: (one.name, one.id))
                self._asked_at = time.monotonic()
            return self._running
        finally:
            self._lock.release()

    @property
    def cameras(self) -> list[Running]:
        """The running cameras."""
        return [one for one in self.running() if one.is_camera]

    def latest(self, id_: str) -> tuple[bytes, dict[str, Any]] | None:
        """The latest frame of a camera as a JPEG file, and what the camera shows at this moment.

        The fields are those of `edge.camera.report.now`, with the frame's width and height in pixels; `frame_seconds`
        is the age of the picture.

        Args:
            id_: see `Running.id`.

        Returns:
            None if no such camera runs, or if it has no frame or does not answer in time.
        """
        if not _ID.fullmatch(id_):
            return None
        found = [path for path in sockets(LIVE_SUFFIX) if path.stem.endswith(f"-{id_}")]
        for path in sorted(found, key=_age):
            with contextlib.suppress(
                OSError, ValueError
            ):  # it has ended or hangs; another one may have taken its place
                fields, picture = receive(path, LATEST_SECONDS)
                if picture:
                    return picture, fields
        return None


def id_of(name: str) -> str:
    """The `Running.id` of a watched folder or camera."""
    return source_id(name)


def _age(path: Path) -> float:
    """Sorts sockets, the newest first."""
    try:
        return -path.stat().st_mtime
    except OSError:
        return 0.0


def _asked(path: Path) -> Running | None:
    """The status from a socket; None if its process has ended."""
    match = _STEM.fullmatch(path.stem)
    if match is None:
        return None
    try:
        status = status_of(path, ANSWER_SECONDS)
    except (FileNotFoundError, ConnectionRefusedError):
        return None
    is_camera = path.with_suffix(LIVE_SUFFIX).exists()
    if isinstance(status, str) or not isinstance(status, dict) or not isinstance(status.get("folder"), str):
        error = status if isinstance(status, str) else f"{printable(path)}: invalid status"
        return Running(match[2], path.stem, is_camera, {}, error)
    return Running(match[2], status["folder"], is_camera or "events" in status, status)
