"""`--tpu` on the command line, in the environment and in the settings; and a watcher whose Coral comes and goes."""

import contextlib
import json
import signal
import socket
import sqlite3
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edge.inference.model import load
from edge.service.units import Watch, drop_in_text
from tests.conftest import MODELS, Run, age, command, environment, picture
from tests.support.delegates import compiled
from tests.support.watching import PATIENCE, Watching

COMPILED = MODELS / "brightness_int8_edgetpu.tflite"


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(tmp_path_factory.mktemp("library"))


def test_tpu_without_a_value_does_not_consume_the_next_word(
    tmp_path: Path, edge_detect: Run, brightness: Path, library: Path
) -> None:
    picture(tmp_path / "bright.png", 230)
    options = ("--model", brightness, "--tpu-library", library)
    for words in (("--tpu", "bright.png"), ("--tpu=usb", "bright.png"), ("--tpu", "--", "bright.png")):
        done = edge_detect("classify", *options, *words)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("REAL")
    for name in ("usb", "1", "auto", "--tpu"):
        picture(tmp_path / f"{name}.png", 230).rename(tmp_path / name)
    done = edge_detect("classify", *options, "--tpu", "usb", "1", "auto", "--", "--tpu")
    assert done.stdout.count("REAL") == 4, done.stderr


@pytest.mark.parametrize(
    ("variable", "file", "options", "is_used"),
    [
        ("true", "", (), True),
        ("usb", "", (), True),
        ("", "", (), False),
        ("0", "", (), True),
        ("", "[classify]\ntpu = true\n", (), True),
        ("", '[classify]\ntpu = "usb:0"\n', (), True),
        ("", "[classify]\ntpu = 0\n", (), True),
        ("", "[classify]\ntpu = false\n", (), False),
        ("no", "[classify]\ntpu = true\n", (), False),
        ("true", "", ("--tpu=no",), False),
    ],
)
def test_tpu_is_set_by_option_environment_and_file(
    tmp_path: Path,
    brightness: Path,
    library: Path,
    edge_detect: Run,
    variable: str,
    file: str,
    options: tuple[str, ...],
    is_used: bool,
) -> None:
    """The delegate refuses to load: its error shows that it was requested."""
    (tmp_path / "settings.toml").write_text(file)
    variables = {"EDGE_DETECT_TPU": variable} if variable else {}
    refusing = {"TEST_DELEGATE": "refuse", "EDGE_DETECT_TPU_LIBRARY": str(library)}
    done = edge_detect(
        *("--config", tmp_path / "settings.toml", "classify", "--model", brightness, *options),
        picture(tmp_path / "image.png"),
        env=environment(HOME=str(tmp_path), **variables, **refusing),
    )
    assert done.returncode == (2 if is_used else 0), done.stderr
    assert ("there is no such device" in done.stderr) == is_used


def test_invalid_tpu_value_is_refused(tmp_path: Path, edge_detect: Run) -> None:
    done = edge_detect("classify", "--tpu=gpu", "x.png")
    assert done.returncode == 2
    assert "'gpu' is none of usb, pci, auto" in done.stderr
    (tmp_path / "settings.toml").write_text("[classify]\ntpu = []\n")
    done = edge_detect("--config", "settings.toml", "classify", "x.png")
    assert done.returncode == 2
    assert "[classify] tpu: " in done.stderr
    assert "--tpu[=usb|pci|N|auto]" in edge_detect("classify", "--help").stdout


def test_missing_compiled_model_or_coral_is_a_one_line_error(
    tmp_path: Path, edge_detect: Run, brightness: Path
) -> None:
    image = picture(tmp_path / "image.png")
    done = edge_detect("classify", "--tpu", image)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "compact_int8_edgetpu.tflite: there is no such file: run `edgetpu_compiler" in line or "Coral" in line
    done = edge_detect("classify", "--tpu=usb:99", "--model", brightness, image)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "Coral" in line
    assert done.stdout == ""
    auto = edge_detect("classify", "--tpu=auto", image, image)
    assert auto.returncode == 0
    assert len(auto.stdout.splitlines()) == 2
    assert len(auto.stderr.splitlines()) <= 1, "and none where there is a Coral"


