"""Answers in a ledger, for tests of their delivery."""

from edge.files import FileId
from edge.store.ledger import Entry, Ledger
from edge.verdict import Answer, Failure, Verdict

FOLDER = "/in"


def entry(name: str, label: str | None = "REAL") -> Entry:
    answer: Answer = Failure(f"{FOLDER}/{name}", "no image")
    if label is not None:
        answer = Verdict(f"{FOLDER}/{name}", label, label == "REAL", 0.9, 0.9, None, 0.001)
    return Entry(f"{FOLDER}/{name}", FileId(1, hash(name) % 10**6, 3, 4), 10**10, name.encode(), answer, "model")


def record(ledger: Ledger, *names: str, label: str | None = "REAL") -> None:
    ledger.record([entry(name, label) for name in names], FOLDER)
