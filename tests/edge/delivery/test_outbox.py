"""Telling: each answer once, to every listener, also when one fails for a while."""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from edge.delivery.jsonl import JsonLog
from edge.delivery.outbox import Outlet
from edge.errors import LedgerError, SinkError
from edge.store.ledger import Ledger
from edge.verdict import Recorded
from tests.support.recording import FOLDER, entry, record


class Listener:
    """A sink that can be out of order."""

    name = "listener"

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.is_deaf = False

    def emit(self, batch: Sequence[Recorded]) -> None:
        if self.is_deaf:
            raise SinkError("nobody hears")
        self.heard += [Path(told.answer.path).name for told in batch]


def deliver(outlet: Outlet) -> None:
    while outlet.deliver():
        pass


def test_a_sink_is_told_once_and_in_order(tmp_path: Path) -> None:
    listener = Listener()
    with Ledger(tmp_path) as ledger:
        outlet = Outlet(ledger, FOLDER, listener)
        record(ledger, *(str(number) for number in range(600)))
        deliver(outlet)
        deliver(outlet)
        assert listener.heard == [str(number) for number in range(600)]
    with Ledger(tmp_path) as ledger:  # the next start
        deliver(Outlet(ledger, FOLDER, listener))
        assert len(listener.heard) == 600


def test_a_new_sink_hears_of_what_comes_and_not_of_what_was(tmp_path: Path) -> None:
    listener = Listener()
    with Ledger(tmp_path) as ledger:
        record(ledger, "before")
        outlet = Outlet(ledger, FOLDER, listener)
        ledger.record([entry("after")], FOLDER)
        ledger.record([entry("elsewhere")], "/other")
        outlet.deliver()
    assert listener.heard == ["after"]


def test_a_sink_that_fails_is_said_once_and_told_later(tmp_path: Path, logged: list[str]) -> None:
    listener = Listener()
    with Ledger(tmp_path) as ledger:
        outlet = Outlet(ledger, FOLDER, listener)
        listener.is_deaf = True
        for name in "abc":
            record(ledger, name)
            outlet.deliver()
        assert logged == ["nobody hears; it receives pending answers on retry"]
        listener.is_deaf = False
        assert outlet.deliver(at_once=True)
        assert not outlet.deliver(at_once=True)
        assert listener.heard == ["a", "b", "c"]
        assert logged[1:] == ["recovered: nobody hears"]


def log_ids(path: Path) -> list[int]:
    return [json.loads(line)["id"] for line in path.read_text().splitlines()]


def test_a_log_survives_rotation_of_either_kind(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    with Ledger(tmp_path) as ledger:
        outlet = Outlet(ledger, FOLDER, JsonLog(log))
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
        batch = ledger.undelivered(FOLDER, JsonLog(log).name)
        JsonLog(log).emit(batch[:2])  # and here it was killed, before it could note that
        with log.open("a") as file:
            file.write('{"id": 3, "path": "/in')  # and here the power went
        deliver(Outlet(ledger, FOLDER, JsonLog(log)))
    assert log_ids(log) == [1, 2, 3]


def test_a_full_disk_leaves_no_part_of_a_line(tmp_path: Path) -> None:
    """The file-size limit of a process is the smallest full disk."""
    import subprocess

    from tests.conftest import environment

    program = (
        "import resource, signal, sys\nfrom pathlib import Path\nfrom edge.errors import SinkError\n"
        "from edge.delivery.jsonl import JsonLog\nfrom edge.verdict import Failure, Recorded\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\nresource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "log = JsonLog(Path(sys.argv[1]))\n"
        "for number in range(100):\n"
        "    try:\n        log.emit([Recorded(number, 0.0, Failure('/in/x', 'bad'), None)])\n"
        "    except SinkError as error:\n        print(error)\n        break\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "log"], env=environment(), capture_output=True, text=True, timeout=60
    )
    assert "cannot write the log: file too large" in done.stdout, done.stderr
    assert log_ids(tmp_path / "log") == list(range(len(log_ids(tmp_path / "log"))))
    assert (tmp_path / "log").read_text().endswith("\n")


def test_a_sink_that_was_told_is_not_told_again_because_that_could_not_be_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener = Listener()
    with Ledger(tmp_path) as ledger:
        outlet = Outlet(ledger, FOLDER, listener)
        record(ledger, "a", "b")
        with monkeypatch.context() as broken:
            broken.setattr(ledger, "mark_delivered", _disk_full)
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
        outlet = Outlet(ledger, FOLDER, listener)
        record(ledger, "a", "b")
        deliver(outlet)
        for path in tmp_path.glob("ledger.sqlite3*"):
            path.unlink()
        assert not ledger.is_there
        ledger.reopen()
        record(ledger, "c")
        deliver(outlet)
        assert listener.heard == ["a", "b", "c"]


def test_a_sink_that_is_taken_up_again_is_a_new_one(tmp_path: Path) -> None:
    listener = Listener()
    with Ledger(tmp_path) as ledger:
        deliver(Outlet(ledger, FOLDER, listener))
        ledger.keep_subscribed(FOLDER, ["another"])
        record(ledger, "meanwhile")
        outlet = Outlet(ledger, FOLDER, listener)
        record(ledger, "now")
        deliver(outlet)
    assert listener.heard == ["now"]
