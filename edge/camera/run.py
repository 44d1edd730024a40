"""`camera`, composed: models, ledger, events, loop; released in reverse order at the end."""

import logging
import os
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from edge import redact
from edge.camera.event_detector import Rules
from edge.camera.event_recorder import EventRecorder
from edge.camera.live_view import LiveView
from edge.camera.loop import CameraLoop, Pace
from edge.camera.report import CameraWork
from edge.camera.schedule import Span
from edge.camera.snapshots import SnapshotLimits, Snapshots
from edge.capture.capture import Capture
from edge.capture.frame import Camera
from edge.capture.libav import StreamSettings
from edge.capture.open_camera import first_source, open_camera
from edge.capture.picamera import SIZE
from edge.capture.roi import Roi
from edge.daemon.lifecycle import Lifecycle, Stopped
from edge.daemon.live import LiveServer
from edge.daemon.session import DaemonSettings, open_session
from edge.errors import SettingsError, printable
from edge.inference.retrying import RetryingClassifier
from edge.inference.router import Router
from edge.stats import Stats
from edge.verdict import UNSURE

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class CameraSettings(DaemonSettings):
    """What decides how a camera is observed.

    Attributes:
        source: see `edge.capture.open_camera`; None for the camera that there is.
        called: the camera's name; None for one that is made of the source.
        event: the label whose events are looked for; None for the first of the model's.
        snapshots: folder; None for none.
        plain: snapshots without the verdict.
    """

    source: str | None = None
    called: str | None = None
    size: tuple[int, int] | None = None
    stream: StreamSettings = field(default_factory=StreamSettings)
    view: Roi = field(default_factory=Roi)
    pace: Pace = field(default_factory=Pace)
    schedule: tuple[Span, ...] = ()
    event: str | None = None
    rules: Rules = field(default_factory=Rules)
    snapshots: Path | None = None
    plain: bool = False
    limits: SnapshotLimits = field(default_factory=SnapshotLimits)

    @property
    def is_recording(self) -> bool:
        return self.source is not None and (os.path.isfile(self.source) or os.path.isdir(self.source))

    @property
    def name(self) -> str:
        """Of the camera, as the ledger knows it: no password in it, and no name of a folder that is watched."""
        if self.called is not None:
            return self.called
        if self.source is None:
            return "camera"
        if not os.path.exists(self.source):
            return redact.shown(self.source)
        path = os.path.abspath(self.source)
        return f"{path}/" if os.path.isdir(path) else path


def observe(settings: CameraSettings, life: Lifecycle) -> Stats:
    """Classify what a camera sees until stopped, or until a recording has ended.

    Raises:
        EdgeDetectError: the work cannot start or go on.
    """
    stats, pace, commands = Stats(), settings.pace, settings.commands
    life.once = settings.is_recording or pace.max_frames is not None
    snapshots, opener = _snapshots(settings, is_service=life.is_service), _opener(settings)

    def open_capture(loop: CameraLoop) -> Capture:
        return Capture(opener, prepare=loop.prepare, waits_at_start=life.is_service or loop.frames > 0)

    with suppress(Stopped), ExitStack() as stack:
        router = life.at_start(lambda: _router(settings))
        stack.callback(router.close)  # so that a run with reloaded settings can open the Coral
        label = _label(settings, router.labels)
        session = stack.enter_context(open_session(settings, settings.name, commands, life, stats))
        network = RetryingClassifier(router, once=life.once)
        events = EventRecorder(
            session.recorder,
            network,
            label=label,
            rules=replace(settings.rules, gap_seconds=max(settings.rules.gap_seconds, 3 * pace.interval_seconds)),
            snapshots=snapshots,
            record_seconds=pace.record_seconds,
            keep_seconds=settings.limits.seconds,
        )
        loop = CameraLoop(
            session.recorder,
            network,
            events,
            open_capture,
            view=settings.view,
            pace=pace,
            schedule=settings.schedule,
        )
        stack.enter_context(LiveServer(settings.name, LiveView(loop, events, settings.view)))
        session.run(CameraWork(loop, events))
    return stats


def _router(settings: CameraSettings) -> Router:
    """The models; the one that most of the camera's frames will go to is loaded, so that its errors show at the start.

    Raises:
        ModelError, RuntimeMissingError, CoralError: it cannot be had.
    """
    router = settings.router()
    router.classifier(router.choose(settings.view.turned(settings.size or SIZE)).model)
    return router


def _label(settings: CameraSettings, labels: tuple[str, str]) -> str:
    """The label that makes an event.

    Raises:
        SettingsError: the model has no such label, or it is UNSURE; or --on-fake would never run.
    """
    label = labels[0] if settings.event is None else settings.event
    if label == UNSURE:
        use = printable(" or ".join(labels))
        raise SettingsError(f"{UNSURE}: no event is made of frames that the model is not sure of; use {use}")
    if label not in labels:
        raise SettingsError(f"{printable(label)}: no label of this model; it has {printable(' and '.join(labels))}")
    if settings.on_fake is not None and label != "FAKE":
        raise SettingsError(f"--on-fake is for events of FAKE, not of {printable(label)}: use --on-verdict")
    return label


def _snapshots(settings: CameraSettings, *, is_service: bool) -> Snapshots | None:
    """
    Raises:
        SinkError: their folder cannot be written to; a service waits for it.
    """
    if settings.snapshots is None:
        return None
    snapshots = Snapshots(settings.snapshots.absolute(), settings.limits, is_plain=settings.plain)
    if not is_service:
        snapshots.prepare()
    return snapshots


def _opener(settings: CameraSettings) -> Callable[[], Camera]:
    """Opens the camera; if none was named, the first one that is found, and the same one each time."""
    source, interval = settings.source, settings.pace.interval_seconds
    # Of a folder of images, or of requests for single pictures; not of a device, which has its own rates.
    has_rate = interval and (settings.is_recording or redact.is_address(source or ""))
    frames_per_second = 1 / interval if has_rate else None

    def open_named() -> Camera:
        nonlocal source
        if source is None:
            source = first_source()
            _log.info("the camera is %s", printable(source))
        return open_camera(source, settings.size, frames_per_second, settings.stream)

    return open_named
