"""`edge-detect results` and `status`, and what systemd and its journal receive."""

import csv
import io
import json
import os
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from edge.delivery.journal import JournalLines
from edge.files import FileId
from edge.stats import Stats
from edge.store.ledger import Entry, Ledger
from edge.verdict import BEGAN, ENDED, CameraEvent, Failure, Verdict
from tests.conftest import Run, age, command, environment, picture
from tests.support.watching import Watching


def fill(inbox: Path, model: Path, edge_detect: Run) -> None:
    for number in range(6):
        age(picture(inbox / f"{number}.png", grey=40 + 170 * (number % 2), seed=number))
    (inbox / "bad.png").write_text("no image")
    age(inbox / "bad.png")
    done = edge_detect("watch", inbox, "--once", "--model", model, "--state", "state")
    assert done.returncode == 1


def test_results_are_filtered_by_label_age_and_folder(inbox: Path, brightness: Path, edge_detect: Run) -> None:
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


def test_results_print_one_line_or_one_csv_row_for_each_answer(inbox: Path, brightness: Path, edge_detect: Run) -> None:
    fill(inbox, brightness, edge_detect)
    done = edge_detect("results", "--state", "state", "--label", "REAL")
    assert len(done.stdout.splitlines()) == 3
    assert all("Z  REAL" in line for line in done.stdout.splitlines())
    table = list(csv.DictReader(io.StringIO(edge_detect("results", "--state", "state", "--csv").stdout)))
    assert [row["label"] for row in table].count("FAKE") == 3
    assert [row["error"] for row in table if row["label"] == ""] == [
        "not an image in a known format (JPEG, PNG, GIF, BMP, WEBP, TIFF, HEIC, AVIF)"
    ]


def test_unsure_answers_are_listed_and_counted_with_their_model(tmp_path: Path, edge_detect: Run) -> None:
    with Ledger(tmp_path / "state") as ledger:
        for name, label, score in (("a", "REAL", 0.9), ("b", "UNSURE", 0.417), ("c", "FAKE", 0.1), ("d", "REAL", 0.8)):
            confidence = max(score, 1 - score)
            verdict = Verdict(f"/in/{name}", label, label == "REAL", score, confidence, None, 0.001, "photo_int8")
            ledger.record([Entry(verdict.path, FileId(1, 2, 3, 4), 10**10, b"d", verdict, "m")], "/in")
        ledger.record([Entry("/in/e", FileId(1, 2, 3, 4), 10**10, b"d", Failure("/in/e", "no image"), "m")], "/in")
    unsure = edge_detect("results", "--state", "state", "--label", "UNSURE")
    (line,) = unsure.stdout.splitlines()
    assert line.split("Z  ")[1] == "UNSURE  (58.3% FAKE)  /in/b"
    assert unsure.stderr == "1 UNSURE\n"
    assert edge_detect("results", "--state", "state").stderr == "1 FAKE, 2 REAL, 1 UNSURE, 1 failed\n"
    assert edge_detect("results", "--state", "state", "--label", "OTHER").stderr == "no answers\n"
    as_json = edge_detect("results", "--state", "state", "--label", "UNSURE", "--json")
    assert as_json.stderr == ""
    told = json.loads(as_json.stdout)
    assert (told["label"], told["score"], told["confidence"], told["model"]) == ("UNSURE", 0.417, 0.583, "photo_int8")
    table = list(csv.DictReader(io.StringIO(edge_detect("results", "--state", "state", "--csv").stdout)))
    assert [row["model"] for row in table] == ["photo_int8"] * 4 + [""]


def test_beginning_and_end_of_an_event_count_as_one_answer(tmp_path: Path, edge_detect: Run) -> None:
    fake = Verdict("porch", "FAKE", False, 0.1, 0.9, None, 0.001, "photo_int8")
    with Ledger(tmp_path / "state") as ledger:
        for number, state in enumerate((BEGAN, ENDED, BEGAN)):
            ledger.record_event(fake, CameraEvent(state, 1e9), "m", bytes([number]))
    done = edge_detect("results", "--state", "state")
    assert len(done.stdout.splitlines()) == 3
    assert done.stderr == "2 FAKE\n"


