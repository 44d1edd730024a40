"""Telling: each answer once, to every listener, also when one fails for a while."""

import json
import os
import shlex
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from edge.errors import LedgerError, SinkError
from edge.ledger import Entry, Ledger
from edge.outbox import CommandOutlet, Outlet
from edge.sinks.command import Command
from edge.sinks.log import JsonLog
from edge.stamp import Stamp
from edge.verdict import Answer, Failure, Recorded, Verdict

FOLDER = "/in"


def entry(name: str, label: str | None = "REAL") -> Entry:
    answer: Answer = Failure(f"{FOLDER}/{name}", "no image")
    if label is not None:
        answer = Verdict(f"{FOLDER}/{name}", label, label == "REAL", 0.9, 0.9, None, 0.001)
    return Entry(f"{FOLDER}/{name}", Stamp(1, hash(name) % 10**6, 3, 4), 10**10, name.encode(), answer, "model")


def record(ledger: Ledger, *names: str, label: str | None = "REAL") -> None:
    ledger.record([entry(name, label) for name in names], FOLDER)


class Listener:
    """A sink that can be out of order."""

    name = "listener"

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.is_deaf = False

    def tell(self, batch: Sequence[Recorded]) -> None:
        if self.is_deaf:
            raise SinkError("nobody hears")
        self.heard += [Path(told.answer.path).name for told in batch]


def deliver(outlet: Outlet) -> None:
    while outlet.deliver():
        pass


def test_a_sink_is_told_once_and_in_order(tmp_path: Path) -> None:
    listener = Listener()
    with Ledger(tmp_path) as ledger:
        outlet = Outlet(ledger, FOLDER, listener, print)
        record(ledger, *(str(number) for number in range(600)))
        deliver(outlet)
        deliver(outlet)
        assert listener.heard == [str(number) for number in range(600)]
    with Ledger(tmp_path) as ledger:  # the next start
        deliver(Outlet(ledger, FOLDER, listener, print))
        assert len(listener.heard) == 600


def test_a_new_sink_hears_of_what_comes_and_not_of_what_was(tmp_path: Path) -> None:
    listener = Listener()
    with Ledger(tmp_path) as ledger:
        record(ledger, "before")
        outlet = Outlet(ledger, FOLDER, listener, print)
        ledger.record([entry("after")], FOLDER)
        ledger.record([entry("elsewhere")], "/other")
        outlet.deliver()
    assert listener.heard == ["after"]


def test_a_sink_that_fails_is_said_once_and_told_later(tmp_path: Path) -> None:
    listener, said = Listener(), []
    with Ledger(tmp_path) as ledger:
        outlet = Outlet(ledger, FOLDER, listener, said.append)
        listener.is_deaf = True
        for name in "abc":
            record(ledger, name)
            outlet.deliver()
        assert said == ["nobody hears; it is told of the answers later"]
        listener.is_deaf = False
        assert outlet.deliver(at_once=True)
        assert not outlet.deliver(at_once=True)
        assert listener.heard == ["a", "b", "c"]
        assert said[1:] == ["over: nobody hears"]


def log_ids(path: Path) -> list[int]:
    return [json.loads(line)["id"] for line in path.read_text().splitlines()]


