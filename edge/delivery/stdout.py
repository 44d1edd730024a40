"""Verdicts as lines of text: for people, or as JSON for programs."""

import json
from collections.abc import Sequence
from typing import Protocol, TextIO

from edge.errors import SinkError, printable
from edge.verdict import ENDED, FRAME, LABELS, UNSURE, Answer, Failure, Recorded, Verdict, ViewLogit, probability


class Sink(Protocol):
    """Anything that takes note of answers that the ledger holds.

    Attributes:
        name: of the sink's position in the ledger.
    """

    name: str

    def emit(self, batch: Sequence[Recorded]) -> None:
        """
        Raises:
            SinkError: they could not be written down.
        """


class Lines(Protocol):
    """Lines on standard output, readable or JSON."""

    def write(self, answer: Answer | Recorded) -> None:
        """
        Raises:
            SinkError: it could not be written down.
        """


class JsonLines:
    """One JSON object a line, ASCII only; a bad image has `path` and `error`."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, answer: Answer | Recorded) -> None:
        _write(self._stream, json.dumps(answer.as_json()) + "\n")


def text(answer: Answer) -> str:
    """One readable line, without its end."""
    if isinstance(answer, Failure):
        return f"ERROR          {printable(answer.path)}: {answer.reason}"
    remark = f"  (outside: {answer.outside})" if answer.outside else ""
    shown = f"({probability(answer)})" if answer.label == UNSURE else f"{probability(answer):>7}"
    return f"{answer.label}  {shown}  {printable(answer.path)}{remark}"


def line_of(answer: Answer | Recorded) -> str:
    """One readable line; of a camera's record with what happened and when."""
    if not isinstance(answer, Recorded):
        return text(answer)
    seen = answer.event
    if seen is None:
        return text(answer.answer)
    end = seen.seconds if seen.state == ENDED else None
    moment = None if seen.position is None else seen.position + (end or 0.0)
    parts = [
        "" if seen.state == FRAME else f"event {seen.state}",
        "" if moment is None else f"at {moment:.1f} s",
        "" if end is None else f"after {end:.1f} s",
        "" if seen.snapshot is None else printable(seen.snapshot),
    ]
    return "  ".join([text(answer.answer), " ".join(part for part in parts if part)]).rstrip()


def line_of_view(view: ViewLogit) -> str:
    """One readable line of what a part of the picture speaks for, to stand below the answer."""
    place, label = view.place, LABELS[view.logit > 0] if view.logit else ""
    size, left, top = f"{_share(place.width)} x {_share(place.height)}", f"{place.left:.0%}", f"{place.top:.0%}"
    is_whole = min(place.width, place.height) >= 1
    where = "the whole picture" if is_whole else f"{size} of the picture, {left} from its left, {top} from its top"
    return f"    {label:4} {view.logit:+7.2f}  {where}"


def _share(part: float) -> str:
    return "<1%" if part < 0.005 else f"{part:.0%}"


class HumanLines:
    """One readable line an image, and one for each view if it is explained; bad images go to the second stream."""

    def __init__(self, stream: TextIO, errors: TextIO) -> None:
        self._stream, self._errors = stream, errors

    def write(self, answer: Answer | Recorded) -> None:
        is_failure = isinstance(answer.answer if isinstance(answer, Recorded) else answer, Failure)
        _write(self._errors if is_failure else self._stream, f"{line_of(answer)}\n")
        if isinstance(answer, Verdict) and answer.explain:
            _write(self._stream, "".join(f"{line_of_view(view)}\n" for view in answer.explain))


class Output:
    """The output lines as a sink: the next start emits what was not emitted before a stop."""

    name = "output"

    def __init__(self, lines: Lines) -> None:
        self._lines = lines

    def emit(self, batch: Sequence[Recorded]) -> None:
        last = None
        for recorded in batch:
            try:
                self._lines.write(recorded)
            except SinkError as error:
                error.delivered = last
                raise
            last = recorded.id


def _write(stream: TextIO, line: str) -> None:
    """At once, so that a reader of a pipe need not wait."""
    try:
        stream.write(line)
        stream.flush()
    except BrokenPipeError:
        raise  # the reader has gone, which is no error of anyone: the command line ends quietly
    except OSError as error:
        raise SinkError(f"cannot write the output: {(error.strerror or '').lower()}") from error
