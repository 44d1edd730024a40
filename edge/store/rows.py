"""Conversion between answers and rows of the ledger."""

import os
from typing import Any

from edge.verdict import LABELS, UNSURE, Answer, CameraEvent, Failure, Recorded, Verdict

ANSWER_COLUMNS = (
    "id, path, label, score, confidence, outside, error, elapsed_ms, answered_at, moved_to,"
    " model, state, began_at, position, lasted_seconds, peak, snapshot"
)


def answer_columns(answer: Answer, event: CameraEvent | None) -> dict[str, object]:
    """The columns of an answer and, if it is a camera's, of its event or frame."""
    columns: dict[str, object]
    if isinstance(answer, Verdict):
        columns = {
            "label": answer.label,
            "score": answer.score,
            "confidence": answer.confidence,
            "outside": answer.outside,
            "model": answer.model or None,
            "elapsed_ms": round(answer.elapsed_seconds * 1000, 3),
        }
    else:
        columns = {"error": answer.reason}
    if event is not None:
        columns |= {
            "state": event.state,
            "began_at": event.began_at,
            "position": event.position,
            "lasted_seconds": event.seconds,
            "peak": event.peak,
            "snapshot": None if event.snapshot is None else os.fsencode(event.snapshot),
        }
    return columns


def answer_of_row(row: tuple[Any, ...]) -> Recorded:
    """The answer in a row of ANSWER_COLUMNS."""
    id_, path, label, score, confidence, outside, error, elapsed_ms, answered_at, moved_to, model, state, *rest = row
    name = os.fsdecode(path)
    answer: Answer
    if label is None:
        answer = Failure(name, error)
    else:
        if confidence is None:  # a row from before there was this column
            confidence = max(score, 1 - score)
        seconds = (elapsed_ms or 0) / 1000
        is_real = _is_real(label, score, confidence)
        answer = Verdict(name, label, is_real, score, confidence, outside, seconds, model or "")
    event = None
    if state is not None:
        began_at, position, seconds, peak, snapshot = rest
        picture = None if snapshot is None else os.fsdecode(snapshot)
        event = CameraEvent(state, began_at, position, seconds, peak, picture)
    return Recorded(id_, answered_at, answer, None if moved_to is None else os.fsdecode(moved_to), event)


def _is_real(label: str, score: float, confidence: float) -> bool:
    """Whether a verdict is for the second class, which no column says."""
    if label in LABELS:
        return label == LABELS[True]
    if label == UNSURE:
        return score > 0.5
    return score == confidence  # a model with its own labels: the confidence is that of the label
