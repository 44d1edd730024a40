"""What a running camera reports of itself: to systemd, to `edge-detect status`, and at the terminal."""

from typing import Any

from edge.camera.event_recorder import EventRecorder
from edge.camera.loop import CameraLoop
from edge.verdict import UNSURE

BAR = 20  # characters


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
        }

    @property
    def progress(self) -> str:
        loop, figures, smoothed = self._loop, self._loop.figures, self._events.smoothed or 0.0
        if loop.verdict is None or not loop.is_seeing:
            return ""
        verdict = f"{loop.verdict.label:{len(UNSURE)}}"
        bar = "#" * round(smoothed * BAR)
        age = "" if figures.age_seconds is None else f"  age {figures.age_seconds * 1000:.0f} ms"
        return (
            f"{verdict}  {self._events.label} [{bar:{BAR}}] {smoothed:4.0%}  {figures.frames_per_second:.1f} frames/s"
            f"  capture {loop.capture_milliseconds:.0f} ms  network {figures.network_seconds * 1000:.1f} ms{age}"
            f"  {loop.skipped} skipped"
        )

    def run(self) -> None:
        self._loop.run()
