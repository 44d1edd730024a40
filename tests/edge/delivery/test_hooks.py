"""A user's commands: run for each answer, one after the other, and again if interrupted."""

import json
import shlex
import sys
import threading
import time
from pathlib import Path

import pytest

from edge.delivery.hooks import Command
from edge.delivery.outbox import CommandOutlet
from edge.errors import LedgerError, SinkError
from edge.store.ledger import Ledger
from edge.verdict import Failure, Recorded
from tests.support.recording import FOLDER, record


def end(outlet: CommandOutlet, *, finish: bool) -> None:
    outlet.end(finish=finish)
    assert outlet.has_ended(30)


PROGRAM = "import sys; open(sys.argv[1], 'a').write(sys.stdin.read())"


def writing(path: Path) -> str:
    return shlex.join([sys.executable, "-c", PROGRAM, str(path)])


def test_command_receives_json_of_its_label_without_shell(tmp_path: Path) -> None:
    received_file = tmp_path / "received; echo $HOME"
    with Ledger(tmp_path / "state") as ledger:
        outlets = [
            CommandOutlet(tmp_path / "state", FOLDER, Command(writing(received_file), "FAKE")),
            CommandOutlet(tmp_path / "state", FOLDER, Command(writing(tmp_path / "all"), None)),
        ]
        record(ledger, "real")
        record(ledger, "fake", label="FAKE")
        record(ledger, "unsure", label="UNSURE")
        record(ledger, "bad", label=None)
        for outlet in outlets:
            end(outlet, finish=True)
    (received,) = map(json.loads, received_file.read_text().splitlines())
    assert (received["path"], received["label"]) == ("/in/fake", "FAKE")
    everything = [json.loads(line) for line in (tmp_path / "all").read_text().splitlines()]
    assert [Path(one["path"]).name for one in everything] == ["real", "fake", "unsure", "bad"]
    assert everything[3]["error"] == "no image"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("no-such-program-here", "cannot be run: no such file or directory"),
        (shlex.join([sys.executable, "-c", "import sys; sys.exit('broken\\x1b[2J')"]), r"exit status 1: broken\x1b[2J"),
        (shlex.join([sys.executable, "-c", "import time; time.sleep(60)"]), "took more than 0.5 s"),
    ],
)
def test_failed_command_is_one_line_error(line: str, reason: str) -> None:
    recorded = Recorded(1, 0.0, Failure("/in/a", "bad"), None)
    with pytest.raises(SinkError) as raised:
        Command(line, None, 0.5 if "sleep" in line else 20).run(recorded, threading.Event())
    assert reason in str(raised.value)
    assert "\n" not in str(raised.value)


def test_interrupted_attempts_are_repeated_by_next_start(tmp_path: Path) -> None:
    with Ledger(tmp_path / "state") as ledger:
        first = CommandOutlet(tmp_path / "state", FOLDER, Command("false", None))
        record(ledger, "a", "b")
        first.deliver()
        end(first, finish=False)  # in the middle of its attempts
        again = Command(writing(tmp_path / "received"), None)
        again.name = "command any false"
        second = CommandOutlet(tmp_path / "state", FOLDER, again)
        end(second, finish=True)
    received = [json.loads(line) for line in (tmp_path / "received").read_text().splitlines()]
    assert [answer["id"] for answer in received] == [1, 2]


@pytest.mark.parametrize("line", ["", "'unfinished"])
def test_invalid_command_line_is_an_error(line: str) -> None:
    with pytest.raises(SinkError):
        Command(line, None)


def test_stop_kills_running_command_and_leaves_answer_undelivered(tmp_path: Path) -> None:
    line = shlex.join([sys.executable, "-c", f"open({str(tmp_path / 'begun')!r}, 'w'); import time; time.sleep(100)"])
    with Ledger(tmp_path / "state") as ledger:
        outlet = CommandOutlet(tmp_path / "state", FOLDER, Command(line, None))
        record(ledger, "a")
        outlet.deliver()
        deadline = time.monotonic() + 30
        while not (tmp_path / "begun").exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        began = time.monotonic()
        end(outlet, finish=False)
        assert time.monotonic() - began < 20
        assert [answer.id for answer in ledger.undelivered(FOLDER, outlet._command.name)] == [1]


