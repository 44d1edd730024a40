"""What a running camera reports of itself: to systemd, to `edge-detect status`, and at the terminal."""

import time
from typing import Any

from edge.camera.event_recorder import EventRecorder
from edge.camera.loop import CameraLoop
from edge.errors import printable
from edge.verdict import UNSURE

BAR = 10  # characters


def now(loop: CameraLoop, events: EventRecorder) -> dict[str, Any]:
    """What a camera shows at this moment, as JSON fields; other threads may call it."""
    latest, smoothed = loop.latest, events.smoothed
    return {
        "state": "resting" if loop.is_resting else "seeing" if loop.is_seeing else "waiting",
        "frame_seconds": None if latest is None else round(time.monotonic() - latest.taken_at, 3),
        "frames_per_second": round(loop.figures.frames_per_second, 3),
        "label": None if latest is None else latest.verdict.label,
        "score": None if latest is None else round(latest.verdict.score, 6),
        "event": events.label,
        "smoothed": None if smoothed is None else round(smoothed, 6),
        "in_event": events.is_in_event,
    }


class CameraWork:
    """A camera's loop, as `edge.daemon.session.Work`."""

    def __init__(self, loop: CameraLoop, events: EventRecorder) -> None:
        self._loop, self._events = loop, events

    @property
    def has_begun(self) -> bool:
        return self._loop.has_begun

    @property
    def is_healthy(self) -> bool:
        return self._loop.is_healthy

    @property
    def trouble(self) -> str:
        return self._loop.trouble

    @property
    def summary(self) -> str:
        return f"{self._events.begun} events"

    @property
    def fields(self) -> dict[str, Any]:
        loop, figures = self._loop, self._loop.figures
        return {
            "waiting": 0,
            "events": self._events.begun,
            "skipped": loop.skipped,
            "capture_ms": round(loop.capture_milliseconds, 3),
            "network_ms": round(figures.network_seconds * 1000, 3),
            "age_ms": None if figures.age_seconds is None else round(figures.age_seconds * 1000, 3),
            **now(loop, self._events),
        }

    @property
    def progress(self) -> str:
        """The parts are ordered by their importance: a narrow terminal shows the first ones."""
        loop, figures, smoothed = self._loop, self._loop.figures, self._events.smoothed or 0.0
        if loop.is_resting:
            return "the camera is closed: outside of --schedule"
        if loop.verdict is None or not loop.is_seeing:
            return loop.trouble or f"waiting for a frame of {printable(loop.name)}"
        age = "" if figures.age_seconds is None else f"  age {figures.age_seconds * 1000:.0f} ms"
        return (
            f"{loop.verdict.label:{len(UNSURE)}} {self._events.label} [{'#' * round(smoothed * BAR):-<{BAR}}]"
            f" {smoothed:4.0%}  {figures.frames_per_second:.1f} frames/s{age}  {loop.skipped} skipped"
            f"  network {figures.network_seconds * 1000:.1f} ms  capture {loop.capture_milliseconds:.0f} ms"
        )

    def run(self) -> None:
        self._loop.run()
