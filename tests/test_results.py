"""Looking at what was answered, and at who is at work."""

import csv
import io
import json
import os
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from tests.conftest import Run, age, command, environment, picture
from tests.watching import Watching


def fill(inbox: Path, model: Path, edge_detect: Run) -> None:
    for number in range(6):
        age(picture(inbox / f"{number}.png", grey=40 + 170 * (number % 2), seed=number))
    (inbox / "bad.png").write_text("no image")
    age(inbox / "bad.png")
    done = edge_detect("watch", inbox, "--once", "--model", model, "--state", "state")
    assert done.returncode == 1


def test_results_can_be_chosen_by_label_age_and_folder(inbox: Path, brightness: Path, edge_detect: Run) -> None:
    fill(inbox, brightness, edge_detect)

    def found(*options: str) -> list[str]:
        done = edge_detect("results", "--state", "state", "--json", *options)
        assert done.returncode == 0, done.stderr
        return sorted(Path(json.loads(line)["path"]).name for line in done.stdout.splitlines())

    assert found() == [*(f"{number}.png" for number in range(6)), "bad.png"]
    assert found("--label", "FAKE") == ["0.png", "2.png", "4.png"]
    assert found("--label", "ERROR") == ["bad.png"]
    assert len(found("--since", "2h")) == 7
    time.sleep(0.01)
    assert found("--since", "0.001s") == []
    assert len(found("--folder", str(inbox))) == 7
    assert found("--folder", str(inbox / "deeper")) == []


def test_results_for_people_and_for_tables(inbox: Path, brightness: Path, edge_detect: Run) -> None:
    fill(inbox, brightness, edge_detect)
    done = edge_detect("results", "--state", "state", "--label", "REAL")
    assert len(done.stdout.splitlines()) == 3
    assert all("Z  REAL" in line for line in done.stdout.splitlines())
    table = list(csv.DictReader(io.StringIO(edge_detect("results", "--state", "state", "--csv").stdout)))
    assert [row["label"] for row in table].count("FAKE") == 3
    assert [row["error"] for row in table if row["label"] == ""] == [
        "not an image in a known format (JPEG, PNG, GIF, BMP, WEBP, TIFF, HEIC)"
    ]


def test_mistakes_of_the_user_are_one_line(inbox: Path, edge_detect: Run) -> None:
    for options, reason in (
        (("--since", "soon"), "soon: no length of time; write 90s"),
        (("--state", "nowhere"), "there is no such ledger"),
        (("--json", "--csv"), "exclude each other"),
    ):
        done = edge_detect("results", *options)
        assert done.returncode == 2
        assert reason in done.stderr.splitlines()[-1]


def test_results_go_on_while_the_watcher_writes(
    inbox: Path, brightness: Path, watching: Callable[..., Watching]
) -> None:
    watcher = watching()
    picture(inbox / "first.png", seed=1)
    watcher.until(lambda w: w.names == ["first.png"])
    reader = subprocess.Popen(
        command("results", "--watch", "--json"),
        env=environment(HOME=str(inbox.parent)),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert reader.stdout is not None
    assert json.loads(reader.stdout.readline())["path"].endswith("first.png")
    picture(inbox / "second.png", seed=2)
    assert json.loads(reader.stdout.readline())["path"].endswith("second.png")
    reader.kill()
    reader.communicate()


def test_pruning_forgets_what_is_gone_and_answers_nothing_twice(
    inbox: Path, brightness: Path, edge_detect: Run
) -> None:
    fill(inbox, brightness, edge_detect)
    for number in range(3):
        (inbox / f"{number}.png").unlink()
    assert "0 forgotten" in edge_detect("results", "--state", "state", "prune", "--older-than", "1d").stdout
    time.sleep(0.01)
    assert "3 forgotten" in edge_detect("results", "--state", "state", "prune", "--older-than", "0.001s").stdout
    left = edge_detect("results", "--state", "state", "--json").stdout.splitlines()
    assert sorted(Path(json.loads(line)["path"]).name for line in left) == ["3.png", "4.png", "5.png", "bad.png"]
    again = edge_detect("watch", inbox, "--once", "--json", "--model", brightness, "--state", "state")
    assert again.stdout == ""


def test_status_tells_what_a_watcher_does(inbox: Path, watching: Callable[..., Watching], edge_detect: Run) -> None:
    variables = environment(HOME=str(inbox.parent))
    none = subprocess.run(command("status"), env=variables, capture_output=True, text=True, timeout=60)
    assert none.returncode == 3
    watcher = watching()
    picture(inbox / "a.png")
    watcher.until(lambda w: w.names == ["a.png"])
    told = subprocess.run(command("status", "--json"), env=variables, capture_output=True, text=True, timeout=60)
    assert told.returncode == 0, told.stderr
    status = json.loads(told.stdout)
    assert status["folder"] == os.path.realpath(inbox)
    assert status["pid"] == watcher.process.pid
    assert status["labels"] == {"REAL": 1}
    assert status["last"]["path"].endswith("a.png")
    text = subprocess.run(command("status"), env=variables, capture_output=True, text=True, timeout=60).stdout
    assert "1 REAL answered" in text
    watcher.stop()
    gone = subprocess.run(command("status"), env=variables, capture_output=True, text=True, timeout=60)
    assert gone.returncode == 3


def test_only_one_watcher_at_a_time(inbox: Path, watching: Callable[..., Watching], edge_detect: Run) -> None:
    watcher = watching()
    picture(inbox / "a.png")
    watcher.until(lambda w: w.names == ["a.png"])
    second = subprocess.run(
        command("watch", inbox), env=environment(HOME=str(inbox.parent)), capture_output=True, text=True, timeout=60
    )
    assert second.returncode == 2
    assert second.stderr.strip().endswith("is watched already by another edge-detect")


def test_systemd_is_told_of_readiness_work_and_the_end(
    inbox: Path, brightness: Path, tmp_path: Path, listener: socket.socket
) -> None:
    import signal

    variables = environment(HOME=str(tmp_path), NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="1000000")
    process = subprocess.Popen(
        command("watch", inbox, "--model", brightness),
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def heard(word: str) -> str:
        while True:
            message = listener.recv(4096).decode()
            if word in message:
                return message

    heard("READY=1")
    heard("WATCHDOG=1")
    picture(inbox / "a.png")
    heard("1 REAL")
    process.send_signal(signal.SIGHUP)
    assert "MONOTONIC_USEC=" in heard("RELOADING=1")
    heard("READY=1")
    process.send_signal(signal.SIGSTOP)  # a hang: no ping any more
    listener.settimeout(2)
    silent = False
    try:
        while True:
            listener.recv(4096)
    except TimeoutError:
        silent = True
    assert silent
    process.send_signal(signal.SIGCONT)
    process.send_signal(signal.SIGTERM)
    listener.settimeout(30)
    heard("STOPPING=1")
    assert process.wait(30) == 0
