"""`camera`, composed: models, ledger, events, loop; released in reverse order at the end."""

import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from edge import __version__, redact
from edge.camera.event_detector import Rules
from edge.camera.event_recorder import EventRecorder
from edge.camera.loop import CameraLoop, Pace
from edge.camera.schedule import Span
from edge.camera.snapshots import SnapshotLimits, Snapshots
from edge.capture.capture import Capture
from edge.capture.frame import Camera
from edge.capture.open_camera import first_source, open_camera
from edge.capture.picamera import SIZE
from edge.capture.roi import Roi
from edge.daemon.session import Console, DaemonSettings, open_session, with_retries
from edge.daemon.signals import Requests
from edge.daemon.systemd import Notifier
from edge.delivery.recorder import Recorder
from edge.errors import SettingsError, printable
from edge.inference.retrying import RetryingClassifier
from edge.inference.router import Router
from edge.retry import Say
from edge.stats import Stats
from edge.verdict import UNSURE

BAR = 20
REFRESH_SECONDS = 0.02  # between two updates of progress line and status; recordings have more frames


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


def observe(settings: CameraSettings, requests: Requests, notifier: Notifier, begun: Callable[[], None]) -> Stats:
    """Classify what a camera sees until we are asked to stop, or a recording has ended.

    Args:
        begun: called when a frame has been classified, in a service at once; after a reload of a service, not before it
            is clear that it is no fault of the settings if there is none.

    Raises:
        EdgeDetectError: it cannot begin, or not go on.
    """
    console, commands, stats = Console(settings), settings.commands, Stats()
    is_reload = notifier.is_reloading
    pictures, opened = _pictures(settings, is_patient=notifier.is_listening), _opening(settings, console.say)
    with ExitStack() as stack:
        router = with_retries(lambda: _router(settings, console.say), console, requests, notifier)
        if router is None:
            return stats
        stack.callback(router.close)  # so that a run with reloaded settings can open the Coral
        label = _label(settings.event, router.labels)
        if settings.on_fake is not None and label != "FAKE":
            raise SettingsError(f"--on-fake is for events of FAKE, not of {printable(label)}: use --on-verdict")
        session = stack.enter_context(open_session(settings, settings.name, commands, console, requests, notifier))
        if session is None:
            return stats
        once = settings.is_recording or settings.pace.max_frames is not None
        recorder = Recorder(
            session.ledger,
            settings.name,
            session.outlets,
            stats,
            console.say,
            once=once,
        )
        network, pace = RetryingClassifier(router, console.say, once=once), settings.pace
        events = EventRecorder(
            settings.name,
            network,
            recorder,
            label=label,
            rules=replace(settings.rules, gap_seconds=max(settings.rules.gap_seconds, 3 * pace.interval_seconds)),
            record_seconds=pace.record_seconds,
            keep_seconds=settings.limits.seconds,
            snapshots=pictures,
            say=console.say,
        )
        observer = CameraLoop(
            settings.name,
            lambda: Capture(
                opened,
                console.say,
                prepare=observer.prepare,
                is_patient=notifier.is_listening or observer.frames > 0,
            ),
            network,
            recorder,
            events,
            view=settings.view,
            pace=pace,
            schedule=settings.schedule,
            is_patient=notifier.is_listening and not is_reload,
            say=console.say,
        )
        status = partial(_status, observer, events, stats, time.time())

        def alive() -> None:
            if observer.is_healthy:
                notifier.alive(_summary(observer, events, stats))
            session.server.serve(status)

        try:
            is_begun, refreshed_at = False, float("-inf")
            for _ in observer.run(requests.stop):
                # New settings have proved to be good with a frame, or if it is not their fault that there is none.
                is_good = observer.frames > 0 or (notifier.is_listening and (observer.is_waiting or not is_reload))
                if is_good and not is_begun:
                    is_begun = True
                    begun()
                if time.monotonic() - refreshed_at < REFRESH_SECONDS:
                    continue
                refreshed_at = time.monotonic()
                if observer.is_seeing:
                    console.progress.show(_line(observer, events, label))
                else:
                    console.progress.clear()
                stats.sample()
                alive()
        finally:
            console.progress.clear()
            session.end(requests, alive, finish=recorder.once)
            if observer.frames or requests.stop.is_set():
                console.conclude(stats, requests)
    return stats


