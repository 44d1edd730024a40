"""Verdicts as lines of text: for people, or as JSON for programs."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol, TextIO

from edge.errors import SinkError, printable, reason_of
from edge.verdict import ENDED, FRAME, LABELS, UNSURE, Answer, Failure, Recorded, Verdict, ViewLogit, probability


class Sink(Protocol):
    """Something that answers are delivered to from the ledger, such as a log file.

    Attributes:
        name: identifies the sink in the ledger, which records up to which answer it has received them.
    """

    name: str

    def emit(self, batch: Sequence[Recorded]) -> None:
        """Write answers, in their order.

        Raises:
            SinkError: they cannot be written.
        """


class Lines(Protocol):
    """Writes answers as lines on standard output, readable or JSON."""

    def write(self, answer: Answer | Recorded) -> None:
        """Write one answer.

        Raises:
            SinkError: it cannot be written.
        """


class JsonLines:
    """Writes one JSON object per line, ASCII only; a bad image has `path` and `error`."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, answer: Answer | Recorded) -> None:
        _write(self._stream, json.dumps(answer.as_json()) + "\n")


def text(answer: Answer) -> str:
    """An answer as one readable line, without a newline."""
    if isinstance(answer, Failure):
        return f"ERROR          {printable(answer.path)}: {answer.reason}"
    remark = f"  (outside: {answer.outside})" if answer.outside else ""
    shown = f"({probability(answer)})" if answer.label == UNSURE else f"{probability(answer):>7}"
    return f"{answer.label}  {shown}  {printable(answer.path)}{remark}"


def line_of(answer: Answer | Recorded) -> str:
    """An answer as one readable line; a camera's record also has the state of the event and its time."""
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
    verdict = answer.answer
    if isinstance(verdict, Verdict) and verdict.outside:  # the same for every frame: one word is enough
        verdict = replace(verdict, outside=None)
        parts.append("(outside)")
    return "  ".join([text(verdict), " ".join(part for part in parts if part)]).rstrip()


def line_of_view(view: ViewLogit) -> str:
    """A view of an explained answer as one readable line: label, logit and place in the picture."""
    place, label = view.place, LABELS[view.logit > 0] if view.logit else ""
    size, left, top = f"{_share(place.width)} x {_share(place.height)}", f"{place.left:.0%}", f"{place.top:.0%}"
    is_whole = min(place.width, place.height) >= 1
    where = "the whole picture" if is_whole else f"{size} of the picture, {left} from its left, {top} from its top"
    return f"    {label:4} {view.logit:+7.2f}  {where}"


def _share(part: float) -> str:
    return "<1%" if part < 0.005 else f"{part:.0%}"


class HumanLines:
    """Writes one readable line per image, and one per view if the answer is explained.

    Lines about bad images go to the second stream.
    """

    def __init__(self, stream: TextIO, errors: TextIO) -> None:
        self._stream, self._errors = stream, errors

    def write(self, answer: Answer | Recorded) -> None:
        is_failure = isinstance(answer.answer if isinstance(answer, Recorded) else answer, Failure)
        _write(self._errors if is_failure else self._stream, f"{line_of(answer)}\n")
        if isinstance(answer, Verdict) and answer.explain:
            _write(self._stream, "".join(f"{line_of_view(view)}\n" for view in answer.explain))


class Output:
    """Standard output as a sink; answers that were not written before a stop are written after the next start."""

    name = "output"

    def __init__(self, lines: Lines) -> None:
        self._lines = lines

    def emit(self, batch: Sequence[Recorded]) -> None:
        """See `Sink.emit`; the error has the id of the last answer that was written."""
        last = None
        for recorded in batch:
            try:
                self._lines.write(recorded)
            except SinkError as error:
                error.delivered = last
                raise
            last = recorded.id


def _write(stream: TextIO, line: str) -> None:
    """Write a line and flush it, so that the reader of a pipe need not wait for it.

    Raises:
        BrokenPipeError: the reader has closed the pipe.
        SinkError: any other error.
    """
    try:
        stream.write(line)
        stream.flush()
    except BrokenPipeError:
        raise  # not an error: the command line ends quietly
    except OSError as error:
        raise SinkError(f"cannot write the output: {reason_of(error)}") from error
