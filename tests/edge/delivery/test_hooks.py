"""Commands of the user's: run for each answer, one after the other, and again if that was interrupted."""

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


def test_a_command_gets_the_json_of_its_label_without_a_shell(tmp_path: Path) -> None:
    heard = tmp_path / "heard; echo $HOME"
    with Ledger(tmp_path / "state") as ledger:
        outlets = [
            CommandOutlet(tmp_path / "state", FOLDER, Command(writing(heard), "FAKE")),
            CommandOutlet(tmp_path / "state", FOLDER, Command(writing(tmp_path / "all"), None)),
        ]
        record(ledger, "real")
        record(ledger, "fake", label="FAKE")
        record(ledger, "unsure", label="UNSURE")
        record(ledger, "bad", label=None)
        for outlet in outlets:
            end(outlet, finish=True)
    (told,) = map(json.loads, heard.read_text().splitlines())
    assert (told["path"], told["label"]) == ("/in/fake", "FAKE")
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
def test_a_command_that_fails_is_an_error_in_one_line(line: str, reason: str) -> None:
    told = Recorded(1, 0.0, Failure("/in/a", "bad"), None)
    with pytest.raises(SinkError) as raised:
        Command(line, None, 0.5 if "sleep" in line else 20).run(told, threading.Event())
    assert reason in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_command_that_was_interrupted_is_run_again(tmp_path: Path) -> None:
    with Ledger(tmp_path / "state") as ledger:
        first = CommandOutlet(tmp_path / "state", FOLDER, Command("false", None))
        record(ledger, "a", "b")
        first.deliver()
        end(first, finish=False)  # in the middle of its attempts
        again = Command(writing(tmp_path / "heard"), None)
        again.name = "command any false"
        second = CommandOutlet(tmp_path / "state", FOLDER, again)
        end(second, finish=True)
    heard = [json.loads(line) for line in (tmp_path / "heard").read_text().splitlines()]
    assert [one["id"] for one in heard] == [1, 2]


@pytest.mark.parametrize("line", ["", "'unfinished"])
def test_what_is_no_command_is_refused(line: str) -> None:
    with pytest.raises(SinkError):
        Command(line, None)


def test_a_command_that_runs_is_ended_with_us_and_run_again_by_the_next_start(tmp_path: Path) -> None:
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
        assert [told.id for told in ledger.undelivered(FOLDER, outlet._command.name)] == [1]


def test_a_command_that_leaves_something_running_is_not_waited_for(tmp_path: Path) -> None:
    program = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(5)'])"
    began = time.monotonic()
    told = Recorded(1, 0.0, Failure("/in/a", "bad"), None)
    Command(shlex.join([sys.executable, "-c", program]), None, 20).run(told, threading.Event())
    assert time.monotonic() - began < 4


def test_what_a_command_could_not_be_told_of_it_is_told_of_by_the_next_start(tmp_path: Path, logged: list[str]) -> None:
    heard, switch = tmp_path / "heard", tmp_path / "switch"
    program = f"import os, sys; os.path.exists({str(switch)!r}) or sys.exit('out of order'); {PROGRAM}"
    command = Command(shlex.join([sys.executable, "-c", program, str(heard)]), None)
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
    assert [json.loads(line)["id"] for line in heard.read_text().splitlines()] == [2, 1], "the new ones first"


def test_a_command_that_is_not_there_yet_is_waited_for(tmp_path: Path, logged: list[str]) -> None:
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
        program.write_text(f"#!/bin/sh\ncat >>{shlex.quote(str(tmp_path))}/heard\n")
        program.chmod(0o755)
        end(outlet, finish=True)
        assert outlet.failed == 0
    assert [json.loads(line)["id"] for line in (tmp_path / "heard").read_text().splitlines()] == [1, 2]
    assert len(logged) == 2


def test_a_command_is_not_run_again_because_that_could_not_be_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, attempts = Ledger.mark_delivered, []

    def told_at_the_second_attempt(ledger: Ledger, *arguments: object) -> None:
        attempts.append(arguments)
        if len(attempts) == 1:
            raise LedgerError("disk full")
        told(ledger, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Ledger, "mark_delivered", told_at_the_second_attempt)
    with Ledger(tmp_path / "state") as ledger:
        outlet = CommandOutlet(tmp_path / "state", FOLDER, Command(writing(tmp_path / "heard"), None))
        record(ledger, "a")
        outlet.deliver()
        deadline = time.monotonic() + 30
        while len(attempts) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        end(outlet, finish=True)
    assert len((tmp_path / "heard").read_text().splitlines()) == 1
