"""Metrics in Prometheus' text format 0.0.4, written from ledgers, status sockets and the board's files."""

import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from edge import __version__
from edge.board import Board
from edge.errors import LedgerError, printable
from edge.serve.cameras import Running
from edge.serve.health import HealthReader
from edge.serve.totals import BOUNDS, Totals

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
LOST_SECONDS = 7 * 86_400.0  # for which a camera that has ended is still reported, as down
MAX_CAMERAS = 100
MAX_VALUE = 200  # characters of a label's value

# Name, type and meaning of every metric; the dashboard and the alerts in docs/ use these names.
METRICS = {
    "edge_detect_answers_total": ("counter", "Answers by source and label; ERROR for images without a verdict."),
    "edge_detect_answer_seconds": ("histogram", "Time from opening a file to its verdict."),
    "edge_detect_last_answer_timestamp_seconds": ("gauge", "Time of the last answer of a source."),
    "edge_detect_waiting": ("gauge", "Files that wait or are being processed."),
    "edge_detect_camera_up": ("gauge", "1 while a camera gives frames or is closed by its schedule, else 0."),
    "edge_detect_camera_fps": ("gauge", "Classified frames of a camera a second."),
    "edge_detect_camera_frame_age_seconds": ("gauge", "Age of the last classified frame of a camera."),
    "edge_detect_celsius": ("gauge", "Temperature of the hottest thermal zone."),
    "edge_detect_throttled": ("gauge", "1 while a Raspberry Pi is slowed down or has too little voltage, else 0."),
    "edge_detect_mqtt_connected": ("gauge", "1 while the MQTT broker is connected, else 0."),
    "edge_detect_build_info": ("gauge", "Always 1; the version is a label."),
}
Samples = list[tuple[str, dict[str, str], float]]  # suffix of the name, labels, value


class Metrics:
    """Writes the metrics. Threads may share it."""

    def __init__(self, totals: Totals, board: Board | None = None) -> None:
        """
        Args:
            totals: of all ledgers.
            board: whose temperature is reported; None: this one.
        """
        self._totals, self._health, self._lock = totals, HealthReader(board), threading.Lock()
        self._cameras: dict[str, float] = {}  # when each camera was last seen running, by time.monotonic()

    def text(
        self, ledgers: Iterable[Path], running: Iterable[Running], *, is_mqtt_connected: bool | None = None
    ) -> str:
        """All metrics as text.

        Args:
            ledgers: new answers in them are counted first; one that cannot be read is passed over.
            running: the watchers and cameras.
            is_mqtt_connected: None if MQTT is not used.
        """
        for ledger in ledgers:
            try:
                self._totals.update(ledger)
            except LedgerError:
                continue  # `status` reports it; what was counted before stays
        with self._lock:
            samples = self._of_totals() | self._of_running(list(running)) | self._of_board()
        if is_mqtt_connected is not None:
            samples["edge_detect_mqtt_connected"] = [("", {}, float(is_mqtt_connected))]
        samples["edge_detect_build_info"] = [("", {"version": __version__}, 1.0)]
        return "".join(line for name in METRICS if name in samples for line in _lines(name, samples[name]))

    def _of_totals(self) -> dict[str, Samples]:
        totals = self._totals.now()
        histogram: Samples = [
            ("_bucket", {"le": str(bound)}, count) for bound, count in zip(BOUNDS, totals.buckets, strict=True)
        ]
        histogram += [("_bucket", {"le": "+Inf"}, totals.timed), ("_sum", {}, totals.seconds)]
        return {
            "edge_detect_answers_total": [
                ("", {"source": source, "label": label}, count)
                for (source, label), count in sorted(totals.counts.items())
            ],
            "edge_detect_answer_seconds": [*histogram, ("_count", {}, totals.timed)],
            "edge_detect_last_answer_timestamp_seconds": [
                ("", {"source": source}, latest) for source, latest in sorted(totals.latest.items())
            ],
        }

    def _of_running(self, running: list[Running]) -> dict[str, Samples]:
        found: dict[str, Samples] = {name: [] for name in METRICS if name.startswith("edge_detect_camera_")}
        found["edge_detect_waiting"] = []
        now = time.monotonic()
        up: dict[str, bool] = {}
        for one in running:
            if one.error:
                continue
            status, labels = one.status, {"source": one.name}
            found["edge_detect_waiting"].append(("", labels, _number(status.get("waiting")) or 0))
            if one.is_camera:
                up[one.name] = status.get("state") in ("seeing", "resting")
                if (rate := _number(status.get("frames_per_second"))) is not None:
                    found["edge_detect_camera_fps"].append(("", labels, rate))
                if (age := _number(status.get("frame_seconds"))) is not None:
                    found["edge_detect_camera_frame_age_seconds"].append(("", labels, age))
        self._cameras = {name: seen for name, seen in self._cameras.items() if now - seen < LOST_SECONDS}
        self._cameras |= dict.fromkeys(up, now)
        while len(self._cameras) > MAX_CAMERAS:
            del self._cameras[min(self._cameras, key=self._cameras.__getitem__)]
        found["edge_detect_camera_up"] = [
            ("", {"source": name}, float(up.get(name, False))) for name in sorted(self._cameras)
        ]
        return found

    def _of_board(self) -> dict[str, Samples]:
        health = self._health.read()
        found: dict[str, Samples] = {}
        if health.celsius is not None:
            found["edge_detect_celsius"] = [("", {}, health.celsius)]
        if health.is_throttled is not None:
            found["edge_detect_throttled"] = [("", {}, float(health.is_throttled))]
        return found


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _lines(name: str, samples: Samples) -> Iterator[str]:
    kind, about = METRICS[name]
    yield f"# HELP {name} {about}\n# TYPE {name} {kind}\n"
    written = set()  # two names may be the same in print
    for suffix, labels, value in samples:
        inner = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
        series = f"{name}{suffix}{{{inner}}}" if inner else f"{name}{suffix}"
        if series not in written:
            written.add(series)
            yield f"{series} {value:.17g}\n"


def _escaped(text: str) -> str:
    safe = printable(text)[:MAX_VALUE].encode("utf-8", "backslashreplace").decode()
    return safe.replace("\\", "\\\\").replace('"', '\\"')
