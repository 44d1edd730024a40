"""Boards and servers that are killed at random moments: every image gets one answer, and the queue ends empty."""

import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.conftest import MODELS, command, environment
from tests.soak.fleet import kills
from tests.support.nats import Board, cluster, pictures, results, status, wait_until

MODEL = MODELS / "brightness_int8.tflite"


def test_every_image_has_one_answer_after_kills_of_boards_and_server(tmp_path: Path) -> None:
    outcome = kills(tmp_path, images=300, boards=3, count=4, seed=1)
    assert outcome.wrong == []
    assert outcome.killed.total() == 4
    assert set(outcome.killed) == {"board", "server"}


def test_board_that_starts_before_the_last_server_of_its_cluster_waits_for_it(tmp_path: Path) -> None:
    with cluster(tmp_path) as servers:
        servers[2].kill()
        addresses = [word for server in servers for word in ("--server", server.address)]
        board = Board(tmp_path / "boards", "a", *addresses, "--model", str(MODEL))
        try:
            time.sleep(3)
            assert board.process.poll() is None, board.said
            assert "works with models" not in board.said, "two servers cannot hold three copies"
            servers[2].start()
            board.until("works with models")
            assert board.stop() == 0
        finally:
            board.kill()


@pytest.mark.timeout(240)
def test_cluster_without_one_of_three_servers_answers_every_image_once(tmp_path: Path) -> None:
    inbox = pictures(tmp_path / "inbox", 150)
    with cluster(tmp_path) as servers:
        addresses = [word for server in servers for word in ("--server", server.address)]
        submitting = subprocess.Popen(
            command("fleet", "submit", inbox, *addresses, "--ack-seconds", "5"),
            env=environment(HOME=str(tmp_path)),
            stderr=subprocess.PIPE,
            text=True,
        )
        words = [sys.executable, "-m", "tests.support.fleet_board", *addresses, "--model", str(MODEL)]
        boards = [Board(tmp_path / "boards", name, "--sleep", "0.03", words=words) for name in ("a", "b")]
        try:
            for board in boards:
                board.until("works with models")
            wait_until(lambda: len(results(tmp_path, *addresses)) > 20, lambda: [board.said for board in boards])
            assert status(tmp_path, *addresses)["cluster"] == "fleet"
            servers[0].kill()
            said = submitting.communicate(timeout=100)[1]
            assert submitting.returncode == 0, said
            left = addresses[2:]
            wait_until(
                lambda: status(tmp_path, *left)["images"] == 0, lambda: [board.said for board in boards], seconds=120
            )
            counts = Counter(Path(answer["path"]).name for answer in results(tmp_path, *left))
            assert counts == Counter(path.name for path in inbox.iterdir())
            assert [board.stop() for board in boards] == [0, 0]
        finally:
            for board in boards:
                board.kill()
            submitting.kill()
            submitting.communicate()