def test_journal_entry_has_label_and_model(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(str(tmp_path / "journal"))
        journal.settimeout(10)
        lines = JournalLines(str(tmp_path / "journal"))
        lines.write(Verdict("/in/a", "UNSURE", False, 0.417, 0.583, None, 0.001, "photo_int8"))
        fields = dict(line.split("=", 1) for line in journal.recv(4096).decode().splitlines())
        lines.write(Verdict("/in/a", "REAL", True, 0.9, 0.9, None, 0.001))
        older = journal.recv(4096).decode()
        lines._socket.close()  # a command keeps it open until its process ends
    assert fields["MESSAGE"] == "UNSURE  (58.3% FAKE)  /in/a"
    assert (fields["PRIORITY"], fields["EDGE_DETECT_LABEL"]) == ("6", "UNSURE")
    assert fields["EDGE_DETECT_MODEL"] == "photo_int8"
    assert "EDGE_DETECT_MODEL" not in older


def test_stats_list_the_count_of_each_label() -> None:
    stats = Stats()
    for label, count in (("REAL", 12), ("UNSURE", 1), ("FAKE", 3)):
        for _ in range(count):
            stats.count(Verdict("x", label, label == "REAL", 0.5, 0.5, None, 0.001))
    assert str(stats).startswith("3 FAKE, 12 REAL, 1 UNSURE in ")


def test_invalid_options_of_results_are_one_line_errors(inbox: Path, edge_detect: Run) -> None:
    for options, reason in (
        (("--since", "soon"), "'soon' is not a valid age; write it as 90s"),
        (("--state", "nowhere"), "no such ledger"),
        (("--json", "--csv"), "exclude each other"),
    ):
        done = edge_detect("results", *options)
        assert done.returncode == 2
        assert reason in done.stderr.splitlines()[-1]


def test_results_watch_prints_answers_that_a_watcher_is_recording(
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


def test_prune_deletes_answers_to_missing_files_only(inbox: Path, brightness: Path, edge_detect: Run) -> None:
    fill(inbox, brightness, edge_detect)
    age(picture(inbox / "last.png", seed=9))  # the answer with the greatest id is never forgotten
    edge_detect("watch", inbox, "--once", "--model", brightness, "--state", "state")
    for number in range(3):
        (inbox / f"{number}.png").unlink()
    assert "0 deleted" in edge_detect("results", "--state", "state", "prune", "--older-than", "1d").stdout
    time.sleep(0.01)
    assert "3 deleted" in edge_detect("results", "--state", "state", "prune", "--older-than", "0.001s").stdout
    left = edge_detect("results", "--state", "state", "--json").stdout.splitlines()
    assert sorted(Path(json.loads(line)["path"]).name for line in left) == [
        "3.png",
        "4.png",
        "5.png",
        "bad.png",
        "last.png",
    ]
    again = edge_detect("watch", inbox, "--once", "--json", "--model", brightness, "--state", "state")
    assert again.stdout == ""


def test_status_reports_a_running_watcher_and_exits_with_3_without_one(
    inbox: Path, watching: Callable[..., Watching], edge_detect: Run
) -> None:
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


def test_second_watcher_on_same_folder_is_refused(
    inbox: Path, watching: Callable[..., Watching], edge_detect: Run
) -> None:
    watcher = watching()
    picture(inbox / "a.png")
    watcher.until(lambda w: w.names == ["a.png"])
    second = subprocess.run(
        command("watch", inbox), env=environment(HOME=str(inbox.parent)), capture_output=True, text=True, timeout=60
    )
    assert second.returncode == 2
    assert second.stderr.strip().endswith("is watched already by another edge-detect")


def test_watchers_of_overlapping_folders_are_refused(
    inbox: Path, watching: Callable[..., Watching], brightness: Path
) -> None:
    (inbox / "sub").mkdir()
    watcher = watching("--recursive")
    picture(inbox / "a.png")
    watcher.until(lambda w: w.names == ["a.png"])

    def second(*words: str | Path) -> tuple[int, str]:
        done = subprocess.run(
            command("watch", *words, "--once", "--model", brightness),
            env=environment(HOME=str(inbox.parent)),
            capture_output=True,
            text=True,
            timeout=60,
        )
        return done.returncode, done.stderr

    status, errors = second(inbox / "sub")
    assert status == 2
    assert f"{inbox}/sub: overlaps {inbox}, which another edge-detect watches" in errors
    assert second(inbox.parent, "--recursive")[0] == 2
    assert second(inbox.parent)[0] == 0, "without its sub-folders it shares no file"
    assert second(inbox / "sub", "--state", inbox.parent / "other")[0] == 0
    watcher.stop()
    assert second(inbox / "sub")[0] == 0


def test_results_watch_ends_when_its_reader_does(inbox: Path, brightness: Path, edge_detect: Run) -> None:
    fill(inbox, brightness, edge_detect)
    reader = subprocess.Popen(
        command("results", "--watch", "--json", "--state", "state"),
        cwd=inbox.parent,
        env=environment(HOME=str(inbox.parent / "home")),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert reader.stdout is not None
    assert json.loads(reader.stdout.readline())["id"] == 1
    reader.stdout.close()
    assert reader.wait(30) in (0, 1), "1 if it was printing a line just then"


def test_label_of_results_is_found_in_any_case(inbox: Path, brightness: Path, edge_detect: Run) -> None:
    fill(inbox, brightness, edge_detect)
    for label in ("real", "error"):
        shown, capitals = (edge_detect("results", "--state", "state", "--label", one) for one in (label, label.upper()))
        assert shown.stdout == capitals.stdout != ""


def test_systemd_is_notified_of_start_reload_and_stop_and_not_while_hanging(
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
    process.send_signal(signal.SIGSTOP)  # a hang: no watchdog message
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
