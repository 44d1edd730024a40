"""Messages, prefixes of URLs and the journal, without a server."""

import os
from pathlib import Path

import pytest

from edge.errors import FleetError
from edge.files import FileId
from edge.fleet.download import is_allowed, prefix
from edge.fleet.journal import Journal
from edge.fleet.protocol import ANSWER_BYTES, Job, is_models_id, models_id, packed, unpacked
from edge.verdict import Evidence, Failure, Verdict

SHA256 = "0123456789abcdef" * 4


def job(name: str = "a.jpg") -> Job:
    return Job("any", SHA256, name)


def test_job_comes_back_from_its_message() -> None:
    sent = Job("0" * 16, SHA256, os.fsdecode(b"/a/\xff*> \n.jpg"), "https://host/a.jpg")
    assert Job.of(f"edge.work.{sent.key}", sent.headers) == sent
    assert all(value.isascii() and value.isprintable() for value in sent.headers.values())


@pytest.mark.parametrize(
    ("subject", "changes"),
    [
        ("edge.work.any.*", {}),
        ("edge.work.any", {}),
        (f"edge.work.any.{'f' * 32}", {}),
        (f"edge.work.{'0' * 16}.{SHA256[:32]}", {}),
        (f"edge.work.any.{SHA256[:32]}", {"Edge-Sha256": SHA256.upper()}),
        (f"edge.work.any.{SHA256[:32]}", {"Edge-Name": "a" * 20_000}),
        (f"edge.work.any.{SHA256[:32]}", {"Edge-Url": "a" * 20_000}),
        (f"edge.work.any.{SHA256[:32]}", {"Edge-Model": "*"}),
    ],
)
def test_message_that_is_no_job_is_refused(subject: str, changes: dict[str, str]) -> None:
    with pytest.raises(FleetError):
        Job.of(subject, job().headers | changes)


def test_answers_come_back_from_their_messages() -> None:
    says = (Evidence("text", "generated", "program", "seed 1", None),)
    verdict = Verdict("a.jpg", "REAL", True, 0.9, 0.9, None, 0.25, "model", provenance=says)
    for answer in (verdict, Failure("a.jpg", "not an image")):
        found = unpacked(7, 1000.0, "edge.answers.any.x", packed(answer, job(), "board"))
        assert (found.id, found.answer, found.board, found.sha256) == (7, answer, "board", SHA256)
        assert found.as_json() == {
            "id": 7,
            "time": "1970-01-01T00:16:40.000Z",
            **answer.as_json(),
            "sha256": SHA256,
            "board": "board",
        }


def test_answer_with_endless_provenance_fits_its_message() -> None:
    says = tuple(Evidence("text", "generated", "x" * 1000, "y" * 1000, None) for _ in range(100))
    answer = Verdict("a.jpg", "REAL", True, 0.9, 0.9, None, 0.25, "model", provenance=says)
    assert len(packed(answer, job(), "board")) < ANSWER_BYTES


@pytest.mark.parametrize("body", [b"", b"\xff", b"[]", b"{}", b'{"path": 1}', b"[" * 10_000])
def test_message_that_is_no_answer_is_refused(body: bytes) -> None:
    with pytest.raises(FleetError, match="not an answer"):
        unpacked(1, 0.0, "edge.answers.any.x", body)


def test_identity_of_models_depends_on_their_content_alone() -> None:
    assert models_id(["a", "b"]) == models_id(["b", "a"]) != models_id(["a"])
    assert is_models_id(models_id(["a"]))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://store/images/a.jpg", True),
        ("https://store:443/images/a/b%20c.jpg?signature=1", True),
        ("https://STORE/images/a.jpg", True),
        ("http://store/images/a.jpg", False),
        ("https://store:444/images/a.jpg", False),
        ("https://store.evil/images/a.jpg", False),
        ("https://store@evil/images/a.jpg", False),
        ("https://user@store/images/a.jpg", False),
        ("https://store/images-of-others/a.jpg", False),
        ("https://store/images/../secret", False),
        ("https://store/images/%2e%2e/secret", False),
        ("https://store/images/..%5csecret", False),
        ("https://store/images/a b.jpg", False),
        ("https://store/images/a\r\nHost: x", False),
        ("file:///images/a.jpg", False),
        ("https://store:port/images/a", False),
        ("", False),
    ],
)
def test_urls_below_a_prefix_are_allowed(url: str, expected: bool) -> None:
    assert is_allowed(url, ["https://store/images/"]) is expected


@pytest.mark.parametrize("text", ["https://store/images", "ftp://store/", "https:///images/", "https://u:p@store/"])
def test_invalid_prefix_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        prefix(text)


def test_journal_remembers_files_of_its_queue_until_they_change(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"1")
    stamp = FileId.of(path.stat())
    with Journal(tmp_path / "state", "queue") as journal:
        assert not journal.has(str(path), stamp)
        journal.add(str(path), stamp)
    with Journal(tmp_path / "state", "queue") as journal:
        assert journal.has(str(path), stamp)
        path.write_bytes(b"22")
        assert not journal.has(str(path), FileId.of(path.stat()))
    with Journal(tmp_path / "state", "other queue") as journal:
        assert not journal.has(str(path), stamp)


def test_damaged_journal_reports_one_line(tmp_path: Path) -> None:
    (tmp_path / "fleet.sqlite3").write_bytes(b"no database" * 100)
    with pytest.raises(FleetError, match=r"fleet\.sqlite3: file is not a database"):
        Journal(tmp_path, "queue")