def _router(settings: CameraSettings, say: Say) -> Router:
    """The models, and that one at work already which a camera's frames most probably go to.

    What is wrong with it should show before anything is begun.

    Raises:
        ModelError, RuntimeMissingError, CoralError: it cannot be had.
    """
    router = settings.router(say)
    router.classifier(router.choose(settings.view.turned(settings.size or SIZE)).model)
    return router


def _label(wanted: str | None, labels: tuple[str, str]) -> str:
    """The one whose events are looked for.

    Raises:
        SettingsError: there is no such label, or it is the one that says nothing.
    """
    if wanted is None:
        return labels[0]
    if wanted in labels:
        return wanted
    if wanted == UNSURE:
        use = printable(" or ".join(labels))
        raise SettingsError(f"{UNSURE}: no event is made of frames that the model is not sure of; use {use}")
    raise SettingsError(f"{printable(wanted)}: no label of this model; it has {printable(' and '.join(labels))}")


def _pictures(settings: CameraSettings, *, is_patient: bool) -> Snapshots | None:
    """
    Raises:
        SinkError: their folder cannot be written to, and we do not wait for it.
    """
    if settings.snapshots is None:
        return None
    pictures = Snapshots(settings.snapshots.absolute(), settings.limits, is_plain=settings.plain)
    if not is_patient:
        pictures.prepare()
    return pictures


def _opening(settings: CameraSettings, say: Say) -> Callable[[], Camera]:
    """What opens the camera. One that was chosen because none was named is said, and stays the same."""
    source, interval = settings.source, settings.pace.interval_seconds
    of_a_replay = 1 / interval if interval and settings.is_recording else None

    def opened() -> Camera:
        nonlocal source
        if source is None:
            source = first_source()
            say(f"the camera is {printable(source)}")
        return open_camera(source, settings.size, of_a_replay, say)

    return opened


def _line(observer: CameraLoop, events: EventRecorder, label: str) -> str:
    """What a terminal shows all the time."""
    assert observer.verdict
    figures, smoothed = observer.figures, events.smoothed or 0.0
    verdict = f"{observer.verdict.label:{len(UNSURE)}}"
    bar = "#" * round(smoothed * BAR)
    age = "" if figures.age_seconds is None else f"  age {figures.age_seconds * 1000:.0f} ms"
    return (
        f"{verdict}  {label} [{bar:{BAR}}] {smoothed:4.0%}  {figures.frames_per_second:.1f} frames/s"
        f"  capture {observer.capture_milliseconds:.0f} ms  network {figures.network_seconds * 1000:.1f} ms{age}"
        f"  {observer.skipped} skipped"
    )


def _summary(observer: CameraLoop, events: EventRecorder, stats: Stats) -> str:
    trouble = f"; {observer.trouble}" if observer.trouble else ""
    return f"{stats}, {events.begun} events{trouble}"


def _status(observer: CameraLoop, events: EventRecorder, stats: Stats, since: float) -> dict[str, Any]:
    figures = observer.figures
    return {
        "folder": observer.name,
        "pid": os.getpid(),
        "version": __version__,
        "since": since,
        **stats.as_json(),
        "waiting": 0,
        "events": events.begun,
        "skipped": observer.skipped,
        "capture_ms": round(observer.capture_milliseconds, 3),
        "network_ms": round(figures.network_seconds * 1000, 3),
        "age_ms": None if figures.age_seconds is None else round(figures.age_seconds * 1000, 3),
        "trouble": observer.trouble or None,
    }
