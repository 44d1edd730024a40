"""Delivery of each answer once to every sink, also if one fails for a while."""

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
from tests.conftest import Run, age, picture
from tests.support.recording import FOLDER, entry, record


class FlakySink:
    """A sink that can fail."""

    name = "flaky"

    def __init__(self) -> None:
        self.received: list[str] = []
        self.is_failing = False

    def emit(self, batch: Sequence[Recorded]) -> None:
        if self.is_failing:
            raise SinkError("sink failed")
        self.received += [Path(recorded.answer.path).name for recorded in batch]


def deliver(outlet: Outlet) -> None:
    while outlet.deliver():
        pass


def test_sink_receives_each_answer_once_in_order(tmp_path: Path) -> None:
    sink = FlakySink()
    with Ledger(tmp_path) as ledger:
        outlet = Outlet(ledger, FOLDER, sink)
        record(ledger, *(str(number) for number in range(600)))
        deliver(outlet)
        deliver(outlet)
        assert sink.received == [str(number) for number in range(600)]
    with Ledger(tmp_path) as ledger:  # the next start
        deliver(Outlet(ledger, FOLDER, sink))
        assert len(sink.received) == 600


def test_new_sink_receives_only_later_answers_of_its_folder(tmp_path: Path) -> None:
    sink = FlakySink()
    with Ledger(tmp_path) as ledger:
        record(ledger, "before")
        outlet = Outlet(ledger, FOLDER, sink)
        ledger.record([entry("after")], FOLDER)
        ledger.record([entry("elsewhere")], "/other")
        outlet.deliver()
    assert sink.received == ["after"]


def test_failed_sink_is_logged_once_and_receives_answers_later(tmp_path: Path, logged: list[str]) -> None:
    sink = FlakySink()
    with Ledger(tmp_path) as ledger:
        outlet = Outlet(ledger, FOLDER, sink)
        sink.is_failing = True
        for name in "abc":
            record(ledger, name)
            outlet.deliver()
        assert logged == ["sink failed; it receives pending answers on retry"]
        sink.is_failing = False
        assert outlet.deliver(at_once=True)
        assert not outlet.deliver(at_once=True)
        assert sink.received == ["a", "b", "c"]
        assert logged[1:] == ["recovered: sink failed"]


def log_ids(path: Path) -> list[int]:
    return [json.loads(line)["id"] for line in path.read_text().splitlines()]


def test_log_survives_renaming_and_truncation(tmp_path: Path) -> None:
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


def test_log_written_before_kill_has_no_duplicates_and_no_torn_line(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    with Ledger(tmp_path) as ledger:
        ledger.subscribe(FOLDER, JsonLog(log).name)
        record(ledger, "a", "b", "c")
        batch = ledger.undelivered(FOLDER, JsonLog(log).name)
        JsonLog(log).emit(batch[:2])  # killed here, before the ledger recorded the delivery
        with log.open("a") as file:
            file.write('{"id": 3, "path": "/in')  # power cut here
        deliver(Outlet(ledger, FOLDER, JsonLog(log)))
    assert log_ids(log) == [1, 2, 3]


def test_full_disk_leaves_no_partial_line_in_log(tmp_path: Path) -> None:
    """A limit of the process on file sizes stands for the full disk."""
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


def test_sink_receives_answers_once_if_ledger_fails_to_record_delivery(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = FlakySink()
    with Ledger(tmp_path) as ledger:
        outlet = Outlet(ledger, FOLDER, sink)
        record(ledger, "a", "b")
        with monkeypatch.context() as broken:
            broken.setattr(ledger, "mark_delivered", _disk_full)
            with pytest.raises(LedgerError):
                outlet.deliver()
        record(ledger, "c")
        deliver(outlet)
        assert sink.received == ["a", "b", "c"]


def _disk_full(*_: object) -> None:
    raise LedgerError("disk full")


def test_sink_receives_answers_of_a_new_ledger_after_the_old_was_deleted(tmp_path: Path) -> None:
    sink = FlakySink()
    with Ledger(tmp_path) as ledger:
        outlet = Outlet(ledger, FOLDER, sink)
        record(ledger, "a", "b")
        deliver(outlet)
        for path in tmp_path.glob("ledger.sqlite3*"):
            path.unlink()
        assert not ledger.is_there
        ledger.reopen()
        record(ledger, "c")
        deliver(outlet)
        assert sink.received == ["a", "b", "c"]


def test_sink_that_was_unsubscribed_receives_only_later_answers(tmp_path: Path) -> None:
    sink = FlakySink()
    with Ledger(tmp_path) as ledger:
        deliver(Outlet(ledger, FOLDER, sink))
        ledger.keep_subscribed(FOLDER, ["another"])
        record(ledger, "meanwhile")
        outlet = Outlet(ledger, FOLDER, sink)
        record(ledger, "now")
        deliver(outlet)
    assert sink.received == ["now"]


@pytest.mark.parametrize("name", ["/dev/stderr", "/dev/fd/2"])
def test_log_may_be_a_stream(inbox: Path, brightness: Path, edge_detect: Run, name: str) -> None:
    age(picture(inbox / "a.png"))
    done = edge_detect("watch", inbox, "--once", "--model", brightness, "--log", name)
    assert done.returncode == 0
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("{"))
    assert json.loads(line)["path"].endswith("a.png")
