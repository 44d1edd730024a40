"""How the camera's options reach the camera."""

from types import SimpleNamespace
from typing import Any

import pytest

from edge.camera import run
from edge.camera.loop import Pace


@pytest.mark.parametrize(
    ("source", "is_recording", "rate"),
    [("http://cam/snapshot.jpg", False, 0.2), ("folder", True, 0.2), ("/dev/video0", False, None), (None, False, None)],
)
def test_interval_is_the_rate_of_requests_and_of_folders_but_not_of_devices(
    source: str | None, is_recording: bool, rate: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    requested: list[Any] = []
    monkeypatch.setattr(run, "open_camera", lambda *arguments: requested.append(arguments))
    monkeypatch.setattr(run, "first_source", lambda: "/dev/video0")
    settings: Any = SimpleNamespace(
        source=source, is_recording=is_recording, pace=Pace(interval_seconds=5.0), size=None, stream=None
    )
    run._opener(settings)()
    assert requested == [(source or "/dev/video0", None, rate, None)]