def test_a_log_survives_rotation_of_either_kind(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    with Ledger(tmp_path) as ledger:
        outlet = Outlet(ledger, FOLDER, JsonLog(log), print)
        record(ledger, "a")
        outlet.deliver()
        log.rename(tmp_path / "log.1")
        record(ledger, "b")
        outlet.deliver()
        kept = log.read_text()
        os.truncate(log, 0)
        record(ledger, "c")
        outlet.deliver()
    assert log_ids(tmp_path / "log.1") == [1]
    assert json.loads(kept)["id"] == 2
    assert log_ids(log) == [3]


def test_a_log_that_was_written_but_not_noted_is_not_doubled_and_a_torn_line_is_cut(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    with Ledger(tmp_path) as ledger:
        ledger.subscribe(FOLDER, JsonLog(log).name)
        record(ledger, "a", "b", "c")
        batch = ledger.untold(FOLDER, JsonLog(log).name)
        JsonLog(log).tell(batch[:2])  # and here it was killed, before it could note that
        with log.open("a") as file:
            file.write('{"id": 3, "path": "/in')  # and here the power went
        deliver(Outlet(ledger, FOLDER, JsonLog(log), print))
    assert log_ids(log) == [1, 2, 3]


def test_a_full_disk_leaves_no_part_of_a_line(tmp_path: Path) -> None:
    """The file-size limit of a process is the smallest full disk."""
    import subprocess

    from tests.conftest import environment

    program = (
        "import resource, signal, sys\nfrom pathlib import Path\nfrom edge.errors import SinkError\n"
        "from edge.sinks.log import JsonLog\nfrom edge.verdict import Failure, Recorded\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\nresource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "log = JsonLog(Path(sys.argv[1]))\n"
        "for number in range(100):\n"
        "    try:\n        log.tell([Recorded(number, 0.0, Failure('/in/x', 'bad'), None)])\n"
        "    except SinkError as error:\n        print(error)\n        break\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "log"], env=environment(), capture_output=True, text=True, timeout=60
    )
    assert "cannot write the log: file too large" in done.stdout, done.stderr
    assert log_ids(tmp_path / "log") == list(range(len(log_ids(tmp_path / "log"))))
    assert (tmp_path / "log").read_text().endswith("\n")


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
            CommandOutlet(tmp_path / "state", FOLDER, Command(writing(heard), "FAKE"), print),
            CommandOutlet(tmp_path / "state", FOLDER, Command(writing(tmp_path / "all"), None), print),
        ]
        record(ledger, "real")
        record(ledger, "fake", label="FAKE")
        record(ledger, "bad", label=None)
        for outlet in outlets:
            end(outlet, finish=True)
    (told,) = map(json.loads, heard.read_text().splitlines())
    assert (told["path"], told["label"]) == ("/in/fake", "FAKE")
    everything = [json.loads(line) for line in (tmp_path / "all").read_text().splitlines()]
    assert [Path(one["path"]).name for one in everything] == ["real", "fake", "bad"]
    assert everything[2]["error"] == "no image"


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
        first = CommandOutlet(tmp_path / "state", FOLDER, Command("false", None), lambda _: None)
        record(ledger, "a", "b")
        first.deliver()
        end(first, finish=False)  # in the middle of its attempts
        again = Command(writing(tmp_path / "heard"), None)
        again.name = "command any false"
        second = CommandOutlet(tmp_path / "state", FOLDER, again, print)
        end(second, finish=True)
    heard = [json.loads(line) for line in (tmp_path / "heard").read_text().splitlines()]
    assert [one["id"] for one in heard] == [1, 2]


@pytest.mark.parametrize("line", ["", "'unfinished"])
def test_what_is_no_command_is_refused(line: str) -> None:
    with pytest.raises(SinkError):
        Command(line, None)


def test_a_sink_that_was_told_is_not_told_again_because_that_could_not_be_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener = Listener()
    with Ledger(tmp_path) as ledger:
        outlet = Outlet(ledger, FOLDER, listener, print)
        record(ledger, "a", "b")
        with monkeypatch.context() as broken:
            broken.setattr(ledger, "told", _disk_full)
            with pytest.raises(LedgerError):
                outlet.deliver()
        record(ledger, "c")
        deliver(outlet)
        assert listener.heard == ["a", "b", "c"]


def _disk_full(*_: object) -> None:
    raise LedgerError("disk full")


def test_who_listens_hears_of_a_ledger_that_was_begun_anew(tmp_path: Path) -> None:
    listener = Listener()
    with Ledger(tmp_path) as ledger:
        outlet = Outlet(ledger, FOLDER, listener, print)
        record(ledger, "a", "b")
        deliver(outlet)
        for path in tmp_path.glob("ledger.sqlite3*"):
            path.unlink()
        assert not ledger.is_there
        ledger.reopen()
        record(ledger, "c")
        deliver(outlet)
        assert listener.heard == ["a", "b", "c"]


def test_a_command_that_runs_is_ended_with_us_and_run_again_by_the_next_start(tmp_path: Path) -> None:
    line = shlex.join([sys.executable, "-c", f"open({str(tmp_path / 'begun')!r}, 'w'); import time; time.sleep(100)"])
    with Ledger(tmp_path / "state") as ledger:
        outlet = CommandOutlet(tmp_path / "state", FOLDER, Command(line, None), print)
        record(ledger, "a")
        outlet.deliver()
        deadline = time.monotonic() + 30
        while not (tmp_path / "begun").exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        began = time.monotonic()
        end(outlet, finish=False)
        assert time.monotonic() - began < 20
        assert [told.id for told in ledger.untold(FOLDER, outlet._command.name)] == [1]


def test_a_command_that_leaves_something_running_is_not_waited_for(tmp_path: Path) -> None:
    program = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(5)'])"
    began = time.monotonic()
    told = Recorded(1, 0.0, Failure("/in/a", "bad"), None)
    Command(shlex.join([sys.executable, "-c", program]), None, 20).run(told, threading.Event())
    assert time.monotonic() - began < 4


def test_what_a_command_could_not_be_told_of_it_is_told_of_by_the_next_start(tmp_path: Path) -> None:
    heard, switch = tmp_path / "heard", tmp_path / "switch"
    program = f"import os, sys; os.path.exists({str(switch)!r}) or sys.exit('out of order'); {PROGRAM}"
    command = Command(shlex.join([sys.executable, "-c", program, str(heard)]), None)
    said: list[str] = []
    with Ledger(tmp_path / "state") as ledger:
        outlet = CommandOutlet(tmp_path / "state", FOLDER, command, said.append)
        record(ledger, "a")
        end(outlet, finish=True)
        assert outlet.failed == 1
        assert said[-1] == f"given up until the next start: {sys.executable}: exit status 1: out of order (/in/a)"
        switch.touch()
        record(ledger, "b")
        for _ in range(2):
            again = CommandOutlet(tmp_path / "state", FOLDER, command, said.append)
            end(again, finish=True)
    assert [json.loads(line)["id"] for line in heard.read_text().splitlines()] == [2, 1], "the new ones first"


def test_a_command_that_is_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    program, said = tmp_path / "program", list[str]()
    with Ledger(tmp_path / "state") as ledger:
        outlet = CommandOutlet(tmp_path / "state", FOLDER, Command(shlex.quote(str(program)), None), said.append)
        record(ledger, "a", "b")
        outlet.deliver()
        deadline = time.monotonic() + 30
        while not said:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert "cannot be run: no such file or directory" in outlet.trouble.reason
        program.write_text(f"#!/bin/sh\ncat >>{shlex.quote(str(tmp_path))}/heard\n")
        program.chmod(0o755)
        end(outlet, finish=True)
        assert outlet.failed == 0
    assert [json.loads(line)["id"] for line in (tmp_path / "heard").read_text().splitlines()] == [1, 2]
    assert len(said) == 2


def test_a_command_is_not_run_again_because_that_could_not_be_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, attempts = Ledger.told, []

    def told_at_the_second_attempt(ledger: Ledger, *arguments: object) -> None:
        attempts.append(arguments)
        if len(attempts) == 1:
            raise LedgerError("disk full")
        told(ledger, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Ledger, "told", told_at_the_second_attempt)
    with Ledger(tmp_path / "state") as ledger:
        outlet = CommandOutlet(tmp_path / "state", FOLDER, Command(writing(tmp_path / "heard"), None), print)
        record(ledger, "a")
        outlet.deliver()
        deadline = time.monotonic() + 30
        while len(attempts) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        end(outlet, finish=True)
    assert len((tmp_path / "heard").read_text().splitlines()) == 1


def test_a_sink_that_is_taken_up_again_is_a_new_one(tmp_path: Path) -> None:
    listener = Listener()
    with Ledger(tmp_path) as ledger:
        deliver(Outlet(ledger, FOLDER, listener, print))
        ledger.keep_subscribed(FOLDER, ["another"])
        record(ledger, "meanwhile")
        outlet = Outlet(ledger, FOLDER, listener, print)
        record(ledger, "now")
        deliver(outlet)
    assert listener.heard == ["now"]
