"""Lines on standard output: fast JSON, whole lines for the reader of a pipe, and a full disk."""

import errno
import json
import os
import select
from pathlib import Path

import pytest

from edge.delivery.stdout import HumanLines, JsonLines, Output, json_line
from edge.errors import SinkError
from edge.fleet.protocol import FleetAnswer
from edge.verdict import FRAME, CameraEvent, Evidence, Failure, Recorded, Verdict

PLAIN = Verdict("/in/a.jpg", "REAL", True, 0.9876543219, 0.9876543219, None, 0.0123456)
ODD = Verdict('/in/"\x1b\udcff\n\u00e4\U0001f600.jpg', 'L"', False, 1e-7, 1 - 1e-7, 'a "reason"', 12.0, "m\u00f6del")
SAYS = PLAIN._replace(provenance=(Evidence("exif", "captured", "Pixel"),))


@pytest.mark.parametrize(
    "answer",
    [
        Recorded(1, 1.7e9, PLAIN, None),
        Recorded(2, 1.7e9 + 0.1239, ODD, None),
        Recorded(3, 1.7e9, SAYS, None),
        Recorded(4, 1.7e9, PLAIN, "/out/REAL/a.jpg"),
        Recorded(5, 1.7e9, PLAIN, None, CameraEvent(FRAME, 1.7e9)),
        Recorded(6, 1.7e9, PLAIN._replace(explain=()), None),
        Recorded(7, 1.7e9, Failure("/in/a.jpg", "the file is empty"), None),
        FleetAnswer(8, 1.7e9, PLAIN, "ab" * 32, "board-1"),
        PLAIN,
        Failure("/in/a.jpg", "the file is empty"),
    ],
)
def test_fast_json_is_that_of_the_answer(answer: Recorded | Verdict | Failure) -> None:
    assert json_line(answer) == json.dumps(answer.as_json())


def answers(count: int) -> list[Recorded]:
    return [Recorded(number, 1.7e9, PLAIN._replace(path=f"/in/{number}.jpg"), None) for number in range(1, count + 1)]


def test_a_pipe_gets_whole_lines_in_each_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[bytes] = []
    write = os.write

    def noted(descriptor: int, data: bytes) -> int:
        written.append(bytes(data))
        return write(descriptor, data)

    with open(tmp_path / "out", "w") as stream:
        monkeypatch.setattr(os, "write", noted)
        JsonLines(stream).write(*answers(100))
        monkeypatch.undo()
    assert 1 < len(written) < 20
    assert all(piece.endswith(b"\n") and len(piece) <= select.PIPE_BUF for piece in written)
    assert [json.loads(line)["id"] for line in (tmp_path / "out").read_text().splitlines()] == list(range(1, 101))


def test_full_disk_repeats_no_line_and_cuts_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk takes 5,000 bytes, then nothing, then everything: as if space had been made."""
    room, write = 5000, os.write

    def limited(descriptor: int, data: bytes) -> int:
        nonlocal room
        if room <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        count = write(descriptor, data[:room])
        room -= count
        return count

    pending = answers(100)
    with open(tmp_path / "out", "w") as stream:
        output = Output(JsonLines(stream))
        monkeypatch.setattr(os, "write", limited)
        with pytest.raises(SinkError, match="o space left") as caught:
            output.emit(pending)
        delivered = caught.value.delivered
        assert delivered is not None
        assert 1 < delivered < 100
        with pytest.raises(SinkError) as again:
            output.emit(pending[delivered:])
        assert again.value.delivered is None
        room = 10**6
        output.emit(pending[delivered:])
        monkeypatch.undo()
    assert [json.loads(line)["id"] for line in (tmp_path / "out").read_text().splitlines()] == list(range(1, 101))


def test_errors_and_verdicts_go_to_their_streams_in_order(tmp_path: Path) -> None:
    mixed = [
        Recorded(1, 0, PLAIN, None),
        Recorded(2, 0, Failure("/in/b", "cut short"), None),
        Recorded(3, 0, ODD, None),
    ]
    with open(tmp_path / "out", "w") as out, open(tmp_path / "err", "w") as errors:
        HumanLines(out, errors).write(*mixed)
    assert [line.split()[0] for line in (tmp_path / "out").read_text().splitlines()] == ["REAL", 'L"']
    assert (tmp_path / "err").read_text() == "ERROR          /in/b: cut short\n"
