"""A fleet under kills: python -m tests.soak.fleet --images 3000 --boards 3 --kills 20

Boards and the server are killed with SIGKILL at random moments while a submission runs, and started again. At the end
each image must have one answer, and the queue must be empty.
"""

import contextlib
import json
import random
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from tests.conftest import MODELS, command, environment
from tests.support.nats import Board, Nats, pictures, results, status, wait_until
from tests.support.ports import free_port

MODEL = MODELS / "brightness_int8.tflite"


@dataclass
class Outcome:
    """What a run has shown.

    Attributes:
        wrong: each difference from "every image one answer, queue empty", in words.
    """

    wrong: list[str] = field(default_factory=list)
    killed: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    boards: Counter[str] = field(default_factory=Counter)


def stream_of(monitor: int, name: str) -> dict[str, Any]:
    """State and consumers of a stream, from the server's monitoring port; empty while it is down."""
    with contextlib.suppress(OSError, ValueError, KeyError, IndexError, TypeError):
        address = f"http://127.0.0.1:{monitor}/jsz?streams=true&consumers=true&config=true"
        with urllib.request.urlopen(address, timeout=5) as answer:
            account = json.load(answer)["account_details"][0]
        return next((one for one in account["stream_detail"] if one["name"] == name), {})
    return {}


def kills(folder: Path, images: int, boards: int, count: int, seed: int, *, sleep: float = 0.01) -> Outcome:
    """Run a fleet under kills in a folder."""
    chance, outcome, monitor = random.Random(seed), Outcome(), free_port()
    began = time.monotonic()
    inbox = pictures(folder / "inbox", images)
    server = Nats(folder / "nats", f'http: "127.0.0.1:{monitor}"').start()
    running: list[Board] = []
    try:
        submitting = subprocess.Popen(
            command("fleet", "submit", inbox, "--server", server.address, "--ack-seconds", "5"),
            env=environment(HOME=str(folder)),
            stderr=subprocess.PIPE,
            text=True,
        )
        words = [sys.executable, "-m", "tests.support.fleet_board", "--server", server.address, "--model", str(MODEL)]
        slow = ["--sleep", str(sleep), "--ack-seconds", "5"]
        running = [Board(folder / "boards", f"b{number}", *slow, words=words) for number in range(boards)]

        def answered() -> int:
            return int(stream_of(monitor, "EDGE_ANSWERS").get("state", {}).get("messages", -1))

        for number in range(count):
            moment = int(images * (number + chance.random()) / (count + 1))
            wait_until(
                lambda moment=moment: answered() >= moment, lambda: [answered(), *(b.said for b in running)], 180
            )
            victim = chance.randrange(boards + 1)
            if victim == boards:
                server.kill()
                time.sleep(chance.random())
                server.start()
            else:
                running[victim].kill()
                running[victim].start_again()
            outcome.killed["server" if victim == boards else "board"] += 1
        said = submitting.communicate(timeout=180)[1]
        if submitting.returncode:
            outcome.wrong.append(f"submit: exit status {submitting.returncode}: {said}")
        options = ("--server", server.address)
        with contextlib.suppress(AssertionError):  # what is left is counted below
            wait_until(lambda: status(folder, *options)["images"] == 0, lambda: "", 120)
        _compare(outcome, inbox, results(folder, *options), status(folder, *options))
        for board in running:
            if board.stop():
                outcome.wrong.append(f"a board ended with an error: {board.said}")
    finally:
        for board in running:
            board.kill()
        server.kill()
    outcome.seconds = time.monotonic() - began
    return outcome


def _compare(outcome: Outcome, inbox: Path, answers: list[dict[str, Any]], left: dict[str, Any]) -> None:
    counts = Counter(str(answer["path"]) for answer in answers)
    expected = {str(path) for path in inbox.iterdir()}
    if missing := expected - set(counts):
        outcome.wrong.append(f"{len(missing)} without an answer, such as {sorted(missing)[:3]}")
    if twice := [path for path, number in counts.items() if number > 1]:
        outcome.wrong.append(f"{len(twice)} with several answers, such as {twice[:3]}")
    if others := set(counts) - expected:
        outcome.wrong.append(f"{len(others)} answers to nothing, such as {sorted(others)[:3]}")
    if errors := [answer for answer in answers if "error" in answer]:
        outcome.wrong.append(f"{len(errors)} errors, such as {errors[0]}")
    if left["images"] or left["dead"]:
        outcome.wrong.append(f"{left['images']} images left in the queue, {left['dead']} of them dead")
    outcome.boards.update(str(answer["board"]) for answer in answers)


@click.command()
@click.option("--images", default=3000, show_default=True)
@click.option("--boards", default=3, show_default=True)
@click.option("--kills", "count", default=20, show_default=True)
@click.option("--seed", default=0, show_default=True)
def main(images: int, boards: int, count: int, seed: int) -> None:
    """Kill boards and the server of a fleet again and again, and count answers."""
    with tempfile.TemporaryDirectory(prefix="edge-detect-soak-") as name:
        outcome = kills(Path(name), images, boards, count, seed)
    print(f"{images} images, {dict(outcome.killed)} killed, {outcome.seconds:.0f} s")
    print(f"answers by board: {dict(outcome.boards)}")
    print("\n".join(outcome.wrong) or "every image has one answer, and the queue is empty")
    sys.exit(1 if outcome.wrong else 0)


if __name__ == "__main__":
    main()
