"""The parameters of requests, checked."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime

from edge.serve.problems import Problem
from edge.store.history import PROVENANCE, Filter, Position

MOST_CHARACTERS = 1000  # of a parameter; all of them, in per cents, have to fit into the head of a request
MOST_CHARACTERS_OF_LABEL = 100
_SECONDS = re.compile(r"[0-9]{1,11}(\.[0-9]{1,9})?", re.ASCII)


def text(query: Mapping[str, str], name: str, most: int = MOST_CHARACTERS) -> str | None:
    """A parameter; None if it is missing or empty.

    Raises:
        Problem: 400, it is too long.
    """
    value = query.get(name, "")
    if len(value) > most:
        raise Problem(400, f"{name} has more than {most} characters")
    return value or None


def flag(query: Mapping[str, str], name: str) -> bool:
    """A parameter that is true, false, 1 or 0; False if it is missing.

    Raises:
        Problem: 400, it is something else.
    """
    value = query.get(name, "false").lower()
    if value not in ("0", "1", "false", "true"):
        raise Problem(400, f"{name} must be true or false")
    return value in ("1", "true")


def whole_number(query: Mapping[str, str], name: str, default: int, most: int) -> int:
    """A parameter from 1 to `most`.

    Raises:
        Problem: 400, it is something else.
    """
    value = query.get(name)
    if value is None:
        return default
    if not value.isascii() or not value.isdecimal() or len(value) > 9 or not 1 <= int(value) <= most:
        raise Problem(400, f"{name} must be a number from 1 to {most}")
    return int(value)


def moment(query: Mapping[str, str], name: str) -> float | None:
    """A parameter that is a time: seconds since the epoch, or ISO 8601, in UTC if it names no zone.

    Raises:
        Problem: 400, it is something else.
    """
    value = text(query, name)
    if value is None:
        return None
    if _SECONDS.fullmatch(value):
        return float(value)
    try:
        found = datetime.fromisoformat(value[:40])
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise Problem(400, f"{name} must be a time such as 2026-07-01T12:00:00Z, or seconds since 1970") from None


def position(query: Mapping[str, str], name: str) -> Position | None:
    """A parameter that is a place in the history, as an earlier page named it.

    Raises:
        Problem: 400, it is something else.
    """
    value = query.get(name)
    if value is None:
        return None
    try:
        return Position.parse(value)
    except ValueError:
        raise Problem(400, f"{name} must be the value of `newer` or `older` of another page") from None


def filter_of(query: Mapping[str, str]) -> Filter:
    """The filter in the parameters label, source, since, until and provenance.

    Raises:
        Problem: 400, one is invalid.
    """
    provenance = text(query, "provenance")
    if provenance is not None and provenance not in PROVENANCE:
        raise Problem(400, f"provenance must be one of {', '.join(PROVENANCE)}")
    return Filter(
        text(query, "label", MOST_CHARACTERS_OF_LABEL),
        text(query, "source"),
        moment(query, "since"),
        moment(query, "until"),
        provenance,
    )
