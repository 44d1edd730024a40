"""Conversion between answers and rows of the ledger."""

import json
import os
import sys
from collections.abc import Iterable
from typing import Any

from edge.verdict import LABELS, UNSURE, Answer, CameraEvent, Evidence, Failure, Recorded, Verdict

ANSWER_COLUMNS = (
    "id, path, label, score, confidence, outside, error, elapsed_ms, answered_at, moved_to,"
    " model, provenance, state, began_at, position, lasted_seconds, peak, snapshot"
)


_ENCODING, _ERRORS = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()


def encoded(path: str) -> bytes:
    """A path as it is stored: os.fsencode for text, in a third of the time."""
    return path.encode(_ENCODING, _ERRORS)


ANSWER_VALUES = ("label", "score", "confidence", "outside", "error", "elapsed_ms", "model", "provenance")


def answer_values(answer: Answer) -> tuple[object, ...]:
    """The values of ANSWER_VALUES."""
    if not isinstance(answer, Verdict):
        return None, None, None, None, answer.reason, None, None, None
    return (
        answer.label,
        answer.score,
        answer.confidence,
        answer.outside,
        None,
        round(answer.elapsed_seconds * 1000, 3),
        answer.model or None,
        _stored(answer.provenance) if answer.provenance else None,
    )


def event_columns(event: CameraEvent) -> dict[str, object]:
    """The further columns of a camera's answer."""
    return {
        "state": event.state,
        "began_at": event.began_at,
        "position": event.position,
        "lasted_seconds": event.seconds,
        "peak": event.peak,
        "snapshot": None if event.snapshot is None else os.fsencode(event.snapshot),
    }


def answer_of_row(row: tuple[Any, ...]) -> Recorded:
    """The answer in a row of ANSWER_COLUMNS."""
    id_, path, label, score, confidence, outside, error, elapsed_ms, answered_at, moved_to, model, *rest = row
    provenance, state, *of_event = rest
    name = os.fsdecode(path)
    answer: Answer
    if label is None:
        answer = Failure(name, error)
    else:
        if confidence is None:  # a row from before there was this column
            confidence = max(score, 1 - score)
        seconds = (elapsed_ms or 0) / 1000
        is_real = _is_real(label, score, confidence)
        says = _evidence(provenance)
        answer = Verdict(name, label, is_real, score, confidence, outside, seconds, model or "", provenance=says)
    event = None
    if state is not None:
        began_at, position, seconds, peak, snapshot = of_event
        picture = None if snapshot is None else os.fsdecode(snapshot)
        event = CameraEvent(state, began_at, position, seconds, peak, picture)
    return Recorded(id_, answered_at, answer, None if moved_to is None else os.fsdecode(moved_to), event)


def says(what: str) -> str:
    """The part of a stored provenance that shows that one of its evidence says this, such as "generated"."""
    return f'"says":"{what}"'  # no text within a JSON string contains this, as its quotation marks are escaped


def _stored(provenance: Iterable[Evidence]) -> str:
    return json.dumps([one.as_json() for one in provenance], separators=(",", ":"))


def _evidence(stored: str | None) -> tuple[Evidence, ...]:
    return tuple(
        Evidence(one["kind"], one["says"], one["program"] or "", one["detail"] or "", one["verified"])
        for one in (json.loads(stored) if stored else ())
    )


def _is_real(label: str, score: float, confidence: float) -> bool:
    """Whether a verdict is for the second class, which no column says."""
    if label in LABELS:
        return label == LABELS[True]
    if label == UNSURE:
        return score > 0.5
    return score == confidence  # a model with its own labels: the confidence is that of the label