def test_processes_left_running_by_command_do_not_delay_it(tmp_path: Path) -> None:
    program = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(5)'])"
    began = time.monotonic()
    recorded = Recorded(1, 0.0, Failure("/in/a", "bad"), None)
    Command(shlex.join([sys.executable, "-c", program]), None, 20).run(recorded, threading.Event())
    assert time.monotonic() - began < 4


def test_given_up_answer_is_delivered_by_next_start_after_new_ones(tmp_path: Path, logged: list[str]) -> None:
    received, switch = tmp_path / "received", tmp_path / "switch"
    program = f"import os, sys; os.path.exists({str(switch)!r}) or sys.exit('out of order'); {PROGRAM}"
    command = Command(shlex.join([sys.executable, "-c", program, str(received)]), None)
    with Ledger(tmp_path / "state") as ledger:
        outlet = CommandOutlet(tmp_path / "state", FOLDER, command)
        record(ledger, "a")
        end(outlet, finish=True)
        assert outlet.failed == 1
        assert logged[-1] == f"given up until the next start: {sys.executable}: exit status 1: out of order (/in/a)"
        switch.touch()
        record(ledger, "b")
        for _ in range(2):
            again = CommandOutlet(tmp_path / "state", FOLDER, command)
            end(again, finish=True)
    assert [json.loads(line)["id"] for line in received.read_text().splitlines()] == [2, 1], "the new ones first"


def test_missing_program_is_retried_until_it_exists(tmp_path: Path, logged: list[str]) -> None:
    program = tmp_path / "program"
    with Ledger(tmp_path / "state") as ledger:
        outlet = CommandOutlet(tmp_path / "state", FOLDER, Command(shlex.quote(str(program)), None))
        record(ledger, "a", "b")
        outlet.deliver()
        deadline = time.monotonic() + 30
        while not logged:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert "cannot be run: no such file or directory" in outlet.backoff.reason
        program.write_text(f"#!/bin/sh\ncat >>{shlex.quote(str(tmp_path))}/received\n")
        program.chmod(0o755)
        end(outlet, finish=True)
        assert outlet.failed == 0
    assert [json.loads(line)["id"] for line in (tmp_path / "received").read_text().splitlines()] == [1, 2]
    assert len(logged) == 2


def test_missing_program_at_the_end_is_logged_and_leaves_answer_undelivered(tmp_path: Path, logged: list[str]) -> None:
    with Ledger(tmp_path / "state") as ledger:
        outlet = CommandOutlet(tmp_path / "state", FOLDER, Command("no-such-program-here", None))
        record(ledger, "a")
        end(outlet, finish=True)
        assert [answer.id for answer in ledger.undelivered(FOLDER, outlet.name)] == [1]
    assert logged == ["no-such-program-here: cannot be run: no such file or directory"]


def test_command_runs_once_if_ledger_fails_to_record_delivery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original, attempts = Ledger.mark_delivered, []

    def fails_once(ledger: Ledger, *arguments: object) -> None:
        attempts.append(arguments)
        if len(attempts) == 1:
            raise LedgerError("disk full")
        original(ledger, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Ledger, "mark_delivered", fails_once)
    with Ledger(tmp_path / "state") as ledger:
        outlet = CommandOutlet(tmp_path / "state", FOLDER, Command(writing(tmp_path / "received"), None))
        record(ledger, "a")
        outlet.deliver()
        deadline = time.monotonic() + 30
        while len(attempts) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        end(outlet, finish=True)
    assert len((tmp_path / "received").read_text().splitlines()) == 1
