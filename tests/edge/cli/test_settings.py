"""Settings by option, environment variable and file, and their reload."""

import json
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import age, command, environment, picture
from tests.support.watching import PATIENCE, Running, Watching


def watch(inbox: Path, model: Path, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*options[:0], "watch", inbox, "--once", "--json", "--model", model, *options),
        cwd=inbox.parent,
        env=environment(HOME=str(inbox.parent), **variables),
        capture_output=True,
        text=True,
        timeout=60,
    )


def fill(inbox: Path) -> None:
    for number, name in enumerate(("a.png", "b.png", "c.PNG", "d.png.part", "e.dat")):
        age(picture(inbox / "x.png", seed=number)).rename(inbox / name)


def names(done: subprocess.CompletedProcess[str]) -> list[str]:
    assert done.returncode == 0, done.stderr
    return sorted(Path(json.loads(line)["path"]).name for line in done.stdout.splitlines())


def test_option_has_precedence_over_environment_and_environment_over_file(inbox: Path, brightness: Path) -> None:
    fill(inbox)
    (inbox.parent / ".config").mkdir()
    (inbox.parent / ".config" / "edge-detect.toml").write_text('[watch]\nexclude = ["a*", "b*"]\n')
    assert names(watch(inbox, brightness, "--state", "1")) == ["c.PNG"]
    assert names(watch(inbox, brightness, "--state", "2", EDGE_DETECT_EXCLUDE="c*")) == ["a.png", "b.png"]
    assert names(watch(inbox, brightness, "--state", "3", "--exclude", "b*", EDGE_DETECT_EXCLUDE="c*")) == [
        "a.png",
        "c.PNG",
    ]


def test_include_selects_names_but_never_unfinished_files(inbox: Path, brightness: Path) -> None:
    fill(inbox)
    assert names(watch(inbox, brightness, "--state", "1")) == ["a.png", "b.png", "c.PNG"]
    assert names(watch(inbox, brightness, "--state", "2", "--include", "*")) == ["a.png", "b.png", "c.PNG", "e.dat"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[watch]\npol = 3\n", "[watch] unknown setting pol; the settings are command-seconds, "),
        ("[wach]\n", "unknown table wach; the tables are [benchmark], [camera], [classify], "),
        ("poll = 3\n", "unknown table poll"),
        ("[watch\n", "invalid TOML"),
        ("[watch]\npoll = 'often'\n", "'often' is not a valid float"),
        ("[watch]\npoll = 0\n", "0.1"),
    ],
)
def test_invalid_settings_file_is_a_one_line_error(inbox: Path, brightness: Path, text: str, reason: str) -> None:
    file = inbox.parent / "settings.toml"
    file.write_text(text)
    done = subprocess.run(
        command("--config", file, "watch", inbox, "--once", "--model", brightness),
        env=environment(HOME=str(inbox.parent)),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert reason in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_missing_settings_file_is_an_error_if_named_by_config(inbox: Path) -> None:
    done = subprocess.run(
        command("--config", inbox / "none.toml", "watch", inbox), env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr.strip().endswith("none.toml: no such file or directory")


def test_sighup_reloads_settings_and_keeps_the_old_ones_if_invalid(
    inbox: Path, watching: Callable[..., Watching]
) -> None:
    settings = inbox.parent / ".config" / "edge-detect.toml"
    settings.parent.mkdir()
    settings.write_text('[watch]\nexclude = ["no*"]\n')
    watcher = watching()
    picture(inbox / "first.png", seed=1)
    picture(inbox / "no.png", seed=2)
    watcher.until(lambda w: w.names == ["first.png"])

    settings.write_text('[watch]\nexlude = ["no*"]\n')
    watcher.process.send_signal(signal.SIGHUP)
    time.sleep(1)
    picture(inbox / "second.png", seed=3)
    watcher.until(lambda w: w.names == ["first.png", "second.png"])

    settings.write_text('[watch]\nexclude = ["first*"]\n')
    watcher.process.send_signal(signal.SIGHUP)
    watcher.until(lambda w: sorted(w.names) == ["first.png", "no.png", "second.png"])
    said = watcher.stop()
    assert watcher.process.wait(PATIENCE) == 0
    assert "the settings stay as they were" in said
    assert "unknown setting exlude" in said


def test_camera_keeps_its_settings_if_the_reloaded_ones_are_invalid(
    tmp_path: Path, brightness: Path, listener: socket.socket
) -> None:
    settings = tmp_path / ".config" / "edge-detect.toml"
    settings.parent.mkdir()
    settings.write_text("[camera]\nrotate = 90\n")
    hour = (time.localtime().tm_hour + 2) % 24
    closed = f"{hour:02}:00-{hour:02}:30"  # begins in an hour at the earliest: no camera is opened
    arguments = ("camera", "--source", "http://127.0.0.1:9/video", "--schedule", closed, "--model", brightness)
    camera = Running(tmp_path, *arguments, NOTIFY_SOCKET=str(tmp_path / "notify"))

    def wait_until_ready() -> None:
        while b"READY=1" not in listener.recv(4096).splitlines():
            pass

    try:
        wait_until_ready()
        for text in ("rotate = 45", "leave = 0.9", "fps = 1\ninterval = 1", 'region = "all"', 'schedule = "8-9"'):
            settings.write_text(f"[camera]\n{text}\n")
            camera.process.send_signal(signal.SIGHUP)
            wait_until_ready()
        said = camera.stop()
    finally:
        camera.kill()
    assert camera.process.returncode == 0
    for reason in (
        "'45' is not one of '0', '90', '180', '270'",
        "--leave must not be above --enter",
        "--interval and --fps exclude each other",
        "all: invalid region",
    ):
        assert sum("the settings stay as they were: " in line and reason in line for line in said.splitlines()) == 1
    assert said.count("the settings stay as they were") == 4, "the option --schedule has precedence over the file"
