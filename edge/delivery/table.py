"""Recorded answers as rows of comma-separated values (RFC 4180)."""

from typing import Any

from edge.errors import printable
from edge.verdict import Recorded, Verdict, in_words

COLUMNS = (
    "id",
    "time",
    "path",
    "label",
    "confidence",
    "score",
    "outside",
    "error",
    "moved_to",
    "event",
    "began",
    "position",
    "seconds",
    "peak",
    "snapshot",
    "model",
    "provenance",
)
# A spreadsheet takes a cell that begins with one of these as a formula, which can send data to others.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def cells(
    recorded: Recorded, further: dict[str, Any] | None = None, columns: tuple[str, ...] = COLUMNS
) -> list[object]:
    """The row of an answer; a text that a spreadsheet would take as a formula begins with an apostrophe.

    Args:
        further: fields beside those of `Recorded.as_json`, or instead of them.
        columns: names of the fields.
    """
    fields = recorded.as_json() | (further or {})
    fields |= (event := fields.pop("event", {})) | {"event": event.get("state")}
    if isinstance(recorded.answer, Verdict):
        fields["provenance"] = "; ".join(map(in_words, recorded.answer.provenance))
    return [_cell(fields.get(column)) for column in columns]


def _cell(value: object) -> object:
    if value is None:
        return ""
    if not isinstance(value, str):
        return value
    text = printable(value)
    return f"'{text}" if text.startswith(_FORMULA) else text