def test_compiled_model_without_tpu_is_an_error(tmp_path: Path, edge_detect: Run) -> None:
    done = edge_detect("classify", "--model", COMPILED, picture(tmp_path / "image.png"))
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "compiled for the Edge TPU, runs only on a Coral: use --tpu" in line


def test_coral_lost_during_classify_is_a_one_line_error(
    tmp_path: Path, edge_detect: Run, brightness: Path, library: Path
) -> None:
    """The Coral is lost when the first image's figure has been written."""
    images = [picture(tmp_path / name, 230) for name in ("first.png", "second.png")]
    done = edge_detect(
        *("classify", "--figure", "--tpu", "--tpu-library", library, "--model", brightness, *images),
        env=environment(HOME=str(tmp_path), TEST_DELEGATE_GONE=str(tmp_path / "first_results.png")),
    )
    assert done.returncode == 2
    assert len(done.stdout.splitlines()) == 1
    (line,) = done.stderr.splitlines()
    assert "the Coral failed: " in line
    assert "device disconnected" in line


@pytest.fixture
def pulled(tmp_path: Path, library: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """While this file exists, the Coral counts as unplugged."""
    monkeypatch.setenv("TEST_DELEGATE_GONE", str(tmp_path / "pulled"))
    return tmp_path / "pulled"


@pytest.fixture
def at_work(inbox: Path, library: Path, watching: Callable[..., Watching]) -> Callable[[str], Watching]:
    """Starts a watcher with an option --tpu. It has answered first.png, a bright image."""

    def start(tpu: str) -> Watching:
        watcher = watching(tpu, "--tpu-library", str(library))
        age(picture(inbox / "first.png", 230, seed=1))
        watcher.until(lambda w: w.names == ["first.png"])
        return watcher

    return start


def test_watcher_waits_for_coral_and_loses_no_file(
    inbox: Path, pulled: Path, at_work: Callable[[str], Watching]
) -> None:
    watcher = at_work("--tpu")
    pulled.touch()
    for number in range(2, 7):
        age(picture(inbox / f"{number}.png", 230 if number % 2 else 20, seed=number))
    watcher.until(lambda w: any("unplug it and plug it in again" in line for line in w.errors))
    time.sleep(1.0)  # for further attempts
    assert watcher.names == ["first.png"]
    pulled.unlink()
    watcher.until(lambda w: len(w.names) == 6)
    labels = {Path(str(answer["path"])).stem: answer["label"] for answer in watcher.answers}
    assert labels == {"first": "REAL", "2": "FAKE", "3": "REAL", "4": "FAKE", "5": "REAL", "6": "FAKE"}
    said = watcher.stop()
    # Three lines, whatever the number of attempts: failed, absent, recovered.
    troubles = [line for line in said.splitlines() if line.startswith("edge-detect: ")]
    assert len(troubles) == 3, said
    assert "the Coral failed: " in troubles[0]
    assert troubles[1].endswith("unplug it and plug it in again; trying again")
    assert troubles[2].startswith("edge-detect: recovered: ")
    assert watcher.process.returncode == 0


def test_file_that_arrives_while_the_coral_is_unplugged_is_answered_after_a_restart(
    inbox: Path,
    library: Path,
    pulled: Path,
    watching: Callable[..., Watching],
    at_work: Callable[[str], Watching],
) -> None:
    watcher = at_work("--tpu")
    pulled.touch()
    age(picture(inbox / "second.png", 230, seed=2))
    time.sleep(1.5)
    said = watcher.stop()
    assert watcher.process.returncode == 0, said
    pulled.unlink()
    again = watching("--tpu", "--tpu-library", str(library))
    again.until(lambda w: w.names == ["second.png"])


def test_tpu_auto_falls_back_to_the_processor(inbox: Path, pulled: Path, at_work: Callable[[str], Watching]) -> None:
    watcher = at_work("--tpu=auto")
    pulled.touch()
    for number in range(2, 5):
        age(picture(inbox / f"{number}.png", 20, seed=number))
    watcher.until(lambda w: len(w.names) == 4)
    assert [answer["label"] for answer in watcher.answers] == ["REAL", "FAKE", "FAKE", "FAKE"]
    said = watcher.stop()
    assert said.count("the processor does the work instead") == 1
    (ledger,) = inbox.parent.rglob("*.sqlite*")
    with contextlib.closing(sqlite3.connect(ledger)) as recorded:
        by = [row[0] for row in recorded.execute("SELECT model_sha256 FROM answers ORDER BY id")]
    plain = COMPILED.with_name("brightness_int8.tflite")
    assert by == [load(COMPILED).sha256, *[load(plain).sha256] * 3], (
        "each answer is recorded with the model that gave it"
    )


def test_service_without_its_coral_is_ready_feeds_the_watchdog_and_waits(
    inbox: Path, library: Path, pulled: Path, brightness: Path, tmp_path: Path, listener: socket.socket
) -> None:
    picture(inbox / "first.png", 230)
    pulled.touch()
    process = subprocess.Popen(
        command("watch", inbox, "--json", "--tpu", "--tpu-library", library, "--model", brightness),
        env=environment(HOME=str(tmp_path), NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="60000000"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert listener.recv(4096) == b"READY=1"
        told = listener.recv(4096)
        assert told.startswith(b"WATCHDOG=1")
        assert b"there is no such device" in told
        assert process.poll() is None
        pulled.unlink()
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["label"] == "REAL"
    finally:
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, said
    assert said.count("; trying again") == 1


def test_reload_opens_the_coral_again(inbox: Path, at_work: Callable[[str], Watching]) -> None:
    watcher = at_work("--tpu")
    watcher.process.send_signal(signal.SIGHUP)
    age(picture(inbox / "second.png", 230, seed=2))
    watcher.until(lambda w: w.names == ["first.png", "second.png"])
    assert watcher.stop() != ""
    assert watcher.process.wait(PATIENCE) == 0


def test_once_without_its_coral_exits_with_status_2(
    inbox: Path, library: Path, pulled: Path, edge_detect: Run, brightness: Path
) -> None:
    age(picture(inbox / "first.png", 230, seed=1))
    pulled.touch()
    done = edge_detect(
        *("watch", inbox, "--once", "--tpu", "--tpu-library", library, "--model", brightness),
        env=environment(HOME=str(inbox.parent)),
    )
    assert done.returncode == 2
    assert "there is no such device" in done.stderr


@pytest.mark.parametrize("value", ["--tpu", "--tpu=usb"])
def test_service_gets_permissions_for_a_coral_only_with_tpu(tmp_path: Path, edge_detect: Run, value: str) -> None:
    done = edge_detect("service", "install", "watch", value, tmp_path, "--dry-run")
    assert f'EDGE_DETECT_TPU="{value.removeprefix("--tpu=") if "=" in value else "any"}"' in done.stdout, done.stderr
    assert "DeviceAllow=char-usb_device rw" in done.stdout
    with_it = drop_in_text(Watch("/srv/in", (), {"EDGE_DETECT_TPU": "any"}), Path("/x"))
    for line in ("PrivateDevices=no", "DevicePolicy=closed", "RestrictAddressFamilies=AF_UNIX AF_NETLINK"):
        assert line in with_it.splitlines()
    assert "PrivateNetwork" not in with_it
    assert "Device" not in drop_in_text(Watch("/srv/in"), Path("/x"))
