"""`edge-detect fleet` with a real server and real boards."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.fleet.protocol import models_id
from edge.inference.router import router
from tests.conftest import MODELS, command, environment, picture
from tests.support.nats import Board, Nats, fleet, pictures, results, status, wait_until

MODEL = MODELS / "brightness_int8.tflite"
OTHER = MODELS / "absolute_int8.tflite"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Nats]:
    with Nats(tmp_path / "nats") as running:
        yield running


def work(home: Path, server: Nats, *options: str | Path) -> Board:
    return Board(home, "board", "--server", server.address, "--model", MODEL, *options)


def test_submitted_images_are_answered_as_by_classify(tmp_path: Path, server: Nats) -> None:
    inbox = pictures(tmp_path / "inbox", 5)
    (inbox / "no image.jpg").write_bytes(b"text")
    address = ("--server", server.address)
    done = fleet(tmp_path, "submit", inbox, *address)
    assert (done.returncode, done.stdout) == (0, "")
    assert "6 queued, 0 known by their content, 0 submitted before, 0 failed" in done.stderr
    board = work(tmp_path, server, "--once")
    assert board.process.wait(60) == 0, board.said
    answers = {answer["path"]: answer for answer in results(tmp_path, *address)}
    classified = subprocess.run(
        command("classify", inbox, "--model", MODEL, "--json"), env=environment(), capture_output=True, text=True
    )
    for line in classified.stdout.splitlines():
        expected = json.loads(line)
        answer = answers.pop(expected["path"])
        assert {key: answer[key] for key in expected if key != "elapsed_ms"} == {
            key: value for key, value in expected.items() if key != "elapsed_ms"
        }
        assert answer["board"] == "board"
        assert len(answer["sha256"]) == 64
    assert answers == {}
    found = status(tmp_path, *address)
    assert (found["images"], found["dead"], found["answers"]) == (0, 0, 6)
    text = fleet(tmp_path, "results", *address)
    assert text.returncode == 1
    assert "no image.jpg" in text.stderr
    assert len(text.stdout.splitlines()) == 5
    after = results(tmp_path, *address, "--after", "4")
    assert [answer["id"] for answer in after] == [5, 6]
    assert list(tmp_path.glob("edge-detect-fleet-*")) == []


def test_second_submission_queues_nothing_again(tmp_path: Path, server: Nats) -> None:
    inbox, address = pictures(tmp_path / "inbox", 4), ("--server", server.address)
    fleet(tmp_path, "submit", inbox, *address)
    shutil.copyfile(inbox / "0.png", inbox / "copy.png")
    again = fleet(tmp_path, "submit", inbox, *address)
    assert "0 queued, 1 known by their content, 4 submitted before" in again.stderr
    elsewhere = fleet(tmp_path / "other home", "submit", inbox, *address)
    assert "0 queued, 5 known by their content, 0 submitted before" in elsewhere.stderr
    assert work(tmp_path, server, "--once").process.wait(60) == 0
    answered = fleet(tmp_path, "submit", inbox, *address, "--again")
    assert "0 queued, 5 known by their content" in answered.stderr
    assert len(results(tmp_path, *address)) == 4


def test_journal_of_another_queue_does_not_count(tmp_path: Path) -> None:
    inbox = pictures(tmp_path / "inbox", 2)
    for name in ("first", "second"):
        with Nats(tmp_path / name) as server:
            done = fleet(tmp_path, "submit", inbox, "--server", server.address)
            assert "2 queued" in done.stderr


def test_killed_submission_goes_on_where_it_stopped(tmp_path: Path, server: Nats) -> None:
    inbox, address = pictures(tmp_path / "inbox", 400), ("--server", server.address)
    submitting = subprocess.Popen(command("fleet", "submit", inbox, *address), env=environment(HOME=str(tmp_path)))
    wait_until(lambda: "EDGE_WORK" in os.listdir(server_streams(tmp_path)), lambda: "no stream", 60)
    wait_until(lambda: status(tmp_path, *address)["images"] >= 20, lambda: "nothing submitted")
    submitting.kill()
    submitting.wait()
    done = fleet(tmp_path, "submit", inbox, *address)
    queued, known, before, failed = (int(word) for word in done.stderr.replace(",", "").split() if word.isdigit())
    assert (queued + known + before, failed) == (400, 0)
    assert before >= 1
    assert status(tmp_path, *address)["images"] == 400


def server_streams(folder: Path) -> Path:
    streams = folder / "nats" / "store" / "jetstream" / "$G" / "streams"
    streams.mkdir(parents=True, exist_ok=True)
    return streams


def test_full_queue_makes_submission_wait_and_loses_nothing(tmp_path: Path, server: Nats) -> None:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    for number in range(12):
        picture(inbox / f"{number}.bmp", 100, (300, 200), seed=number)  # 180 kB each; the queue holds five
    address = ("--server", server.address)
    submitting = subprocess.Popen(
        command("fleet", "submit", inbox, *address, "--queue-mb", "1"),
        env=environment(HOME=str(tmp_path)),
        stderr=subprocess.PIPE,
        text=True,
    )
    assert submitting.stderr is not None
    assert "the queue is full; waiting" in submitting.stderr.readline()
    assert status(tmp_path, *address)["images"] == 5
    board = work(tmp_path, server)
    _, said = submitting.communicate(timeout=60)
    assert submitting.returncode == 0, said
    assert "12 queued" in said
    wait_until(lambda: len(results(tmp_path, *address)) == 12, lambda: board.said)
    assert board.stop() == 0


def test_stopped_submission_ends_while_the_queue_is_full(tmp_path: Path, server: Nats) -> None:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    for number in range(8):
        picture(inbox / f"{number}.bmp", 100, (300, 200), seed=number)
    submitting = subprocess.Popen(
        command("fleet", "submit", inbox, "--server", server.address, "--queue-mb", "1"),
        env=environment(HOME=str(tmp_path)),
        stderr=subprocess.PIPE,
        text=True,
    )
    assert submitting.stderr is not None
    assert "the queue is full; waiting" in submitting.stderr.readline()
    submitting.send_signal(signal.SIGTERM)
    _, said = submitting.communicate(timeout=30)
    assert submitting.returncode == 128 + signal.SIGTERM
    assert "5 queued" in said


def test_board_takes_no_image_that_names_other_models(tmp_path: Path, server: Nats) -> None:
    address = ("--server", server.address)
    newer = models_id(router(OTHER).digests)
    submitted = fleet(tmp_path, "submit", pictures(tmp_path / "new", 3), *address, "--for-models", newer)
    assert "3 queued" in submitted.stderr
    fleet(tmp_path, "submit", pictures(tmp_path / "any", 2, (30, 20)), *address)
    older = work(tmp_path, server, "--once")
    assert older.process.wait(60) == 0, older.said
    assert {Path(answer["path"]).parent.name for answer in results(tmp_path, *address)} == {"any"}
    assert status(tmp_path, *address)["queues"][newer]["waiting"] == 3
    board = Board(tmp_path, "newer", *address, "--model", OTHER, "--once")
    assert board.process.wait(60) == 0, board.said
    assert newer in board.said
    answers = results(tmp_path, *address)
    assert {answer["board"] for answer in answers if Path(answer["path"]).parent.name == "new"} == {"newer"}
    assert len(answers) == 5


def test_sigterm_finishes_what_is_in_hand(tmp_path: Path, server: Nats) -> None:
    address = ("--server", server.address)
    fleet(tmp_path, "submit", pictures(tmp_path / "inbox", 200), *address)
    board = work(tmp_path, server)
    wait_until(lambda: len(results(tmp_path, *address)) > 0, lambda: board.said)
    assert board.stop() == 0
    left = status(tmp_path, *address)
    assert all(not queue["in_hand"] for queue in left["queues"].values())
    assert left["images"] + left["answers"] == 200


def test_results_watch_prints_answers_as_they_come(tmp_path: Path, server: Nats) -> None:
    address = ("--server", server.address)
    fleet(tmp_path, "submit", picture(tmp_path / "first.png", seed=1), *address)
    assert work(tmp_path, server, "--once").process.wait(60) == 0
    watching = subprocess.Popen(
        command("fleet", "results", "--watch", "--json", *address), env=environment(), stdout=subprocess.PIPE, text=True
    )
    try:
        assert watching.stdout is not None
        assert json.loads(watching.stdout.readline())["path"].endswith("first.png")
        server.kill()
        server.start()
        fleet(tmp_path, "submit", picture(tmp_path / "second.png", seed=2), *address)
        assert work(tmp_path, server, "--once").process.wait(60) == 0
        assert json.loads(watching.stdout.readline())["path"].endswith("second.png")
    finally:
        watching.kill()
        watching.communicate()


def test_options_of_the_connection_come_from_settings_file_and_environment(tmp_path: Path, server: Nats) -> None:
    (tmp_path / ".config").mkdir()
    (tmp_path / ".config" / "edge-detect.toml").write_text(f'[fleet]\nserver = ["{server.address}"]\n')
    fleet(tmp_path, "submit", picture(tmp_path / "a.png"))
    assert status(tmp_path)["images"] == 1
    assert fleet(tmp_path / "other", "status", EDGE_DETECT_SERVER=server.address).returncode == 0


def test_board_waits_for_a_server_that_starts_later(tmp_path: Path) -> None:
    server = Nats(tmp_path / "nats")
    board = work(tmp_path, server)
    board.until("connection refused; trying again")
    time.sleep(0.5)
    with server:
        board.until("works with models")
        assert board.stop() == 0
